"""Sessions: a member signed in with a browser, by a cookie that nobody else can read and a token that its forms carry.

The cookie is new at each sign-in, so that none which was planted before is worth anything after (session fixation). It ends after
twelve hours without use and after seven days at the latest, with its member, or when somebody ends it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from tieline.access.roles import Caller
from tieline.access.tokens import hash_token, new_token, org_of
from tieline.errors import NotAuthenticated
from tieline.ids import new_id
from tieline.store.db import Db, Work
from tieline.store.members import Member, get_member, note_seen
from tieline.store.organizations import Organization, get_own_organization
from tieline.store.sessions import Session, add_session, find_session

Method = Literal["link", "oidc", "passkey"]
"""How somebody signed in."""
COOKIE = "tieline_session"
IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=7)

_USE = "session"
_MAX_AGENT = 200


@dataclass(frozen=True)
class SignedIn:
    """Who is signed in, where, and with what their forms must carry."""

    session: Session
    member: Member
    organization: Organization
    csrf: str = field(repr=False)

    @property
    def caller(self) -> Caller:
        """The member as whoever asks for something."""
        return Caller(self.organization.id, self.member.id, self.member.role)  # type: ignore[arg-type]  # the column holds only roles


async def open_session(
    work: Work, key: bytes, member_id: str, *, method: Method, user_agent: str, now: datetime
) -> tuple[Session, str]:
    """Sign a member in; the session, and the plain value for the cookie, which is kept nowhere."""
    plain = new_token(work.org_id)
    agent = "".join(one for one in user_agent if one.isprintable())[:_MAX_AGENT]
    hash = hash_token(key, _USE, plain)
    session = Session(new_id("sess"), work.org_id, member_id, hash, method, agent, now, now, now + ABSOLUTE)
    await add_session(work, session)
    return session, plain


async def check_session(db: Db, key: bytes, plain: str | None, *, now: datetime) -> SignedIn:
    """Who a cookie belongs to; raises `NotAuthenticated`, the same for a malformed, unknown, expired or ended one."""
    if signed_in := await _find(db, key, plain, now=now, used=True):
        return signed_in
    raise NotAuthenticated("Nobody is signed in here", advice="Sign in.")


async def peek_session(db: Db, key: bytes, plain: str | None, *, now: datetime) -> SignedIn | None:
    """Who a cookie belongs to, which is not used thereby and so lives no longer; `None` where `check_session` would raise."""
    return await _find(db, key, plain, now=now, used=False)


async def _find(db: Db, key: bytes, plain: str | None, *, now: datetime, used: bool) -> SignedIn | None:
    org_id = org_of(plain or "")
    if not plain or not org_id:
        return None
    async with db.work(org_id) as work:
        session = await find_session(work, hash_token(key, _USE, plain), now=now, idle=IDLE, used=used)
        if session is None:
            return None
        if used:
            await note_seen(work, session.member_id, now=now)
        member = await get_member(work, session.member_id)
        return SignedIn(session, member, await get_own_organization(work), csrf_of(key, session))


def csrf_of(key: bytes, session: Session) -> str:
    """What every form of a session carries."""
    return hmac.digest(key, b"csrf\0" + session.hash, "sha256").hex()


def cookie_name(*, secure: bool, of: str = COOKIE) -> str:
    """Over https a name that no other host, and no page without TLS, can set a cookie under (RFC 6265bis, `__Host-`)."""
    return f"__Host-{of}" if secure else of
