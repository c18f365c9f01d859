"""API keys: kept as keyed hashes, found by their public prefix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Column, ForeignKey, LargeBinary, Table, Text, insert, or_, select, update

from tieline.errors import NotFound
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.types import Id, UtcTime

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id("key"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("prefix", Text, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("last_used_at", UtcTime),
    Column("revoked_at", UtcTime),
)

_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class ApiKeyRow:
    """A key as it is stored: its secret part only as a keyed hash."""

    id: str
    org_id: str
    name: str
    role: str
    prefix: str
    hash: bytes
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Whether it works: neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


async def save_api_key(work: Work, row: ApiKeyRow) -> None:
    """Add a key."""
    await work.connection.execute(insert(api_keys).values(**vars(row)))


async def list_api_keys(work: Work, paging: Paging) -> Listing[ApiKeyRow]:
    """The organization's keys, revoked ones too."""
    query = select(api_keys).where(api_keys.c.org_id == work.org_id)
    return await list_page(work, query, api_keys.c.id, paging, read=lambda row: ApiKeyRow(**row._mapping))


async def get_api_key(work: Work, key_id: str) -> ApiKeyRow:
    """One key of the organization, revoked or not; raises `NotFound`."""
    mine = (api_keys.c.id == key_id) & (api_keys.c.org_id == work.org_id)
    row = (await work.connection.execute(select(api_keys).where(mine))).one_or_none()
    if row is None:
        raise NotFound(f"There is no API key {key_id!r}")
    return ApiKeyRow(**row._mapping)


async def revoke_api_key(work: Work, key_id: str, *, now: datetime) -> ApiKeyRow:
    """Make a key useless at once; raises `NotFound`. A second time changes nothing."""
    found = await get_api_key(work, key_id)
    mine = (api_keys.c.id == key_id) & (api_keys.c.org_id == work.org_id)
    await work.connection.execute(update(api_keys).where(mine, api_keys.c.revoked_at.is_(None)).values(revoked_at=now))
    return replace(found, revoked_at=found.revoked_at or now)


async def find_api_key(work: SystemWork, prefix: str, *, now: datetime) -> ApiKeyRow | None:
    """The live key with this prefix, of whichever organization; its last use is noted once a minute."""
    live = (api_keys.c.prefix == prefix) & api_keys.c.revoked_at.is_(None)
    live &= or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    row = (await work.connection.execute(select(api_keys).where(live))).one_or_none()
    if row is None:
        return None
    if row.last_used_at is None or now - row.last_used_at > _SEEN_EVERY:
        await work.connection.execute(update(api_keys).where(api_keys.c.id == row.id).values(last_used_at=now))
    return ApiKeyRow(**row._mapping)
