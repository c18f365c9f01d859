"""Attempts to connect by going to the provider: begun, opened in one browser, used once, and soon forgotten.

What an attempt keeps secret (the PKCE verifier, the nonce, the choices made) is sealed; nothing here can open it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, Table, Text, delete, insert, or_, select, update

from tieline.errors import NotFound
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.sealed import holds_sealed
from tieline.store.types import Ciphertext, Id, Sealed, UtcTime

Status = Literal["pending", "validating", "verified", "connected", "failed", "expired"]

KEPT_FOR = timedelta(days=1)
STALLED_AFTER = timedelta(minutes=5)
"""A check that has not ended so long after the attempt's time was up died with its process."""

attempts = Table(
    "attempts",
    metadata,
    Column("id", Id("att"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False, index=True),
    Column("provider", Text, nullable=False),
    Column("slot", Text, nullable=False),
    Column("connection_id", Id("conn"), ForeignKey("connections.id")),
    Column("session_id", Id("cs"), ForeignKey("connect_sessions.id", ondelete="CASCADE"), index=True),
    Column("status", Text, nullable=False),
    Column("error_slug", Text),
    Column("error_message", Text),
    Column("browser_hash", LargeBinary),
    Column("round", Integer, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("return_to", Text),
    Column("sealed", Sealed, nullable=False),
    Column("key_id", Text, nullable=False, index=True),
    Column("created_by", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("consumed_at", UtcTime),
    Column("connected_id", Id("conn"), ForeignKey("connections.id")),
)
holds_sealed(attempts, slot="attempt")


@dataclass(frozen=True)
class Attempt:
    """A person's way to the provider and back.

    `connection_id` is the connection that is to get a new credential, if it is not a new one; `connected_id` is the outcome. One that
    belongs to the connect session `session_id` ends `verified`: its credential waits there for the person's yes.
    `round` counts how often the person was sent to the provider: only what the last of these rounds brings back counts.
    """

    id: str
    org_id: str
    provider: str
    slot: str
    status: str
    round: int
    redirect_uri: str
    sealed: Ciphertext
    key_id: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    connection_id: str | None = None
    session_id: str | None = None
    error_slug: str | None = None
    error_message: str | None = None
    browser_hash: bytes | None = None
    return_to: str | None = None
    consumed_at: datetime | None = None
    connected_id: str | None = None

    def status_at(self, now: datetime) -> str:
        """Its status, which time alone may have changed."""
        limit = {"pending": self.expires_at, "validating": self.expires_at + STALLED_AFTER}.get(self.status)
        return "expired" if limit and now >= limit else self.status


async def add_attempt(work: Work, attempt: Attempt) -> None:
    """Add an attempt."""
    await work.connection.execute(insert(attempts).values(**vars(attempt)))


async def get_attempt(work: Work, attempt_id: str) -> Attempt:
    """One attempt; raises `NotFound`."""
    query = select(attempts).where(attempts.c.id == attempt_id, attempts.c.org_id == work.org_id)
    row = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no attempt {attempt_id[:60]!r}")
    return Attempt(**row._mapping)


async def open_round(
    work: Work, attempt: Attempt, *, browser_hash: bytes, sealed: Ciphertext, key_id: str, now: datetime
) -> bool:
    """Send the attempt on its next round in this browser; False if it is another's by now, under way, over or late."""
    query = update(attempts).where(*_open_to(work, attempt, browser_hash, now))
    values = {"browser_hash": browser_hash, "round": attempt.round + 1, "sealed": sealed, "key_id": key_id}
    return bool((await work.connection.execute(query.values(**values))).rowcount)


async def refuse_attempt(work: Work, attempt: Attempt, *, browser_hash: bytes, message: str, now: datetime) -> bool:
    """End an attempt that this browser could open; False if it is another's by now, under way, over or late."""
    query = update(attempts).where(*_open_to(work, attempt, browser_hash, now))
    values = {"status": "failed", "error_slug": "sign-in-declined", "error_message": message}
    return bool((await work.connection.execute(query.values(**values))).rowcount)


async def consume_round(
    work: Work,
    attempt_id: str,
    round: int,
    *,
    provider: str,
    redirect_uri: str,
    browser_hash: bytes,
    now: datetime,
) -> Attempt | None:
    """Use up a round, in one statement, so that of any number who come back with it one gets the attempt."""
    query = update(attempts).where(
        *_at(work, attempt_id, round),
        attempts.c.consumed_at.is_(None),
        attempts.c.status == "pending",
        attempts.c.provider == provider,
        attempts.c.redirect_uri == redirect_uri,
        attempts.c.browser_hash == browser_hash,
        attempts.c.expires_at > now,
    )
    values = {"consumed_at": now, "status": "validating"}
    row = (await work.connection.execute(query.values(**values).returning(*attempts.c))).one_or_none()
    return Attempt(**row._mapping) if row else None


async def reopen_round(work: Work, attempt: Attempt, *, sealed: Ciphertext, key_id: str) -> bool:
    """Send a used attempt on one more round; False if it is not under way any more."""
    query = update(attempts).where(*_at(work, attempt.id, attempt.round), attempts.c.status == "validating")
    values = {"consumed_at": None, "status": "pending", "round": attempt.round + 1, "sealed": sealed, "key_id": key_id}
    return bool((await work.connection.execute(query.values(**values))).rowcount)


async def end_attempt(
    work: Work,
    attempt: Attempt,
    status: Status,
    *,
    connected_id: str | None = None,
    slug: str | None = None,
    message: str | None = None,
) -> None:
    """Note how it ended."""
    values = {"status": status, "connected_id": connected_id, "error_slug": slug, "error_message": message}
    await work.connection.execute(update(attempts).where(*_at(work, attempt.id, attempt.round)).values(**values))


async def delete_old_attempts(work: SystemWork, *, now: datetime) -> int:
    """Forget those whose time was up a day ago, of all organizations; how many there were."""
    query = delete(attempts).where(attempts.c.expires_at < now - KEPT_FOR)
    return (await work.connection.execute(query)).rowcount


def _open_to(work: Work, attempt: Attempt, browser_hash: bytes, now: datetime) -> tuple[Any, ...]:
    """It waits at this round, for this browser or for any."""
    unbound_or_its = or_(attempts.c.browser_hash.is_(None), attempts.c.browser_hash == browser_hash)
    waiting = attempts.c.status == "pending", attempts.c.expires_at > now
    return *_at(work, attempt.id, attempt.round), *waiting, unbound_or_its


def _at(work: Work, attempt_id: str, round: int) -> tuple[Any, ...]:
    return attempts.c.id == attempt_id, attempts.c.org_id == work.org_id, attempts.c.round == round
