"""Sessions: who is signed in to the console, found by a keyed hash of what the browser's cookie holds. One that ends is deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, ColumnElement, ForeignKey, LargeBinary, Table, Text, delete, insert, or_, select, update

from tieline.errors import NotFound
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.members import members
from tieline.store.types import Id, UtcTime

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id("sess"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False, index=True),
    Column("member_id", Id("mem"), ForeignKey("members.id"), nullable=False, index=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("method", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)

_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Session:
    """A member signed in with one browser; `method` is `link`, `oidc` or `passkey`, `seen_at` is true to the minute."""

    id: str
    org_id: str
    member_id: str
    hash: bytes
    method: str
    user_agent: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


async def add_session(work: Work, session: Session) -> None:
    """Add a session."""
    await work.connection.execute(insert(sessions).values(**vars(session)))


async def find_session(work: Work, hash: bytes, *, now: datetime, idle: timedelta, used: bool = True) -> Session | None:
    """The live session with this hash, whose member is active; if it is `used`, that is noted once a minute."""
    live = (sessions.c.hash == hash) & (sessions.c.org_id == work.org_id) & _live(now, idle)
    query = select(sessions).join(members, members.c.id == sessions.c.member_id)
    row = (await work.connection.execute(query.where(live, members.c.status == "active"))).one_or_none()
    if row is None:
        return None
    if used and now - row.seen_at > _SEEN_EVERY:
        await work.connection.execute(update(sessions).where(sessions.c.id == row.id).values(seen_at=now))
    return Session(**row._mapping)


async def list_sessions(work: Work, *, now: datetime, idle: timedelta, member_id: str | None = None) -> list[Session]:
    """The live sessions, of one member or of all, last used first."""
    query = select(sessions).where(sessions.c.org_id == work.org_id, _live(now, idle))
    if member_id:
        query = query.where(sessions.c.member_id == member_id)
    return [Session(**row._mapping) for row in await work.connection.execute(query.order_by(sessions.c.seen_at.desc()))]


async def get_session(work: Work, session_id: str) -> Session:
    """One session; raises `NotFound`."""
    query = select(sessions).where(sessions.c.id == session_id, sessions.c.org_id == work.org_id)
    row = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no session {session_id[:60]!r}")
    return Session(**row._mapping)


async def end_session(work: Work, session_id: str) -> bool:
    """Delete one; False if it was gone."""
    query = delete(sessions).where(sessions.c.id == session_id, sessions.c.org_id == work.org_id)
    return bool((await work.connection.execute(query)).rowcount)


async def end_sessions_of(work: Work, member_id: str, *, but: str | None = None) -> int:
    """Delete all of a member's, but perhaps for one; how many."""
    query = delete(sessions).where(sessions.c.member_id == member_id, sessions.c.org_id == work.org_id)
    if but:
        query = query.where(sessions.c.id != but)
    return (await work.connection.execute(query)).rowcount


async def delete_dead_sessions(work: SystemWork, *, now: datetime, idle: timedelta) -> int:
    """Delete those, of all organizations, that nobody can use any more; how many."""
    dead = or_(sessions.c.expires_at <= now, sessions.c.seen_at <= now - idle)
    return (await work.connection.execute(delete(sessions).where(dead))).rowcount


def _live(now: datetime, idle: timedelta) -> ColumnElement[bool]:
    return (sessions.c.expires_at > now) & (sessions.c.seen_at > now - idle)
