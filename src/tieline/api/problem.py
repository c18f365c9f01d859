"""Problems: every refusal and failure as RFC 9457 problem+json, the same members on all of them, and no input echoed back.

`type` is a stable relative URI, `/problems/<slug>`, and `slug` is the same name for programs to switch on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tieline.errors import Invalid, NotAuthenticated, RateLimited, TielineError
from tieline.flows.views import moment

MEDIA_TYPE = "application/problem+json"
RETRY_SOON = 1
"""Seconds to wait before a request that is at work already, or that found the database away, is worth repeating."""

_TELLABLE = re.compile(r"[a-z][a-z_]{0,39}")
_log = logging.getLogger(__name__)


class WrongField(BaseModel):
    """One field that is wrong."""

    field: str = Field(description="Where it is, dotted.", examples=["body.limit"])
    problem: str = Field(description="What is wrong with it.", examples=["Input should be a valid integer"])


class Problem(BaseModel):
    """A refusal or a failure (RFC 9457)."""

    type: str = Field(description="A stable relative URI for this kind of problem.", examples=["/problems/not-found"])
    slug: str = Field(description="The last part of `type`, to switch on.", examples=["not-found"])
    title: str = Field(description="What kind of problem it is, in words.", examples=["Not found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="What happened this time.", examples=["There is no such run"])
    advice: str = Field(description="What to do next.", examples=["Check the id; list what there is."])
    request_id: str = Field(description="Names this request in the log.", examples=["req_01k0c4m2w8eyv9x3f5t7h1n6qp"])
    fields: list[WrongField] = Field(description="The fields that are wrong, if that is what is wrong.", examples=[[]])
    connection_id: str | None = Field(default=None, description="The connection that stands in the way.")
    scope: str | None = Field(default=None, description="The permission that is missing at the provider.")
    retry_at: str | None = Field(default=None, description="When the provider allows the next request.")


def answer_problem(request: Request, error: TielineError) -> Response:
    """The answer that tells of an error."""
    problem = Problem(
        type=f"/problems/{error.slug}",
        slug=error.slug,
        title=error.slug.replace("-", " ").capitalize(),
        status=error.status,
        detail=error.message,
        advice=error.what_to_do,
        request_id=request_id(request.scope),
        fields=[WrongField(**one) for one in error.details.get("fields", ())],
        connection_id=error.details.get("connection_id"),
        scope=getattr(error, "scope", None),
        retry_at=moment(error.until) if isinstance(error, RateLimited) else None,
    )
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("A request failed", extra={"slug": error.slug, "reason": error.message})
    content = problem.model_dump(exclude_none=True)
    return Response(orjson.dumps(content), error.status, _headers(request, error), MEDIA_TYPE)


def request_id(scope: Mapping[str, Any]) -> str:
    """The id that the frame gave to this request."""
    return str(scope["state"]["request_id"])


def invalid(errors: ValidationError | RequestValidationError, where: Sequence[str] = ()) -> Invalid:
    """Pydantic's errors as ours: fields and reasons, never a value.

    A name that is not plainly a field's is not told either: it may be a secret in the wrong place.
    """
    fields = [{"field": _dotted([*where, *one["loc"]]), "problem": str(one["msg"])} for one in _without_input(errors)]
    return Invalid("; ".join(f"{one['field']}: {one['problem']}" for one in fields), fields=fields)


class Absent(TielineError):
    """There is no route at this path."""

    slug = "no-such-path"
    status = 404
    advice = "See /docs for the paths that there are."


class WrongMethod(TielineError):
    """The path is there, the method is not."""

    slug = "method-not-allowed"
    status = 405
    advice = "Use one of the methods named in the Allow header."


class Failed(TielineError):
    """Something went wrong on our side; what exactly is in the log alone."""


async def on_error(request: Request, error: Exception) -> Response:
    """Any error that is raised on purpose."""
    assert isinstance(error, TielineError)  # noqa: S101  it is registered for no other
    return answer_problem(request, error)


async def on_invalid(request: Request, error: Exception) -> Response:
    """A path, query or header parameter that is not as documented."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  it is registered for no other
    return answer_problem(request, invalid(error))


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the router refuses by itself."""
    assert isinstance(error, HTTPException)  # noqa: S101  it is registered for no other
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer = answer_problem(request, WrongMethod(f"{request.method} is not possible here"))
    else:
        answer = answer_problem(request, Absent("There is nothing at this path"))
    answer.headers.update(error.headers or {})
    return answer


def _headers(request: Request, error: TielineError) -> dict[str, str]:
    if isinstance(error, NotAuthenticated):
        return {"WWW-Authenticate": 'ApiKey realm="tieline", header="X-API-Key"'}
    if isinstance(error, RateLimited):
        wait = error.until - request.app.state.parts.clock.now()
        return {"Retry-After": str(max(int(wait.total_seconds()) + 1, 1))}
    if "retry_after" in error.details:
        return {"Retry-After": str(error.details["retry_after"])}
    return {"Retry-After": str(RETRY_SOON)} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else {}


def _without_input(errors: ValidationError | RequestValidationError) -> Iterable[Mapping[str, Any]]:
    if isinstance(errors, ValidationError):
        return errors.errors(include_input=False, include_context=False, include_url=False)
    found: Iterable[Mapping[str, Any]] = errors.errors()
    return found


def _dotted(parts: Sequence[Any]) -> str:
    return ".".join(_told(part) for part in parts)


def _told(part: Any) -> str:
    return str(part) if isinstance(part, int) or _TELLABLE.fullmatch(str(part)) else "(name not shown)"
