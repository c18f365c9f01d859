"""Workers: the processes that carry out what is due, as each says of itself every few seconds, and what they did hour by hour.

A worker writes its own rows only, so that any number of them wait for nobody. One that stops takes its row away; that of one which
died stays until it is pruned, and shows by its last beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, Integer, Interval, PrimaryKeyConstraint, Table, Text, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from tieline.store.db import SystemWork, metadata
from tieline.store.types import Id, UtcTime

workers = Table(
    "workers",
    metadata,
    Column("id", Id("wrk"), primary_key=True),
    Column("host", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("org_cap", Integer, nullable=False),
    Column("provider_cap", Integer, nullable=False),
    Column("heartbeat", Interval, nullable=False),
    Column("running", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("beat_at", UtcTime, nullable=False),
)

worker_hours = Table(
    "worker_hours",
    metadata,
    Column("worker_id", Id("wrk"), nullable=False),
    Column("hour", UtcTime, nullable=False),
    Column("jobs", Integer, nullable=False),
    PrimaryKeyConstraint("hour", "worker_id"),
)

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Worker:
    """A process with an engine; `role` is how it was started, `slots` is how many runs it carries out side by side.

    `org_cap` and `provider_cap` are how many runs of one organization, and against one provider, it lets there be at a time.
    """

    id: str
    host: str
    role: str
    version: str
    slots: int
    org_cap: int
    provider_cap: int
    heartbeat: timedelta
    running: int
    started_at: datetime
    beat_at: datetime

    def is_silent(self, now: datetime) -> bool:
        """Whether it has not been heard of for so long that its runs are given to others."""
        return now - self.beat_at > self.heartbeat


async def note_worker(work: SystemWork, worker: Worker, *, jobs: int) -> None:
    """Note that a worker is alive, and how many jobs it ended since it last said so."""
    query = insert(workers).values(**vars(worker))
    changed = {"running": worker.running, "beat_at": worker.beat_at}
    await work.connection.execute(query.on_conflict_do_update(index_elements=["id"], set_=changed))
    if jobs:
        hour = worker.beat_at.replace(minute=0, second=0, microsecond=0)
        row = insert(worker_hours).values(worker_id=worker.id, hour=hour, jobs=jobs)
        added = {"jobs": worker_hours.c.jobs + row.excluded.jobs}
        await work.connection.execute(row.on_conflict_do_update(index_elements=["hour", "worker_id"], set_=added))


async def forget_worker(work: SystemWork, worker_id: str) -> None:
    """Take away the row of a worker that stops; what it did stays counted."""
    await work.connection.execute(delete(workers).where(workers.c.id == worker_id))


async def prune_workers(work: SystemWork, *, silent_since: datetime, hours_before: datetime) -> int:
    """Forget the workers that have been silent for so long, and the hours that nobody looks at any more; how many workers."""
    await work.connection.execute(delete(worker_hours).where(worker_hours.c.hour < hours_before))
    return (await work.connection.execute(delete(workers).where(workers.c.beat_at < silent_since))).rowcount


async def list_workers(work: SystemWork) -> Sequence[Worker]:
    """All of them, those that died included, by host and then by when they started."""
    rows = await work.connection.execute(select(workers).order_by(workers.c.host, workers.c.started_at, workers.c.id))
    return [Worker(**row._mapping) for row in rows]


async def jobs_by_hour(work: SystemWork, *, since: datetime) -> dict[datetime, int]:
    """How many jobs ended in each hour, by its beginning; hours in which none did are left out."""
    query = select(worker_hours.c.hour, func.sum(worker_hours.c.jobs)).where(worker_hours.c.hour >= since)
    rows = await work.connection.execute(query.group_by(worker_hours.c.hour))
    return {hour: int(jobs) for hour, jobs in rows}
