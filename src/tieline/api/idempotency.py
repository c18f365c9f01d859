"""Idempotency: a POST that names an `Idempotency-Key` is carried out once, and answered alike for a day.

The key belongs to the API key that sent it and to one request: the same key with another path or body is refused (409), and so
is a second request while the first is at work (409 with Retry-After). Answers below 500 are kept in the database, so a restart forgets
none; a request that failed, or was told to wait, gives the key back.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from inspect import Parameter, signature
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tieline.access.roles import Caller
from tieline.api.body import read_body
from tieline.api.problem import MEDIA_TYPE, RETRY_SOON, answer_problem
from tieline.errors import Conflict, Invalid, TielineError
from tieline.flows.parts import Parts
from tieline.store.idempotency import Remembered, claim_key, free_key, remember_answer

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
FORM = r"^[!-~]{1,255}$"

Endpoint = Callable[..., Awaitable[Response]]
_log = logging.getLogger(__name__)


def once(endpoint: Endpoint) -> Endpoint:
    """Carry out a route once for each key. The route takes a `caller`; by the time it is called, caller and body are good."""

    @wraps(endpoint)
    async def answered(*, request: Request, caller: Caller, **rest: Any) -> Response:
        given = request.headers.get(HEADER)
        if given is None:
            return await endpoint(caller=caller, **rest)
        parts: Parts = request.app.state.parts
        key = f"{caller.actor}:{_checked(given)}"
        asked = await _hash(parts.keys.session_key, request)
        async with parts.db.work(caller.org_id) as work:
            known = await claim_key(work, key, asked, now=parts.clock.now())
        if known:
            return _replay(known, asked)
        return await _carry_out(parts, caller, key, _answer(endpoint, request, caller, rest))

    _also_takes_request(answered, endpoint)
    return answered


def _also_takes_request(answered: Any, endpoint: Endpoint) -> None:
    """Tell FastAPI, which reads signatures, that the request is wanted beside what the route takes."""
    own = signature(endpoint)
    request = Parameter("request", Parameter.KEYWORD_ONLY, annotation=Request)
    answered.__signature__ = own.replace(parameters=[*own.parameters.values(), request])


async def _answer(endpoint: Endpoint, request: Request, caller: Caller, rest: dict[str, Any]) -> Response:
    """The route's answer, a refusal too."""
    try:
        return await endpoint(caller=caller, **rest)
    except TielineError as error:
        return answer_problem(request, error)


async def _carry_out(parts: Parts, caller: Caller, key: str, work_to_do: Awaitable[Response]) -> Response:
    """Do it and keep the answer; give the key back if it failed or was broken off."""
    done = False
    try:
        answer = await work_to_do
        done = answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        done = done and answer.status_code != HTTPStatus.TOO_MANY_REQUESTS
        if done:
            async with parts.db.work(caller.org_id) as work:
                await remember_answer(work, key, status=answer.status_code, body=bytes(answer.body))
        return answer
    finally:
        if not done:
            await _free(parts, caller, key)


async def _free(parts: Parts, caller: Caller, key: str) -> None:
    try:
        async with parts.db.work(caller.org_id) as work:
            await free_key(work, key)
    except Exception as error:  # noqa: BLE001  what went wrong before is the answer; the key frees itself after a while
        _log.warning("An idempotency key could not be given back", extra={"error": type(error).__name__})


def _replay(known: Remembered, asked: bytes) -> Response:
    if known.request_hash != asked:
        raise Conflict(f"This {HEADER} was used for another request", advice="Use a new key for each request.")
    if known.status is None:
        raise Conflict(
            f"The first request with this {HEADER} is still at work",
            advice="Wait for its answer, or repeat this one later.",
            retry_after=RETRY_SOON,
        )
    media_type = MEDIA_TYPE if known.status >= HTTPStatus.BAD_REQUEST else "application/json"
    return Response(known.body, known.status, {REPLAYED: "true"}, media_type)


async def _hash(key: bytes, request: Request) -> bytes:
    """What makes two requests the same: method, path and body. Keyed, for a body may hold a secret that could be guessed."""
    body = await read_body(request)
    head = f"idempotency\0{request.method} {request.scope['path']}\n"
    return hmac.digest(key, head.encode("utf-8", "surrogatepass") + body, "sha256")


def _checked(key: str) -> str:
    if not re.fullmatch(FORM, key):
        told = "must be 1 to 255 visible ASCII characters"
        raise Invalid(f"{HEADER} {told}", fields=[{"field": "header.idempotency_key", "problem": told}])
    return key
