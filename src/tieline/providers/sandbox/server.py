"""The sandbox's HTTP side: the company's API under `/v1`, and under `/_sandbox` what moves and spoils it.

A request to `/v1` passes the scripted faults, the token, the rate limit and the scope, then it reads a page.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tieline.providers.sandbox.changes import ACTIONS, STORY, Change, apply, apply_all
from tieline.providers.sandbox.company import COLLECTIONS, Company, Table
from tieline.providers.sandbox.facts import gather_facts
from tieline.providers.sandbox.faults import Script, parse_rules
from tieline.providers.sandbox.founding import build_company
from tieline.providers.sandbox.limits import Allowance, RateLimit
from tieline.providers.sandbox.names import COMPANY

SCOPES = tuple(f"{name}:read" for name in COLLECTIONS)
LARGEST_PAGE = 200
_DEFAULT_PAGE = 100
_MOST_CHANGES = 200
_LOG_LENGTH = 10_000


def today() -> datetime:
    """The start of this day in UTC: a restart on the same day gives the same company."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class Setup:
    """How a sandbox starts; `reset` returns to it. The rate limit is requests per `rate_window` seconds."""

    people: int = 2400
    seed: int = 7
    as_of: datetime = field(default_factory=today)
    token: str = field(default_factory=lambda: f"lks_{secrets.token_urlsafe(24)}", repr=False)
    scopes: tuple[str, ...] = SCOPES
    rate_limit: int = 600
    rate_window: float = 10.0


class Refusal(Exception):
    """An answer other than 200, to be written as `{"error": {"code", "message"}}`."""

    def __init__(self, status: int, code: str, message: str, **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"code": code, "message": message, **more}


