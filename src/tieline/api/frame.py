"""The frame around every request: its id, headers that all answers carry, one log line, and an answer to whatever else goes wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tieline.access.actor import SYSTEM, acting_as
from tieline.api.problem import Failed, answer_problem
from tieline.ids import new_id
from tieline.log import bind
from tieline.store.db import explain

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

        with bind(request_id=request_id), acting_as(SYSTEM):
            try:
                await self._app(scope, receive, stamped)
            except Exception as error:  # noqa: BLE001  the last place where an answer can be given
                await _answer_failure(error, Request(scope, receive), stamped, answered="status" in told)
            milliseconds = round((time.perf_counter() - begun) * 1000, 1)
            _log.info("Answered", extra=told | {"milliseconds": milliseconds})


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
