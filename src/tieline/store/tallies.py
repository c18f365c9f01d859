"""Tallies: how many present entities of each connection have which standing answer to which check.

The database keeps them itself, by triggers on `entities` (`0001_tallies.sql`): they move in the transaction that moves the answers,
whoever writes it, and reading where controls stand never goes through the entities. Whoever writes entities holds the
connection's lock, so that no two transactions wait for each other's tallies.
"""

from __future__ import annotations

from sqlalchemy import Column, Integer, PrimaryKeyConstraint, Table, Text, func, select

from tieline.store.connections import connections
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.types import Id

tallies = Table(
    "tallies",
    metadata,
    Column("org_id", Id("org"), nullable=False),
    Column("connection_id", Id("conn"), nullable=False),
    Column("check_id", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("entities", Integer, nullable=False),
    PrimaryKeyConstraint("org_id", "connection_id", "check_id", "outcome"),
)


async def count_outcomes(work: Work) -> dict[str, dict[str, int]]:
    """Standing answers over the organization's live connections: check id → outcome → how many entities."""
    of = tallies.c
    query = (
        select(of.check_id, of.outcome, func.sum(of.entities).label("entities"))
        .join(connections, connections.c.id == of.connection_id)
        .where(of.org_id == work.org_id, connections.c.disconnected_at.is_(None), of.entities > 0)
        .group_by(of.check_id, of.outcome)
    )
    found: dict[str, dict[str, int]] = {}
    for row in await work.connection.execute(query):
        found.setdefault(row.check_id, {})[row.outcome] = row.entities
    return found


async def count_failing(work: SystemWork) -> dict[str, int]:
    """How many entities of all organizations' live connections fail each check."""
    of = tallies.c
    query = (
        select(of.check_id, func.sum(of.entities))
        .join(connections, connections.c.id == of.connection_id)
        .where(of.outcome == "fail", connections.c.disconnected_at.is_(None), of.entities > 0)
        .group_by(of.check_id)
    )
    return {check_id: int(entities) for check_id, entities in await work.connection.execute(query)}
