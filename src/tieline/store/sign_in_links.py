"""Sign-in links: made for one purpose, used once, found by a keyed hash of what the address holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Column, ColumnElement, ForeignKey, LargeBinary, Table, Text, delete, insert, select, update

from tieline.store.db import SystemWork, Work, metadata
from tieline.store.types import Id, UtcTime

Purpose = Literal["first", "invitation", "sign_in"]

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("id", Id("link"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False, index=True),
    Column("member_id", Id("mem"), ForeignKey("members.id")),
    Column("purpose", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("used_at", UtcTime),
)


@dataclass(frozen=True)
class SignInLink:
    """A way in for whoever has it: for a member, or (`first`) for the one who is to be an organization's first."""

    id: str
    org_id: str
    member_id: str | None
    purpose: str
    hash: bytes
    created_at: datetime
    created_by: str
    expires_at: datetime
    used_at: datetime | None = None


async def add_link(work: Work, link: SignInLink) -> None:
    """Add a link."""
    await work.connection.execute(insert(sign_in_links).values(**vars(link)))


async def find_link(work: Work, hash: bytes, *, now: datetime) -> SignInLink | None:
    """The link with this hash, if it can still be used."""
    row = (await work.connection.execute(select(sign_in_links).where(_usable(work, hash, now)))).one_or_none()
    return SignInLink(**row._mapping) if row else None


async def use_link(work: Work, hash: bytes, *, now: datetime) -> SignInLink | None:
    """Use it up, in one statement, so that of any number who come with it one gets it."""
    query = update(sign_in_links).where(_usable(work, hash, now)).values(used_at=now).returning(*sign_in_links.c)
    row = (await work.connection.execute(query)).one_or_none()
    return SignInLink(**row._mapping) if row else None


async def drop_links(work: Work, member_id: str | None) -> int:
    """Make a member's unused links useless, or (`None`) those for the first member; how many there were."""
    whose = sign_in_links.c.member_id == member_id if member_id else sign_in_links.c.member_id.is_(None)
    unused = (sign_in_links.c.org_id == work.org_id) & whose & sign_in_links.c.used_at.is_(None)
    return (await work.connection.execute(delete(sign_in_links).where(unused))).rowcount


async def delete_old_links(work: SystemWork, *, now: datetime) -> int:
    """Forget those, of all organizations, whose time is up; how many there were."""
    return (await work.connection.execute(delete(sign_in_links).where(sign_in_links.c.expires_at <= now))).rowcount


def _usable(work: Work, hash: bytes, now: datetime) -> ColumnElement[bool]:
    mine = (sign_in_links.c.hash == hash) & (sign_in_links.c.org_id == work.org_id)
    return mine & sign_in_links.c.used_at.is_(None) & (sign_in_links.c.expires_at > now)
