"""Credentials: sealed, versioned, one row a version; nothing here can open one.

A version is what a person gave or granted. A grant that is refreshed stays the same version and counts its `serial` up, in its
row: nobody goes back to an access token.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from tieline.store.db import SystemWork, Work, metadata
from tieline.store.sealed import holds_sealed
from tieline.store.types import Ciphertext, Id, Sealed, UtcTime

credentials = Table(
    "credentials",
    metadata,
    Column("id", Id("cred"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False, index=True),
    Column("connection_id", Id("conn"), ForeignKey("connections.id"), nullable=False),
    Column("slot", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("serial", Integer, nullable=False, server_default=text("0")),
    Column("sealed", Sealed, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", UtcTime),
    Column("warned_days", Integer),
    Column("refreshed_at", UtcTime),
    Column("refresh_begun_at", UtcTime),
    Column("refresh_after", UtcTime),
    Column("retired_at", UtcTime),
    UniqueConstraint("connection_id", "slot", "version"),
    Index("credentials_key_id_idx", "key_id", "id"),
)
holds_sealed(credentials, owner="connection_id")


@dataclass(frozen=True)
class SealedCredential:
    """One version of what a slot holds.

    `retired_at` is `None` for the version in force. `refresh_begun_at` is set while a refresh is under way, and stays set if the
    process dies in it; `refresh_after` is when a refresh that failed may be tried again.
    """

    id: str
    org_id: str
    connection_id: str
    slot: str
    version: int
    sealed: Ciphertext
    key_id: str
    fingerprint: str
    created_at: datetime
    created_by: str = "system"
    serial: int = 0
    expires_at: datetime | None = None
    warned_days: int | None = None
    refreshed_at: datetime | None = None
    refresh_begun_at: datetime | None = None
    refresh_after: datetime | None = None
    retired_at: datetime | None = None


async def save_credential(work: Work, credential: SealedCredential) -> None:
    """Put a version in force. The one that it follows is kept, retired, to go back to; all before it are destroyed."""
    slot = _slot(work, credential.connection_id, credential.slot)
    await work.connection.execute(delete(credentials).where(slot, credentials.c.retired_at.is_not(None)))
    await work.connection.execute(update(credentials).where(slot).values(retired_at=credential.created_at))
    await work.connection.execute(insert(credentials).values(**vars(credential)))


async def get_credential(work: Work, connection_id: str, slot: str, *, lock: bool = False) -> SealedCredential | None:
    """The version in force, or `None` once destroyed; locked until the end of the transaction if asked."""
    query = select(credentials).where(_slot(work, connection_id, slot), credentials.c.retired_at.is_(None))
    row = (await work.connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return SealedCredential(**row._mapping) if row else None


async def list_credentials(work: Work, connection_id: str, *, lock: bool = False) -> list[SealedCredential]:
    """Every version of every slot, by slot, the newest first; locked until the end of the transaction if asked."""
    mine = (credentials.c.connection_id == connection_id) & (credentials.c.org_id == work.org_id)
    query = select(credentials).where(mine).order_by(credentials.c.slot, credentials.c.version.desc())
    rows = await work.connection.execute(query.with_for_update() if lock else query)
    return [SealedCredential(**row._mapping) for row in rows]


async def next_version(work: Work, connection_id: str, slot: str) -> int:
    """The version number that a new credential takes."""
    query = select(func.coalesce(func.max(credentials.c.version), 0) + 1).where(_slot(work, connection_id, slot))
    return int((await work.connection.execute(query)).scalar_one())


async def swap_versions(work: Work, in_force: SealedCredential, former: SealedCredential, *, now: datetime) -> None:
    """Put the former version in force and retire the one that was."""
    await _change(work, in_force.id, retired_at=now)
    await _change(work, former.id, retired_at=None)


async def begin_refresh(
    work: Work, credential_id: str, *, serial: int, now: datetime, unless_after: datetime
) -> datetime | None:
    """Note that a refresh begins, unless the serial has moved on or one began after that time; when one began that never ended."""
    this = (
        (credentials.c.id == credential_id) & (credentials.c.org_id == work.org_id) & (credentials.c.serial == serial)
    )
    before = select(credentials.c.refresh_begun_at).where(this).with_for_update()
    found: datetime | None = (await work.connection.execute(before)).scalar_one_or_none()
    if found is None or found <= unless_after:
        await work.connection.execute(update(credentials).where(this).values(refresh_begun_at=now))
    return found


async def save_refreshed(
    work: Work, credential: SealedCredential, sealed: Ciphertext, key_id: str, *, now: datetime
) -> None:
    """Store the next grant in the row of the last, under the next serial."""
    ended = {"refreshed_at": now, "refresh_begun_at": None, "refresh_after": None}
    await _change(work, credential.id, sealed=sealed, key_id=key_id, serial=credential.serial + 1, **ended)


async def note_failed_refresh(work: Work, credential_id: str, *, serial: int, after: datetime | None) -> None:
    """End a refresh that failed, unless the serial has moved on; others wait until `after` before they try."""
    this = (
        (credentials.c.id == credential_id) & (credentials.c.org_id == work.org_id) & (credentials.c.serial == serial)
    )
    await work.connection.execute(update(credentials).where(this).values(refresh_begun_at=None, refresh_after=after))


async def note_warning(work: Work, credential_id: str, days: int) -> None:
    """Remember of which number of days before its end people have been warned."""
    await _change(work, credential_id, warned_days=days)


async def set_expiry(work: Work, credential_id: str, expires_at: datetime | None) -> None:
    """Note when a credential ends; warnings start anew."""
    await _change(work, credential_id, expires_at=expires_at, warned_days=None)


async def destroy_credentials(work: Work, connection_id: str, slot: str | None = None) -> int:
    """Delete every version, of one slot or of all; how many there were."""
    mine = (credentials.c.connection_id == connection_id) & (credentials.c.org_id == work.org_id)
    if slot is not None:
        mine &= credentials.c.slot == slot
    return (await work.connection.execute(delete(credentials).where(mine))).rowcount


async def destroy_retired(work: Work, *, before: datetime) -> int:
    """Delete the versions that were retired before this time; how many there were."""
    mine = (credentials.c.org_id == work.org_id) & (credentials.c.retired_at < before)
    return (await work.connection.execute(delete(credentials).where(mine))).rowcount


async def list_ending(work: SystemWork, *, before: datetime) -> list[tuple[str, str, str]]:
    """Organization, connection and slot of the versions in force that end before this time."""
    query = select(credentials.c.org_id, credentials.c.connection_id, credentials.c.slot).where(
        credentials.c.retired_at.is_(None), credentials.c.expires_at < before
    )
    return [(row.org_id, row.connection_id, row.slot) for row in await work.connection.execute(query)]


async def list_with_retired(work: SystemWork, *, before: datetime) -> list[str]:
    """The organizations that keep versions which were retired before this time."""
    query = select(credentials.c.org_id).where(credentials.c.retired_at < before).distinct()
    return list((await work.connection.execute(query)).scalars())


def _slot(work: Work, connection_id: str, slot: str) -> ColumnElement[bool]:
    return (
        (credentials.c.connection_id == connection_id)
        & (credentials.c.org_id == work.org_id)
        & (credentials.c.slot == slot)
    )


async def _change(work: Work, credential_id: str, **values: object) -> None:
    mine = (credentials.c.id == credential_id) & (credentials.c.org_id == work.org_id)
    await work.connection.execute(update(credentials).where(mine).values(**values))
