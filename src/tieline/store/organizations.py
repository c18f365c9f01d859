"""Organizations: the tenants, and the scope of every other row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Table, Text, insert, select
from sqlalchemy.exc import IntegrityError

from tieline.errors import Conflict, NotFound
from tieline.ids import new_id
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.types import Id, UtcTime

organizations = Table(
    "organizations",
    metadata,
    Column("id", Id("org"), primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)


@dataclass(frozen=True)
class Organization:
    """A tenant."""

    id: str
    slug: str
    name: str
    created_at: datetime


async def create_organization(work: SystemWork, *, slug: str, name: str, now: datetime) -> Organization:
    """Add an organization; raises `Conflict` if its slug is taken."""
    made = Organization(new_id("org"), slug, name, now)
    try:
        await work.connection.execute(insert(organizations).values(**vars(made)))
    except IntegrityError:
        raise Conflict(f"There is an organization {slug!r} already") from None
    return made


async def list_organizations(work: SystemWork) -> list[Organization]:
    """All of them, by slug."""
    rows = await work.connection.execute(select(organizations).order_by(organizations.c.slug))
    return [Organization(**row._mapping) for row in rows]


async def find_organization(work: SystemWork, slug_or_id: str) -> Organization:
    """The one with this slug or id; raises `NotFound`."""
    column = organizations.c.id if slug_or_id.startswith("org_") else organizations.c.slug
    row = (await work.connection.execute(select(organizations).where(column == slug_or_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no organization {slug_or_id!r}", advice="`tieline orgs list` shows those there are.")
    return Organization(**row._mapping)


async def get_own_organization(work: Work) -> Organization:
    """The one that the work is done as."""
    query = select(organizations).where(organizations.c.id == work.org_id)
    return Organization(**(await work.connection.execute(query)).one()._mapping)
