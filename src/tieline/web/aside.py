"""Aside: the sessions in other organizations that a browser has besides the one in force.

Each of them was begun in this very browser, by whatever that organization asks for: an invitation to an address opens nothing that
whoever holds that address has elsewhere. They are kept by a cookie of their own, and looking at them does not keep them alive.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from tieline.access.sessions import ABSOLUTE, SignedIn, cookie_name, peek_session
from tieline.access.tokens import org_of
from tieline.flows.parts import Parts
from tieline.web.cookies import forget, is_secure, keep

MOST = 8
"""Organizations that a browser may be signed in to besides the current one; the one used longest ago is forgotten first."""
COOKIE = "tieline_aside"


@dataclass(frozen=True)
class Aside:
    """A live session besides the current one; `plain` is what its cookie would hold."""

    signed_in: SignedIn
    plain: str = field(repr=False)


async def look_aside(request: Request, parts: Parts) -> list[Aside]:
    """The live sessions besides the current one, last used first."""
    written = request.cookies.get(_name(parts), "").split(".")[:MOST]
    tokens = {org_of(one): one for one in written if org_of(one)}
    now = parts.clock.now()
    found = [await _peek(parts, one, now) for one in tokens.values()]
    return [one for one in found if one]


def keep_aside(request: Request, parts: Parts, answer: Response, plains: Sequence[str]) -> None:
    """Write down which sessions the browser has besides the current one."""
    if plains:
        keep(parts, answer, _name(parts), ".".join(plains[:MOST]), seconds=int(ABSOLUTE.total_seconds()))
    elif _name(parts) in request.cookies:
        forget(parts, answer, _name(parts))


def make_current(parts: Parts, answer: Response, plain: str) -> None:
    """Make a session the one in force in this browser."""
    keep(parts, answer, cookie_name(secure=is_secure(parts)), plain, seconds=int(ABSOLUTE.total_seconds()))


def whose_form(csrf: str, signed_in: Sequence[SignedIn]) -> SignedIn | None:
    """The session that a form came from."""
    return next((one for one in signed_in if hmac.compare_digest(csrf.encode(), one.csrf.encode())), None)


async def _peek(parts: Parts, plain: str, now: datetime) -> Aside | None:
    signed_in = await peek_session(parts.db, parts.keys.session_key, plain, now=now)
    return Aside(signed_in, plain) if signed_in else None


def _name(parts: Parts) -> str:
    return cookie_name(secure=is_secure(parts), of=COOKIE)
