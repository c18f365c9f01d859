"""Describe: what the OpenAPI document says of a route beyond its signature, and what follows from it.

Every status that a route can answer is listed from what the route is: all need a key and the database, those with a body can be
sent a bad one, those that call the provider can find it down.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from tieline.access.roles import Caller
from tieline.api.caller import authenticate
from tieline.api.idempotency import FORM, HEADER
from tieline.api.problem import MEDIA_TYPE, Problem
from tieline.errors import Invalid

_WHY = {
    400: "The body is not JSON.",
    401: "There is no key, or it does not work.",
    403: "The key's role does not reach this.",
    404: "There is no such thing in this organization.",
    409: "It exists already, its state does not allow this, or the idempotency key is in use.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    422: "A value is missing, unknown, of the wrong type or out of bounds.",
    429: "The provider asks to wait.",
    502: "The provider cannot be reached or answered unexpectedly.",
    503: "The database or the key ring is not available just now.",
}
_SLUGS = {
    400: "bad-json",
    401: "not-authenticated",
    403: "not-allowed",
    404: "not-found",
    409: "conflict",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid",
    429: "rate-limited",
    502: "provider-unavailable",
    503: "database",
}
"""A slug that each status comes with, for the examples."""


def documented(
    answer: type[BaseModel] | Any,
    *,
    status: int = 200,
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    body_optional: bool = False,
    absent: bool = False,
    conflicts: bool = False,
    calls_provider: bool = False,
    repeatable: bool = False,
) -> dict[str, Any]:
    """The keyword arguments of a route's decorator.

    `absent`: there is an id that may not exist. `conflicts`: the present state may not allow it. `calls_provider`: it makes a
    call to the provider. `repeatable`: it takes an `Idempotency-Key`.
    """
    statuses = {401, 403, 422, 503}
    statuses |= {404} if absent else set()
    statuses |= {409} if conflicts or repeatable else set()
    statuses |= {429, 502} if calls_provider else set()
    statuses |= {400, 413, 415} if body else set()
    return {
        "status_code": status,
        "response_model": answer,
        "dependencies": [Depends(_only(query))],
        "responses": {code: problem_response(code) for code in sorted(statuses)},
        "openapi_extra": _extra(body, body_optional=body_optional, repeatable=repeatable),
    }


def problem_response(status: int) -> dict[str, Any]:
    """How a problem is told of in the document."""
    slug = _SLUGS[status]
    example = {
        "type": f"/problems/{slug}",
        "slug": slug,
        "title": slug.replace("-", " ").capitalize(),
        "status": status,
        "detail": _WHY[status],
        "advice": "What to do next.",
        "request_id": "req_01k0c4m2w8eyv9x3f5t7h1n6qp",
        "fields": [],
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": _WHY[status], "content": {MEDIA_TYPE: {"schema": schema, "example": example}}}


def openapi_of(app: Any) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = document["components"]["schemas"]
        made = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= made.pop("$defs") | {"Problem": made}
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path in document["paths"].values():
            for operation in path.values():
                _forget_null(operation.get("parameters", ()))
        app.openapi_schema = document
    schema: dict[str, Any] = app.openapi_schema
    return schema


def _forget_null(parameters: Iterable[dict[str, Any]]) -> None:
    """A query parameter is left out or has a value; that it is `None` inside is nothing that a caller could send."""
    for parameter in parameters:
        schema = parameter["schema"]
        for choice in schema.pop("anyOf", ()):
            schema |= choice if choice != {"type": "null"} else {}


def _extra(body: type[BaseModel] | None, *, body_optional: bool, repeatable: bool) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if body:
        content = {"application/json": {"schema": body.model_json_schema()}}
        extra["requestBody"] = {"required": not body_optional, "content": content}
    if repeatable:
        extra["parameters"] = [
            {
                "name": HEADER,
                "in": "header",
                "required": False,
                "description": "Makes a repeat of this very request safe for 24 hours: it is answered like the first.",
                "schema": {"type": "string", "pattern": FORM, "minLength": 1, "maxLength": 255},
                "example": "f3c1f0c2-rotate-okta",
            }
        ]
    return extra


def _only(query: type[BaseModel] | None) -> Any:
    """A dependency that refuses query parameters that the route has not, and any that is given twice."""
    known = frozenset(query.model_fields) if query else frozenset()

    async def refuse_others(request: Request, _caller: Annotated[Caller, Depends(authenticate)]) -> None:
        names = [name for name, _ in request.query_params.multi_items()]
        if others := sorted(set(names) - known):
            told = ", ".join(repr(one[:40]) for one in others[:3])
            raise Invalid(f"There is a query parameter that is unknown here: {told}", advice=_known(known))
        if len(names) > len(set(names)):
            raise Invalid("A query parameter is given twice", advice=_known(known))

    return refuse_others


def _known(names: frozenset[str]) -> str:
    return f"The query parameters here are: {', '.join(sorted(names)) or 'none'}."