class Sandbox:
    """One running sandbox: the company as it stands, the token in force, the faults and the log."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._begin()

    def _begin(self) -> None:
        self.company: Company = build_company(self.setup.people, seed=self.setup.seed, as_of=self.setup.as_of)
        self.token = self.setup.token
        self.script = Script()
        self.limit = RateLimit(self.setup.rate_limit, self.setup.rate_window, time.time)
        self.log: deque[dict[str, Any]] = deque(maxlen=_LOG_LENGTH)

    async def answer(self, request: Request) -> Response:
        """Answer a request to `/v1`, spoiled by the script if a rule says so, and note it in the log."""
        started = time.perf_counter()
        query = request.url.query
        after = request.query_params.get("after", "")
        line = f"{request.method} {request.url.path}{'?' if query else ''}{query}"
        rule = self.script.next_rule(line, after=after)
        if rule and rule.delay_ms:
            await asyncio.sleep(rule.delay_ms / 1000)
        response = rule.replacement() if rule and rule.replaces else self._read(request)
        if rule:
            response = rule.spoil(response, after=after)
        self.log.append({
            "at": datetime.now(UTC),
            "request": line,
            "status": response.status_code,
            "fault": rule is not None,
            "ms": round((time.perf_counter() - started) * 1000, 2),
        })  # fmt: skip
        return response

    def _read(self, request: Request) -> Response:
        headers: dict[str, str] = {}
        try:
            self._authenticate(request)
            allowance = self.limit.take(self.token)
            headers = allowance.headers(time.time())
            return _reply(self._page(request, allowance), headers=headers)
        except Refusal as refusal:
            return _reply({"error": refusal.error}, status=refusal.status, headers=headers)

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not _same(token, self.token):
            raise Refusal(401, "invalid_token", "The token is missing, wrong or revoked.")

    def _page(self, request: Request, allowance: Allowance) -> dict[str, Any]:
        if allowance.exceeded:
            raise Refusal(429, "rate_limited", "Too many requests; wait until X-RateLimit-Reset.")
        path = request.path_params["path"]
        if path == "me":
            return {
                "account": {"id": f"acc_larkfield_{self.setup.seed}", "name": COMPANY},
                "token": {"name": "Tieline sandbox", "scopes": list(self.setup.scopes)},
            }
        table = self._find_table(path)
        limit = _read_limit(request.query_params.get("limit"))
        rows, more = table.page(_open_cursor(path, request.query_params.get("after")), limit)
        return {"data": rows, "paging": {"next": _seal_cursor(path, rows[-1]["id"]) if more else None}}

    def _find_table(self, path: str) -> Table:
        collection, _, rest = path.partition("/")
        group, _, members = rest.partition("/")
        if collection not in COLLECTIONS or (rest and (collection, members) != ("groups", "members")):
            raise Refusal(404, "not_found", "There is nothing at this address.")
        scope = f"{collection}:read"
        if scope not in self.setup.scopes:
            raise Refusal(403, "missing_scope", f"The token lacks the scope {scope}.", scope=scope)
        if not rest:
            return self.company.tables[collection]
        if group not in self.company.members:
            raise Refusal(404, "not_found", "There is no such group.")
        return self.company.members[group]

    async def change(self, request: Request) -> Any:
        """Apply one action `count` times."""
        body = await _read_json(request)
        action, count = body.get("action"), body.get("count", 1)
        if action not in ACTIONS:
            raise Refusal(400, "unknown_action", f"The action must be one of {', '.join(ACTIONS)}.")
        if not isinstance(count, int) or not 1 <= count <= _MOST_CHANGES:
            raise Refusal(400, "invalid_count", f"The count must lie between 1 and {_MOST_CHANGES}.")
        return _tell(apply(self.company, action, count=count, at=_now()))

    async def story(self, _: Request) -> Any:
        """Apply the demonstration's changes."""
        return _tell(apply_all(self.company, STORY, at=_now()))

    async def faults(self, request: Request) -> Any:
        """Put the given rules in the place of those in force."""
        try:
            self.script.rules = parse_rules(await _read_json(request))
        except ValueError as error:
            raise Refusal(400, "invalid_rules", str(error)) from None
        return {"rules": len(self.script.rules)}

    async def revoke(self, _: Request) -> Any:
        """Make the token invalid; the answer carries the one that replaces it, to reconnect with."""
        self.token = f"lks_{secrets.token_urlsafe(24)}"
        return {"sentences": ["The token was revoked."], "replacement": self.token}

    async def reset(self, _: Request) -> Any:
        """Return to the start: the data, the token, no faults, an empty log."""
        self._begin()
        return {"sentences": ["Everything stands as at the start."]}

    async def show_log(self, _: Request) -> Any:
        """The requests to `/v1`, oldest first."""
        return {"data": list(self.log)}

    async def facts(self, _: Request) -> Any:
        """What a right sync must find now."""
        return gather_facts(self.company, _now())

    def controlled(self, act: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        """Let only the holder of the start token act; it stays good for this when the API's token is revoked."""

        async def endpoint(request: Request) -> Response:
            try:
                self._authorise(request)
                return _reply(await act(request))
            except Refusal as refusal:
                return _reply({"error": refusal.error}, status=refusal.status)

        return endpoint

    def _authorise(self, request: Request) -> None:
        if not _same(request.headers.get("X-Sandbox-Control", ""), self.setup.token):
            raise Refusal(401, "invalid_token", "X-Sandbox-Control must carry the token of the start.")


def create_app(setup: Setup) -> Starlette:
    """The ASGI application of a fresh sandbox; raises `ValueError` for a company that is too small."""
    sandbox = Sandbox(setup)
    controls = (
        ("POST", "change", sandbox.change),
        ("POST", "story", sandbox.story),
        ("POST", "faults", sandbox.faults),
        ("POST", "revoke", sandbox.revoke),
        ("POST", "reset", sandbox.reset),
        ("GET", "log", sandbox.show_log),
        ("GET", "facts", sandbox.facts),
    )
    routes = [Route(f"/_sandbox/{name}", sandbox.controlled(act), methods=[method]) for method, name, act in controls]
    routes.append(Route("/v1/{path:path}", sandbox.answer, methods=["GET"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: _refuse_by_default})


async def _refuse_by_default(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    body = {"error": {"code": error.detail.lower().replace(" ", "_"), "message": f"{error.detail}."}}
    return _reply(body, status=error.status_code, headers=dict(error.headers or {}))


def _reply(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    content = orjson.dumps(body, option=orjson.OPT_UTC_Z)
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def _tell(changes: list[Change]) -> dict[str, Any]:
    return {"sentences": [change.sentence for change in changes], "changes": [asdict(change) for change in changes]}


async def _read_json(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise Refusal(400, "invalid_json", "The body must be JSON.") from None
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_json", "The body must be a JSON object.")
    return body


def _read_limit(value: str | None) -> int:
    if value is None:
        return _DEFAULT_PAGE
    if not value.isascii() or not value.isdigit() or len(value) > 3 or not 1 <= int(value) <= LARGEST_PAGE:
        raise Refusal(400, "invalid_limit", f"The limit must lie between 1 and {LARGEST_PAGE}.")
    return int(value)


def _seal_cursor(path: str, key: str) -> str:
    return urlsafe_b64encode(f"{path}:{key}".encode()).decode().rstrip("=")


def _open_cursor(path: str, cursor: str | None) -> str:
    """The id after which a page begins; a cursor belongs to the collection that gave it."""
    if cursor is None:
        return ""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        text = ""
    owner, _, key = text.rpartition(":")
    if owner != path:
        raise Refusal(400, "invalid_cursor", "The cursor is not one of this collection's.")
    return key


def _same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
