"""Timetables: how often each operation of a connection is read, whether a person wants it read, and how fresh it is."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, bindparam, select, text, true, update

from tieline.store.db import Work
from tieline.store.runs import UNFINISHED, Run, runs
from tieline.store.schedules import Schedule, now_if, schedules, wake
from tieline.store.types import Id, UtcTime


async def switch(work: Work, schedule_id: str, *, on: bool, now: datetime) -> None:
    """Switch on, due now, or off, as a person wants it; what stops it besides is left as it is."""
    values: dict[str, Any] = {"switched_on": on}
    if on:  # as a trigger does: it is wanted once more even if its last run is being cancelled still
        values |= {"generation": schedules.c.generation + 1, "cause": "switch"}
        values["next_run_at"] = now_if(schedules.c.off_reason.is_(None), now)
    changed = _one(work, schedule_id) & (schedules.c.switched_on != on)
    await work.connection.execute(update(schedules).where(changed).values(values))
    await wake(work)


async def set_period(
    work: Work, schedule_id: str, own_every: timedelta | None, *, next_run_at: datetime | None
) -> None:
    """Let a person's period hold from now on, or with `None` the provider's; `next_run_at` of `None` leaves what is planned."""
    values: dict[str, Any] = {"own_every": own_every} | ({"next_run_at": next_run_at} if next_run_at else {})
    await work.connection.execute(update(schedules).where(_one(work, schedule_id)).values(values))
    await wake(work)


async def set_default(work: Work, schedule_id: str, every: timedelta) -> None:
    """Note how often the provider says, which a release of it may have changed."""
    await work.connection.execute(update(schedules).where(_one(work, schedule_id)).values(every=every))


async def plans_of(work: Work, connection_ids: Collection[str]) -> dict[str, list[Schedule]]:
    """The schedules of some connections, by connection."""
    found: dict[str, list[Schedule]] = {}
    if connection_ids:
        mine = (schedules.c.org_id == work.org_id) & schedules.c.connection_id.in_(connection_ids)
        for row in await work.connection.execute(select(schedules).where(mine)):
            found.setdefault(row.connection_id, []).append(Schedule(**row._mapping))
    return found


async def last_reads(work: Work, connection_ids: Collection[str]) -> dict[str, dict[str, datetime]]:
    """When each operation of some connections was last read to the end, by connection and operation; never is left out."""
    found: dict[str, dict[str, datetime]] = {}
    if connection_ids:
        about = {"org": work.org_id, "connections": list(connection_ids)}
        for row in await work.connection.execute(_LAST_READS, about):
            found.setdefault(row.connection_id, {})[row.operation] = row.finished_at
    return found


async def last_ends(work: Work, connection_id: str) -> dict[str, Run]:
    """The newest run of each operation of a connection that has ended, by operation."""
    same = (runs.c.connection_id == schedules.c.connection_id) & (runs.c.operation == schedules.c.operation)
    ended = select(runs).where(same, runs.c.org_id == work.org_id, runs.c.status.not_in(UNFINISHED))
    newest = ended.order_by(runs.c.id.desc()).limit(1).correlate(schedules).lateral()
    mine = (schedules.c.org_id == work.org_id) & (schedules.c.connection_id == connection_id)
    rows = await work.connection.execute(select(newest).select_from(schedules.join(newest, true())).where(mine))
    return {row.operation: Run(**row._mapping) for row in rows}


# One look into the index for each operation: a connection has a handful of operations and, in time, thousands of runs.
_LAST_READS = (
    text("""
    SELECT schedules.connection_id, schedules.operation, newest.finished_at
      FROM schedules CROSS JOIN LATERAL (
           SELECT finished_at FROM runs
            WHERE runs.connection_id = schedules.connection_id AND runs.org_id = :org
              AND runs.operation = schedules.operation AND runs.status = 'succeeded'
            ORDER BY runs.id DESC LIMIT 1) AS newest
     WHERE schedules.org_id = :org AND schedules.connection_id = ANY(:connections)
""")
    .bindparams(bindparam("org", type_=Id("org")), bindparam("connections", type_=ARRAY(Id("conn"))))
    .columns(connection_id=Id("conn"), operation=Text, finished_at=UtcTime)
)


def _one(work: Work, schedule_id: str) -> ColumnElement[bool]:
    return (schedules.c.org_id == work.org_id) & (schedules.c.id == schedule_id)
