"""Connections: an organization's live links to accounts at providers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, Column, ForeignKey, Index, Table, Text, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from tieline.errors import Conflict, NotFound
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.types import Id, Json, UtcTime

NOBODY = "nobody"
"""In place of an owner, to find the connections that have none."""

connections = Table(
    "connections",
    metadata,
    Column("id", Id("conn"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("auth", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_slug", Text),
    Column("status_message", Text),
    Column("paused_from", Text),
    Column("account_id", Text, nullable=False),
    Column("account_name", Text, nullable=False),
    Column("options", Json, nullable=False),
    Column("overrides", Json, nullable=False, server_default=text("'{}'")),
    Column("scopes", ARRAY(Text)),
    Column("missing_scopes", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("remarks", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("expires_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("validated_at", UtcTime, nullable=False),
    Column("disconnected_at", UtcTime),
    Column("owner_id", Id("mem"), ForeignKey("members.id")),
    Index("connections_org_id_idx", "org_id", "id"),
    Index(
        "connections_account_key",
        "org_id",
        "provider",
        "account_id",
        unique=True,
        postgresql_where=text("disconnected_at IS NULL"),
    ),
)


@dataclass(frozen=True)
class Connection:
    """A link to one account.

    `auth` is the slot whose credential is in use, `expires_at` when that credential ends, `remarks` what it cannot do. `overrides`
    holds, by operation, the organization's own filter and fields. `owner_id` is the member who looks after it, if one does.
    """

    id: str
    org_id: str
    provider: str
    name: str
    auth: str
    status: str
    account_id: str
    account_name: str
    options: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    validated_at: datetime
    overrides: dict[str, Any] = field(default_factory=dict)
    scopes: list[str] | None = None
    missing_scopes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    expires_at: datetime | None = None
    status_slug: str | None = None
    status_message: str | None = None
    paused_from: str | None = None
    disconnected_at: datetime | None = None
    owner_id: str | None = None


async def save_connection(work: Work, connection: Connection) -> None:
    """Add a connection; raises `Conflict` for a second live one to the same account."""
    try:
        async with work.connection.begin_nested():
            await work.connection.execute(insert(connections).values(**vars(connection)))
    except IntegrityError:
        raise Conflict("This account is connected already") from None


async def lock_connection(work: Work, connection_id: str) -> None:
    """Wait for a turn among the transactions that write what concerns a connection; held until this one ends."""
    key = func.hashtextextended(connection_id, 0)
    await work.connection.execute(select(func.pg_advisory_xact_lock(key)))


async def lock_connections(work: Work, connection_ids: Iterable[str]) -> None:
    """`lock_connection` for several at once, in an order that is the same for all who wait."""
    each = "SELECT pg_advisory_xact_lock(hashtextextended(one, 0)) FROM unnest(CAST(:ids AS text[])) AS one"
    await work.connection.execute(text(each), {"ids": sorted(connection_ids)})


async def get_connection(work: Work, connection_id: str, *, lock: bool = False) -> Connection:
    """One connection, locked until the end of the transaction if asked; raises `NotFound`."""
    query = select(connections).where(connections.c.id == connection_id, connections.c.org_id == work.org_id)
    row = (await work.connection.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no connection {connection_id[:60]!r}")
    return Connection(**row._mapping)


async def find_by_account(work: Work, provider: str, account_id: str) -> Connection | None:
    """The live connection to this account, if there is one."""
    query = select(connections).where(
        connections.c.org_id == work.org_id,
        connections.c.provider == provider,
        connections.c.account_id == account_id,
        connections.c.disconnected_at.is_(None),
    )
    row = (await work.connection.execute(query)).one_or_none()
    return Connection(**row._mapping) if row else None


async def list_connections(
    work: Work,
    paging: Paging,
    *,
    provider: str | None = None,
    status: str | None = None,
    statuses: Collection[str] = (),
    owner: str | None = None,
) -> Listing[Connection]:
    """The organization's connections, oldest first; disconnected ones only when asked for by status.

    `owner` is a member's id, or `NOBODY` for those that nobody looks after.
    """
    query = select(connections).where(connections.c.org_id == work.org_id)
    if provider:
        query = query.where(connections.c.provider == provider)
    if statuses:
        query = query.where(connections.c.status.in_(statuses))
    if owner:
        query = query.where(connections.c.owner_id == (None if owner == NOBODY else owner))
    if status or not statuses:
        query = query.where(connections.c.status == status if status else connections.c.disconnected_at.is_(None))
    return await list_page(work, query, connections.c.id, paging, read=lambda row: Connection(**row._mapping))


async def pass_on(work: Work, owner_id: str, to: str | None, *, now: datetime) -> list[str]:
    """Give a member's live connections to another, or to nobody; their ids."""
    theirs = (
        (connections.c.org_id == work.org_id)
        & (connections.c.owner_id == owner_id)
        & connections.c.disconnected_at.is_(None)
    )
    query = update(connections).where(theirs).values(owner_id=to, updated_at=now).returning(connections.c.id)
    return sorted((await work.connection.execute(query)).scalars())


async def count_by_status(work: Work) -> dict[str, int]:
    """How many connections are in each state."""
    query = select(connections.c.status, func.count()).where(connections.c.org_id == work.org_id)
    rows = await work.connection.execute(query.group_by(connections.c.status))
    return {key: value for key, value in rows}  # noqa: C416  dict() would take the result for a mapping


async def count_by_owner(work: Work) -> dict[str, int]:
    """How many live connections each member looks after; those who do so for none are left out."""
    live = (connections.c.org_id == work.org_id) & connections.c.disconnected_at.is_(None)
    query = select(connections.c.owner_id, func.count()).where(live, connections.c.owner_id.is_not(None))
    rows = await work.connection.execute(query.group_by(connections.c.owner_id))
    return {key: value for key, value in rows}  # noqa: C416  dict() would take the result for a mapping


async def update_connection(work: Work, connection_id: str, *, now: datetime, **values: Any) -> None:
    """Change some columns."""
    mine = (connections.c.id == connection_id) & (connections.c.org_id == work.org_id)
    await work.connection.execute(update(connections).where(mine).values(updated_at=now, **values))


async def count_everywhere(work: SystemWork) -> list[tuple[str, str, int]]:
    """How many connections of all organizations there are: provider, status, how many."""
    of = connections.c
    query = select(of.provider, of.status, func.count(of.id)).group_by(of.provider, of.status)
    return [(provider, status, count) for provider, status, count in await work.connection.execute(query)]


async def list_ways(work: Work, *, limit: int) -> list[tuple[str, dict[str, Any]]]:
    """The providers of live connections with the options that say where they are, each pair once."""
    live = connections.c.disconnected_at.is_(None) & (connections.c.org_id == work.org_id)
    query = select(connections.c.provider, connections.c.options).where(live).distinct().limit(limit)
    return [(provider, options) for provider, options in await work.connection.execute(query)]
