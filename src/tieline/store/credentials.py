"""Credentials: sealed, versioned, one row a version; nothing here can open one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, ForeignKey, Integer, Table, Text, UniqueConstraint, delete, func, insert, select, update

from tieline.store.db import SystemWork, Work, metadata
from tieline.store.types import Ciphertext, Id, Sealed, UtcTime

credentials = Table(
    "credentials",
    metadata,
    Column("id", Id("cred"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False, index=True),
    Column("connection_id", Id("conn"), ForeignKey("connections.id"), nullable=False),
    Column("slot", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("sealed", Sealed, nullable=False),
    Column("key_id", Text, nullable=False, index=True),
    Column("fingerprint", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("retired_at", UtcTime),
    UniqueConstraint("connection_id", "slot", "version"),
)


@dataclass(frozen=True)
class SealedCredential:
    """One version of what a slot holds."""

    id: str
    org_id: str
    connection_id: str
    slot: str
    version: int
    sealed: Ciphertext
    key_id: str
    fingerprint: str
    created_at: datetime
    retired_at: datetime | None = None


async def save_credential(work: Work, credential: SealedCredential) -> None:
    """Add a version and retire those before it."""
    older = (credentials.c.connection_id == credential.connection_id) & (credentials.c.slot == credential.slot)
    older &= (credentials.c.org_id == work.org_id) & credentials.c.retired_at.is_(None)
    await work.connection.execute(update(credentials).where(older).values(retired_at=credential.created_at))
    await work.connection.execute(insert(credentials).values(**vars(credential)))


async def get_credential(work: Work, connection_id: str, slot: str = "default") -> SealedCredential | None:
    """The version in force, or `None` once destroyed."""
    query = select(credentials).where(
        credentials.c.connection_id == connection_id,
        credentials.c.org_id == work.org_id,
        credentials.c.slot == slot,
        credentials.c.retired_at.is_(None),
    )
    row = (await work.connection.execute(query)).one_or_none()
    return SealedCredential(**row._mapping) if row else None


async def next_version(work: Work, connection_id: str, slot: str = "default") -> int:
    """The version number that a new credential takes."""
    query = select(func.coalesce(func.max(credentials.c.version), 0) + 1).where(
        credentials.c.connection_id == connection_id, credentials.c.slot == slot, credentials.c.org_id == work.org_id
    )
    return int((await work.connection.execute(query)).scalar_one())


async def destroy_credentials(work: Work, connection_id: str) -> int:
    """Delete every version of every slot; how many there were."""
    mine = (credentials.c.connection_id == connection_id) & (credentials.c.org_id == work.org_id)
    return (await work.connection.execute(delete(credentials).where(mine))).rowcount


async def keys_in_use(work: SystemWork) -> set[str]:
    """Ids of the encryption keys that stored credentials need, over all organizations."""
    return set((await work.connection.execute(select(credentials.c.key_id).distinct())).scalars())
