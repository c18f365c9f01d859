"""Members: the people of an organization. One who is removed keeps the row, by whose id the audit log names them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import (
    Column,
    ColumnElement,
    ForeignKey,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    or_,
    select,
    update,
)

from tieline.errors import NotFound
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.types import Id, UtcTime

Status = Literal["invited", "active", "removed"]

members = Table(
    "members",
    metadata,
    Column("id", Id("mem"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("email", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime),
    UniqueConstraint("org_id", "email"),
)

_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Member:
    """A person of an organization; `email` is case-folded."""

    id: str
    org_id: str
    email: str
    name: str
    role: str
    status: str
    created_at: datetime
    last_seen_at: datetime | None = None


async def lock_members(work: Work) -> None:
    """Let nobody else change who is a member until the end of the transaction, so that rules about all of them hold."""
    await work.connection.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended("members " + work.org_id, 0)))
    )


async def add_member(work: Work, member: Member) -> None:
    """Add a member."""
    await work.connection.execute(insert(members).values(**vars(member)))


async def change_member(work: Work, member_id: str, **values: str) -> None:
    """Set some columns."""
    await work.connection.execute(update(members).where(_this(work, member_id)).values(**values))


async def get_member(work: Work, member_id: str) -> Member:
    """One member, removed or not; raises `NotFound`."""
    row = (await work.connection.execute(select(members).where(_this(work, member_id)))).one_or_none()
    if row is None:
        raise NotFound(f"There is no member {member_id[:60]!r}")
    return Member(**row._mapping)


async def find_member(work: Work, email: str) -> Member | None:
    """The one with this case-folded address, removed or not."""
    query = select(members).where(members.c.org_id == work.org_id, members.c.email == email)
    row = (await work.connection.execute(query)).one_or_none()
    return Member(**row._mapping) if row else None


async def list_members(work: Work, paging: Paging) -> Listing[Member]:
    """Those who have not been removed."""
    query = select(members).where(members.c.org_id == work.org_id, members.c.status != "removed")
    return await list_page(work, query, members.c.id, paging, read=lambda row: Member(**row._mapping))


async def names_of(work: Work, ids: Collection[str]) -> dict[str, str]:
    """What to call these members, removed or not, by their ids: by name, or without one by address."""
    query = select(members).where(members.c.org_id == work.org_id, members.c.id.in_(ids))
    rows = await work.connection.execute(query) if ids else ()
    return {row.id: row.name or row.email for row in rows}


async def count_active(work: Work, *roles: str) -> int:
    """How many have signed in at least once and were not removed, with one of these roles or with any."""
    query = select(func.count()).where(members.c.org_id == work.org_id, members.c.status == "active")
    if roles:
        query = query.where(members.c.role.in_(roles))
    return int((await work.connection.execute(query)).scalar_one())


async def note_seen(work: Work, member_id: str, *, now: datetime) -> None:
    """Note that a member was here, to the minute."""
    stale = or_(members.c.last_seen_at.is_(None), members.c.last_seen_at < now - _SEEN_EVERY)
    await work.connection.execute(update(members).where(_this(work, member_id), stale).values(last_seen_at=now))


async def find_memberships(work: SystemWork, email: str) -> list[tuple[str, str]]:
    """Organization and member by a case-folded address, of those who were not removed; the active ones first, then the oldest."""
    query = select(members.c.org_id, members.c.id).where(members.c.email == email, members.c.status != "removed")
    ordered = query.order_by(members.c.status, members.c.id)  # `active` comes before `invited`
    return [(row.org_id, row.id) for row in await work.connection.execute(ordered)]


def _this(work: Work, member_id: str) -> ColumnElement[bool]:
    return (members.c.id == member_id) & (members.c.org_id == work.org_id)
