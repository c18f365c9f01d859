"""The caller: who an X-API-Key or the console's session belongs to, and how far their role reaches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from tieline import log
from tieline.access.actor import act_as
from tieline.access.api_keys import check_key
from tieline.access.roles import Caller, Role
from tieline.access.sessions import check_session, cookie_name
from tieline.errors import NotAuthenticated
from tieline.flows.parts import Parts

HEADER = "X-API-Key"
_READING = frozenset({"GET", "HEAD"})

_scheme = APIKeyHeader(
    name=HEADER, scheme_name="ApiKey", description="`tieline api-keys create` makes one.", auto_error=False
)


async def get_parts(request: Request) -> Parts:
    """The parts that the application was made with."""
    parts: Parts = request.app.state.parts
    return parts


async def authenticate(request: Request, key: Annotated[str | None, Security(_scheme)] = None) -> Caller:
    """Who asks, and acts from here on; raises `NotAuthenticated`, the same for every key that does not work.

    Whoever is signed in to the console may read with the browser's session; what changes something needs a key.
    """
    parts: Parts = request.app.state.parts
    cookie = request.cookies.get(cookie_name(secure=urlsplit(parts.public_url).scheme == "https"))
    if not key and cookie and request.method in _READING:
        signed_in = await check_session(parts.db, parts.keys.session_key, cookie, now=parts.clock.now())
        act_as(signed_in.caller.actor)
        log.add(org_id=signed_in.caller.org_id, actor=signed_in.caller.actor)
        return signed_in.caller
    if not key:
        raise NotAuthenticated(f"There is no {HEADER} header")
    caller = await check_key(parts.db, request.app.state.pepper, key, now=parts.clock.now())
    act_as(caller.actor)
    log.add(org_id=caller.org_id, actor=caller.actor)
    return caller


def must_be(role: Role) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency that gives the caller if the role reaches so far; raises `NotAllowed`."""

    async def reach(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
        caller.must_be(role)
        return caller

    return reach


PartsOf = Annotated[Parts, Depends(get_parts)]
Auditor = Annotated[Caller, Depends(must_be("auditor"))]
Member = Annotated[Caller, Depends(must_be("member"))]
Admin = Annotated[Caller, Depends(must_be("admin"))]
Operator = Annotated[Caller, Depends(must_be("operator"))]
