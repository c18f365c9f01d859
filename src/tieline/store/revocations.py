"""Revocations: credentials of disconnected connections that their provider has not been told to forget yet.

Each is sealed as it was in its slot, is tried again for a day, and is then destroyed whatever came of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, delete, insert, select, text, update

from tieline.store.db import SystemWork, Work, metadata
from tieline.store.sealed import holds_sealed
from tieline.store.types import Ciphertext, Id, Json, Sealed, UtcTime

revocations = Table(
    "revocations",
    metadata,
    Column("id", Id("rev"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False, index=True),
    Column("connection_id", Id("conn"), ForeignKey("connections.id"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("options", Json, nullable=False),
    Column("slot", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("serial", Integer, nullable=False),
    Column("sealed", Sealed, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("due_at", UtcTime, nullable=False),
    Column("give_up_at", UtcTime, nullable=False),
    Index("revocations_due_at_idx", "due_at"),
)
holds_sealed(revocations, owner="connection_id")


@dataclass(frozen=True)
class Revocation:
    """A credential to be revoked; its place in the vault is still that of its slot."""

    id: str
    org_id: str
    connection_id: str
    provider: str
    options: dict[str, Any]
    slot: str
    version: int
    serial: int
    sealed: Ciphertext
    key_id: str
    due_at: datetime
    give_up_at: datetime
    tries: int = 0


async def save_revocation(work: Work, revocation: Revocation) -> None:
    """Remember to revoke."""
    await work.connection.execute(insert(revocations).values(**vars(revocation)))


async def list_due(work: SystemWork, *, now: datetime) -> list[tuple[str, str]]:
    """Organization and id of what should be tried now."""
    query = select(revocations.c.org_id, revocations.c.id).where(revocations.c.due_at <= now)
    return [(row.org_id, row.id) for row in await work.connection.execute(query)]


async def take_revocation(work: Work, revocation_id: str, *, now: datetime, again_at: datetime) -> Revocation | None:
    """One that is due, put off first so that no other process tries it meanwhile; `None` if one was faster."""
    mine = (revocations.c.id == revocation_id) & (revocations.c.org_id == work.org_id) & (revocations.c.due_at <= now)
    later = update(revocations).where(mine).values(due_at=again_at, tries=revocations.c.tries + 1)
    row = (await work.connection.execute(later.returning(revocations))).one_or_none()
    return Revocation(**row._mapping) if row else None


async def put_off(work: Work, revocation_id: str, *, due_at: datetime) -> None:
    """Try it again at another time."""
    mine = (revocations.c.id == revocation_id) & (revocations.c.org_id == work.org_id)
    await work.connection.execute(update(revocations).where(mine).values(due_at=due_at))


async def list_of(work: Work, connection_id: str) -> list[str]:
    """Ids of the credentials of a connection that are still to be revoked."""
    mine = (revocations.c.connection_id == connection_id) & (revocations.c.org_id == work.org_id)
    return list((await work.connection.execute(select(revocations.c.id).where(mine))).scalars())


async def count_revocations(work: Work, connection_id: str) -> int:
    """How many credentials of a connection are still to be revoked."""
    return len(await list_of(work, connection_id))


async def destroy_revocation(work: Work, revocation_id: str) -> None:
    """Forget it, credential and all."""
    mine = (revocations.c.id == revocation_id) & (revocations.c.org_id == work.org_id)
    await work.connection.execute(delete(revocations).where(mine))
