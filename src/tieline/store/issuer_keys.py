"""Issuer keys: what Tieline signs identity tokens with, for clouds that trust it without a stored secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Table, Text, delete, insert, select, text

from tieline.store.db import SystemWork, metadata
from tieline.store.sealed import holds_sealed
from tieline.store.types import Ciphertext, Id, Json, Sealed, UtcTime

issuer_keys = Table(
    "issuer_keys",
    metadata,
    Column("id", Id("iss"), primary_key=True),
    Column("public", Json, nullable=False),
    Column("sealed", Sealed, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)
holds_sealed(issuer_keys, slot="issuer")


@dataclass(frozen=True)
class IssuerKey:
    """A signing key: the public half as a JWK, the private half sealed."""

    id: str
    public: dict[str, Any]
    sealed: Ciphertext
    key_id: str
    created_at: datetime


async def lock_issuer_keys(work: SystemWork) -> None:
    """Wait for a turn to make one."""
    await work.connection.execute(select(text("pg_advisory_xact_lock(hashtext('issuer_keys'))")))


async def list_issuer_keys(work: SystemWork) -> list[IssuerKey]:
    """All keys, the newest first."""
    rows = await work.connection.execute(select(issuer_keys).order_by(issuer_keys.c.id.desc()))
    return [IssuerKey(**row._mapping) for row in rows]


async def save_issuer_key(work: SystemWork, key: IssuerKey) -> None:
    """Add a key."""
    await work.connection.execute(insert(issuer_keys).values(**vars(key)))


async def destroy_issuer_keys(work: SystemWork, *, before: datetime) -> int:
    """Delete keys made before this time; how many there were."""
    return (await work.connection.execute(delete(issuer_keys).where(issuer_keys.c.created_at < before))).rowcount
