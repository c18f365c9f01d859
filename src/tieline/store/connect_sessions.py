"""Connect sessions: one person's way through the hosted pages to one connection, from a link that works once to its outcome.

A session is found by its id and opened by a ticket, of which only a hash is kept: the first is in its address, and each page that
is sent has the next. The credential that has passed its test call waits here, sealed, until the person says yes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    ARRAY,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    Table,
    Text,
    delete,
    insert,
    select,
    text,
    update,
)

from tieline.errors import NotFound
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.sealed import holds_sealed
from tieline.store.types import Ciphertext, Id, Json, Sealed, UtcTime

Status = Literal["open", "under_way", "connected", "failed", "cancelled", "expired"]
Step = Literal["choose", "reads", "form", "away", "account"]

ALIVE = ("open", "under_way", "failed")
"""The states in which a person can go on: what failed can be tried again."""
KEPT_FOR = timedelta(days=7)

connect_sessions = Table(
    "connect_sessions",
    metadata,
    Column("id", Id("cs"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("ticket_hash", LargeBinary, nullable=False),
    Column("providers", ARRAY(Text), nullable=False),
    Column("origins", ARRAY(Text), nullable=False),
    Column("locale", Text),
    Column("theme", Text, nullable=False),
    Column("options", Json, nullable=False),
    Column("connection_id", Id("conn"), ForeignKey("connections.id")),
    Column("return_to", Text),
    Column("provider", Text),
    Column("slot", Text),
    Column("attempt_id", Id("att")),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("found", Json),
    Column("sealed", Sealed),
    Column("key_id", Text, index=True),
    Column("error_slug", Text),
    Column("error_message", Text),
    Column("error_advice", Text),
    Column("created_by", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("opened_at", UtcTime),
    Column("connected_id", Id("conn"), ForeignKey("connections.id")),
)
holds_sealed(connect_sessions, slot="connect_session")


@dataclass(frozen=True)
class ConnectSession:
    """A person's way to a connection.

    `providers` are those to choose from, and `origins` the sites that may frame its pages. `connection_id` is the connection that is to
    get a new credential, if it is not a new one; `connected_id` is the outcome. `provider` and `slot` were chosen, `attempt_id` is the sign-in
    at the provider that counts, and `tries` counts the credentials that were tried. `found` tells of the account whose credential waits, `sealed`, for the person's yes.
    """

    id: str
    org_id: str
    status: str
    step: str
    ticket_hash: bytes = field(repr=False)
    providers: list[str]
    origins: list[str]
    theme: str
    options: dict[str, Any]
    created_by: str
    created_at: datetime
    expires_at: datetime
    locale: str | None = None
    connection_id: str | None = None
    return_to: str | None = None
    provider: str | None = None
    slot: str | None = None
    attempt_id: str | None = None
    tries: int = 0
    found: dict[str, Any] | None = None
    sealed: Ciphertext | None = None
    key_id: str | None = None
    error_slug: str | None = None
    error_message: str | None = None
    error_advice: str | None = None
    opened_at: datetime | None = None
    connected_id: str | None = None

    def status_at(self, now: datetime) -> str:
        """Its status, which time alone may have changed."""
        return "expired" if self.status in ALIVE and now >= self.expires_at else self.status


async def add_session(work: Work, session: ConnectSession) -> None:
    """Add a session."""
    await work.connection.execute(insert(connect_sessions).values(**vars(session)))


async def get_session(work: Work, session_id: str, *, lock: bool = False) -> ConnectSession:
    """One session, locked until the end of the transaction if asked; raises `NotFound`."""
    query = select(connect_sessions).where(*_mine(work, session_id))
    row = (await work.connection.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no connect session {session_id[:60]!r}")
    return ConnectSession(**row._mapping)


async def list_sessions(work: Work, paging: Paging) -> Listing[ConnectSession]:
    """The organization's sessions, newest first."""
    query = select(connect_sessions).where(connect_sessions.c.org_id == work.org_id)
    key = connect_sessions.c.id
    return await list_page(work, query, key, paging, read=lambda row: ConnectSession(**row._mapping), newest_first=True)


async def use_ticket(
    work: Work, session_id: str, ticket_hash: bytes, following: bytes, *, now: datetime, until: datetime
) -> ConnectSession | None:
    """Exchange a ticket for the next, in one statement, so that of any number who come with it one goes on.

    The first of them opens the session, which then lasts `until`. `None` if it was used, or if the session is over.
    """
    first = connect_sessions.c.status == "open"
    query = update(connect_sessions).where(
        *_mine(work, session_id), connect_sessions.c.ticket_hash == ticket_hash, *_alive(now)
    )
    opened = {"status": "under_way", "ticket_hash": following, "opened_at": now, "expires_at": until}
    for where, values in ((first, opened), (~first, {"ticket_hash": following})):
        changed = await work.connection.execute(query.where(where).values(**values).returning(*connect_sessions.c))
        if row := changed.one_or_none():
            return ConnectSession(**row._mapping)
    return None


async def move_session(work: Work, session_id: str, *, now: datetime, **values: Any) -> bool:
    """Change some columns of a session that is not over; False if it is by now."""
    query = update(connect_sessions).where(*_mine(work, session_id), *_alive(now))
    return bool((await work.connection.execute(query.values(**values))).rowcount)


async def settle_attempt(work: Work, session_id: str, attempt_id: str, *, now: datetime, **values: Any) -> bool:
    """Change some columns if this sign-in is the one that the session waits for; False if it is not any more."""
    query = update(connect_sessions).where(
        *_mine(work, session_id),
        *_alive(now),
        connect_sessions.c.attempt_id == attempt_id,
        connect_sessions.c.step == "away",
    )
    return bool((await work.connection.execute(query.values(**values))).rowcount)


async def end_session(work: Work, session_id: str, status: Status, *, now: datetime) -> bool:
    """End a session and destroy what waits in it; False if it had ended."""
    return await move_session(work, session_id, now=now, status=status, sealed=None, key_id=None)


async def note_connected(work: Work, session_id: str, connection_id: str) -> None:
    """Note what came of a session, whatever else became of it meanwhile, and destroy what waited in it."""
    values = {"status": "connected", "connected_id": connection_id, "sealed": None, "key_id": None}
    await work.connection.execute(update(connect_sessions).where(*_mine(work, session_id)).values(**values))


async def destroy_overdue(work: SystemWork, *, now: datetime) -> int:
    """Destroy the credentials that wait in sessions, of all organizations, whose time is up; how many there were."""
    query = update(connect_sessions).where(connect_sessions.c.expires_at <= now, connect_sessions.c.key_id.is_not(None))
    return (await work.connection.execute(query.values(sealed=None, key_id=None))).rowcount


async def delete_old_sessions(work: SystemWork, *, now: datetime) -> int:
    """Forget those whose time was up a week ago, of all organizations; how many there were."""
    query = delete(connect_sessions).where(connect_sessions.c.expires_at < now - KEPT_FOR)
    return (await work.connection.execute(query)).rowcount


def _mine(work: Work, session_id: str) -> tuple[Any, ...]:
    return connect_sessions.c.id == session_id, connect_sessions.c.org_id == work.org_id


def _alive(now: datetime) -> tuple[Any, ...]:
    return connect_sessions.c.status.in_(ALIVE), connect_sessions.c.expires_at > now
