"""Run tallies: how many runs of each operation ended how, ever, and what became of the records that they read.

The database keeps them itself, by a trigger on `runs` (`0001_run_tallies.sql`), in the transaction that ends a run; so they hold whatever
process ran it, and reading them never goes through the runs. One operation of a connection is run by one at a time, so nobody waits
for another's row.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Table, Text, func, select

from tieline.store.db import SystemWork, metadata
from tieline.store.types import Id

VERDICTS = ("created", "changed", "unchanged", "removed", "skipped", "rejected", "unidentified")
"""What became of a record; columns of `runs` as well."""

run_tallies = Table(
    "run_tallies",
    metadata,
    Column("org_id", Id("org"), nullable=False),
    Column("connection_id", Id("conn"), nullable=False),
    Column("operation", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("runs", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in VERDICTS),
    PrimaryKeyConstraint("org_id", "connection_id", "operation", "outcome"),
)


@dataclass(frozen=True)
class RunTally:
    """The runs against a provider that ended in one way: how many, and how many of their records had which verdict."""

    provider: str
    outcome: str
    runs: int
    verdicts: dict[str, int]


async def sum_run_tallies(work: SystemWork) -> list[RunTally]:
    """Over all organizations, by provider and outcome."""
    of = run_tallies.c
    sums = [func.sum(of[name]).label(name) for name in ("runs", *VERDICTS)]
    rows = await work.connection.execute(select(of.provider, of.outcome, *sums).group_by(of.provider, of.outcome))
    return [
        RunTally(row.provider, row.outcome, int(row.runs), {name: int(row._mapping[name]) for name in VERDICTS})
        for row in rows
    ]
