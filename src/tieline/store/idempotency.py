"""Answers already given to POST requests that named an `Idempotency-Key`, kept for a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    delete,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from tieline.store.db import Work, metadata
from tieline.store.types import Id, UtcTime

KEPT_FOR = timedelta(hours=24)
ABANDONED_AFTER = timedelta(minutes=10)
"""A request that has given no answer for so long died with its process: its key may be taken again."""

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("status", Integer),
    Column("body", LargeBinary),
    PrimaryKeyConstraint("org_id", "key"),
)


@dataclass(frozen=True)
class Remembered:
    """What is known of a key: `status` and `body` are `None` while its first request is still at work."""

    request_hash: bytes
    status: int | None
    body: bytes | None


async def claim_key(work: Work, key: str, request_hash: bytes, *, now: datetime) -> Remembered | None:
    """Take a key for a request, `None` if it was free; else what is known of the request that took it."""
    mine = (idempotency_keys.c.org_id == work.org_id) & (idempotency_keys.c.key == key)
    abandoned = idempotency_keys.c.status.is_(None) & (idempotency_keys.c.created_at < now - ABANDONED_AFTER)
    stale = abandoned | (idempotency_keys.c.created_at < now - KEPT_FOR)
    await work.connection.execute(delete(idempotency_keys).where(idempotency_keys.c.org_id == work.org_id, stale))
    row = {"org_id": work.org_id, "key": key, "request_hash": request_hash, "created_at": now}
    taken = await work.connection.execute(insert(idempotency_keys).values(**row).on_conflict_do_nothing())
    if taken.rowcount:
        return None
    found = (await work.connection.execute(select(idempotency_keys).where(mine))).one()
    return Remembered(found.request_hash, found.status, found.body)


async def remember_answer(work: Work, key: str, *, status: int, body: bytes) -> None:
    """Keep the answer that was given."""
    mine = (idempotency_keys.c.org_id == work.org_id) & (idempotency_keys.c.key == key)
    await work.connection.execute(update(idempotency_keys).where(mine).values(status=status, body=body))


async def free_key(work: Work, key: str) -> None:
    """Let a key be used again: its request failed and changed nothing."""
    mine = (idempotency_keys.c.org_id == work.org_id) & (idempotency_keys.c.key == key)
    await work.connection.execute(delete(idempotency_keys).where(mine))
