"""The frame around every request: its id, headers that all answers carry, one log line, and an answer to whatever else goes wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tieline.access.actor import SYSTEM, acting_as
from tieline.api.problem import Failed, answer_problem
from tieline.ids import new_id
from tieline.log import bind
from tieline.store.db import explain
from tieline.telemetry import asked_by, span
from tieline.telemetry.instruments import HTTP_SECONDS

HEADER = "X-Request-Id"
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
_log = logging.getLogger(__name__)


class Frame:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        told: dict[str, Any] = {"method": scope["method"], "path": _shown(scope["path"])}
        begun = time.perf_counter()

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
                # A server's own access log is written from these, after us.
                if "/oauth/" in scope["path"] or told["path"] != scope["path"]:
                    scope["path"], scope["query_string"] = told["path"], b""
                message = {**message, "headers": _framed(message.get("headers", ()), request_id)}
                if getattr(scope["app"].state, "stopping", False):  # who asks again should ask another process
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        with bind(request_id=request_id), acting_as(SYSTEM), _traced(scope, request_id) as traced:
            try:
                await self._app(scope, receive, stamped)
            except Exception as error:  # noqa: BLE001  the last place where an answer can be given
                await _answer_failure(error, Request(scope, receive), stamped, answered="status" in told)
            seconds = time.perf_counter() - begun
            _tell(traced, scope, told.get("status", 0), seconds)
            _log.info("Answered", extra=told | {"milliseconds": round(seconds * 1000, 1)})


def _traced(scope: Scope, request_id: str) -> AbstractContextManager[Span]:
    """The span of a request, within the trace of whoever sent it."""
    about = {"http.request.method": scope["method"], "tieline.request_id": request_id}
    return span(scope["method"], about, kind=SpanKind.SERVER, within=asked_by(Headers(scope=scope)))


def _tell(traced: Span, scope: Scope, status: int, seconds: float) -> None:
    """Say by which route a request was answered, and how."""
    route = _template(scope)
    traced.update_name(f"{scope['method']} {route}")
    traced.set_attributes({"http.route": route, "http.response.status_code": status})
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        traced.set_status(Status(StatusCode.ERROR))
    HTTP_SECONDS.record(seconds, method=scope["method"], route=route, status=f"{status // 100}xx")


def _template(scope: Scope) -> str:
    """The route's template, of which the framework leaves out the version of the API; `none` where no route took the request."""
    template: str = getattr(scope.get("route"), "path_format", "none")
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return f"/v1{template}" if path.startswith("/v1/") and not template.startswith(("/v1/", "none")) else template


def _framed(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers with ours, where an answer has not its own: a file that never changes may be kept."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    own = [(HEADER.lower().encode(), request_id.encode()), *(one for one in _HEADERS if one[0] not in names)]
    return [*given, *own]


def _shown(path: str) -> str:
    """The path without what opens a sign-in to whoever has it. No query is ever shown."""
    for opening in ("/oauth/begin/", "/sign-in/link/", "/connect-session/"):
        head, found, _secret = path.partition(opening)
        if found:
            return head + found
    return path


async def _answer_failure(error: Exception, request: Request, send: Send, *, answered: bool) -> None:
    """Say that it failed, and no more; the log has the rest."""
    told = explain(error)
    if told is None:
        _log.error("A request failed", exc_info=error)
    elif answered:
        _log.warning("An answer broke off", extra={"reason": told.message})
    if answered:
        return
    answer = answer_problem(request, told or Failed("Something went wrong on our side"))
    await answer(request.scope, request.receive, send)
