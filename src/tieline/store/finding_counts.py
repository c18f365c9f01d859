"""Finding counts: how many findings there are of each connection, check, kind, severity, state and owner.

As with entity counts, the database keeps them itself, by triggers on `findings` (`0001_counts.sql`), so that no screen reads all
findings to say how many there are. People change findings of any connection: they take its turn first (`lock_connections`), as
whoever writes a page does, so that no two transactions wait for each other's counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Column, Integer, Select, Table, Text, UniqueConstraint, func, select

from tieline.store.connections import NOBODY, connections
from tieline.store.db import Work, metadata
from tieline.store.types import Id

Wanted = str | datetime | Sequence[str] | None

finding_counts = Table(
    "finding_counts",
    metadata,
    Column("org_id", Id("org"), nullable=False),
    Column("connection_id", Id("conn"), nullable=False),
    Column("check_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("owner_id", Id("mem")),
    Column("findings", Integer, nullable=False),
    UniqueConstraint(
        "org_id", "connection_id", "check_id", "kind", "severity", "status", "owner_id",
        name="finding_counts_key", postgresql_nulls_not_distinct=True,
    ),
)  # fmt: skip

COUNTED = frozenset({"connection_id", "check_id", "checks", "kind", "severity", "status", "owner", "provider"})
"""The filters of findings that the counts know of; the others are about single ones."""


def is_counted(wanted: Mapping[str, Wanted]) -> bool:
    """Whether the counts can say how many findings these filters name."""
    return all(name in COUNTED for name, value in wanted.items() if value)


def narrow_counts(work: Work, query: Select[Any], wanted: Mapping[str, Wanted]) -> Select[Any]:
    """A query over counts, of those alone that the filters name that `is_counted` allows."""
    of = finding_counts.c
    query = query.where(of.org_id == work.org_id, of.findings > 0)
    for name, value in wanted.items():
        if not value:
            continue
        match name:
            case "owner":
                query = query.where(of.owner_id.is_(None) if value == NOBODY else of.owner_id == value)
            case "checks":
                query = query.where(of.check_id.in_(cast("Sequence[str]", value)))
            case "provider":
                theirs = select(connections.c.id).where(
                    connections.c.org_id == work.org_id, connections.c.provider == value
                )
                query = query.where(of.connection_id.in_(theirs))
            case _:
                query = query.where(of[name] == value)
    return query


async def count_findings_by(work: Work, *names: str, **wanted: Wanted) -> dict[tuple[str, ...], int]:
    """How many of the findings that these filters name there are, by the columns of these names."""
    columns = [finding_counts.c[name] for name in names]
    query = narrow_counts(work, select(*columns, func.sum(finding_counts.c.findings)), wanted).group_by(*columns)
    return {tuple(row[:-1]): row[-1] for row in await work.connection.execute(query)}
