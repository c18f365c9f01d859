"""Entity counts: how many present entities there are of each connection, kind, state and verdict.

As with tallies, the database keeps them itself, by triggers on `entities` (`0001_counts.sql`), so that they move in the transaction
that moves the entities and no page reads a hundred thousand rows to say how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Integer, PrimaryKeyConstraint, Table, Text, func, select

from tieline.store.connections import connections
from tieline.store.db import Work, metadata
from tieline.store.types import Id

entity_counts = Table(
    "entity_counts",
    metadata,
    Column("org_id", Id("org"), nullable=False),
    Column("connection_id", Id("conn"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("entities", Integer, nullable=False),
    PrimaryKeyConstraint("org_id", "connection_id", "kind", "status", "verdict"),
)

_BY: dict[str, Any] = {
    "provider": connections.c.provider,
    **{name: entity_counts.c[name] for name in ("kind", "connection_id", "status", "verdict")},
}


async def count_by(work: Work, by: str, wanted: Mapping[str, str | None]) -> dict[str, int]:
    """How many present entities there are of each kind, connection, provider, status or verdict, the most first.

    `wanted` narrows by the others; what it says of the same is left aside, so that the other choices show what they would give.
    """
    total = func.sum(entity_counts.c.entities)
    query = (
        select(_BY[by], total)
        .select_from(entity_counts.join(connections, connections.c.id == entity_counts.c.connection_id))
        .where(entity_counts.c.org_id == work.org_id, entity_counts.c.entities > 0)
        .group_by(_BY[by])
        .order_by(total.desc(), _BY[by])
    )
    for name, value in wanted.items():
        if value is not None and name != by:
            query = query.where(_BY[name] == value)
    rows = await work.connection.execute(query)
    return {key: count for key, count in rows}  # noqa: C416  dict() would take the result for a mapping


async def count_by_kind(work: Work, connection_id: str | None = None) -> dict[str, int]:
    """How many present entities there are of each kind."""
    return await count_by(work, "kind", {"connection_id": connection_id})
