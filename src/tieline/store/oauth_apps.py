"""OAuth apps of organizations: one for each provider, sealed; nothing here can open one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ARRAY,
    Column,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from tieline.errors import Conflict
from tieline.store.db import Work, metadata
from tieline.store.sealed import holds_sealed
from tieline.store.types import Ciphertext, Id, Json, Sealed, UtcTime

oauth_apps = Table(
    "oauth_apps",
    metadata,
    Column("id", Id("oapp"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("fields", ARRAY(Text), nullable=False),
    Column("hosts", Json, nullable=False, server_default=text("'{}'")),
    Column("version", Integer, nullable=False),
    Column("sealed", Sealed, nullable=False),
    Column("key_id", Text, nullable=False, index=True),
    Column("fingerprint", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    UniqueConstraint("org_id", "provider"),
)
holds_sealed(oauth_apps, slot="oauth_app")


@dataclass(frozen=True)
class SealedApp:
    """An organization's app at a provider: in plain its client id alone, and in `fields` the names of all that it holds.

    `hosts` are the options by which it belongs to a server other than the vendor's; it is shown to no other.
    """

    id: str
    org_id: str
    provider: str
    client_id: str
    fields: list[str]
    hosts: dict[str, str]
    version: int
    sealed: Ciphertext
    key_id: str
    fingerprint: str
    created_at: datetime
    updated_at: datetime


async def get_app(work: Work, provider: str, *, lock: bool = False) -> SealedApp | None:
    """The organization's app at a provider, locked until the end of the transaction if asked."""
    query = select(oauth_apps).where(oauth_apps.c.org_id == work.org_id, oauth_apps.c.provider == provider)
    row = (await work.connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return SealedApp(**row._mapping) if row else None


async def list_apps(work: Work) -> list[SealedApp]:
    """The organization's apps, by provider."""
    query = select(oauth_apps).where(oauth_apps.c.org_id == work.org_id).order_by(oauth_apps.c.provider)
    return [SealedApp(**row._mapping) for row in await work.connection.execute(query)]


async def add_app(work: Work, app: SealedApp) -> None:
    """Add a first app; raises `Conflict` if somebody else has added one meanwhile."""
    try:
        await work.connection.execute(insert(oauth_apps).values(**vars(app)))
    except IntegrityError:
        raise Conflict(
            "Somebody else has set this app up at the same time", advice="Look at it, then decide."
        ) from None


async def replace_app(work: Work, app: SealedApp) -> None:
    """Put a new version in the place of the one that there is."""
    mine = (oauth_apps.c.id == app.id) & (oauth_apps.c.org_id == work.org_id)
    await work.connection.execute(update(oauth_apps).where(mine).values(**vars(app)))


async def delete_app(work: Work, provider: str) -> bool:
    """Destroy the app; whether there was one."""
    mine = (oauth_apps.c.org_id == work.org_id) & (oauth_apps.c.provider == provider)
    return bool((await work.connection.execute(delete(oauth_apps).where(mine))).rowcount)
