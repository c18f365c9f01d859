"""Timetables: a person says how often an operation of a connection is read, or that it is not read at all.

What a person switches off stays off, whatever happens to the connection; what the connection stops (a pause, a dead credential, a
missing permission) stays stopped, whatever a person switches.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from tieline.errors import Invalid, NotFound
from tieline.flows.audit import record
from tieline.flows.endings import close_waiting
from tieline.flows.parts import Parts
from tieline.flows.states import live
from tieline.flows.sync import queue_runs
from tieline.stages.announce import announce_connection
from tieline.store import runs, timetables
from tieline.store.connections import Connection
from tieline.store.db import Work
from tieline.store.schedules import Schedule, get_schedule, request_cancel

SHORTEST = timedelta(minutes=5)
LONGEST = timedelta(days=30)

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_PERIOD = re.compile(r"([1-9]\d{0,4})([mhd])")


async def change_timetable(
    parts: Parts,
    org_id: str,
    connection_id: str,
    operation: str,
    *,
    enabled: bool | None = None,
    every: str | None = None,
) -> Schedule:
    """Switch an operation on or off, or give it a period such as `6h`, an empty one the provider's; what is `None` stays.

    Switching off ends its run under way before the next page. Switching on makes it due. A new period counts from the end of the last
    run. Raises `NotFound`, `Invalid` for a period that cannot be, `Conflict` for a connection that is no more.
    """
    own_every = parse_period(every) if every else None
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id, lock=True)
        before = await _find(work, connection, operation)
        if enabled is not None and enabled != before.switched_on:
            await _switch(work, connection, before, on=enabled, now=now)
            done = "operation.switched_on" if enabled else "operation.switched_off"
            await _tell(work, parts, connection, done, operation=operation)
        if every is not None and own_every != before.own_every:
            await _set_period(work, before, own_every, now=now)
            seconds = int(own_every.total_seconds()) if own_every else None
            await _tell(work, parts, connection, "operation.rescheduled", operation=operation, every_seconds=seconds)
        return await _find(work, connection, operation)


def parse_period(text: str) -> timedelta:
    """`15m`, `6h` or `1d`, as providers declare them, from 5 minutes to 30 days; raises `Invalid`."""
    matched = _PERIOD.fullmatch(text.strip())
    period = int(matched[1]) * _UNITS[matched[2]] if matched else None
    if period is None or not SHORTEST <= period <= LONGEST:
        problem = {"field": "every", "problem": "must be a period from 5m to 30d, such as 15m, 6h or 1d"}
        raise Invalid("This is no period to read by", advice="Give 5m to 30d, such as 15m, 6h or 1d.", fields=[problem])
    return period


def write_period(period: timedelta) -> str:
    """A period in the form that `parse_period` reads."""
    unit = next((name for name in "dhm" if not period % _UNITS[name]), "m")
    return f"{period // _UNITS[unit]}{unit}"


def is_late(schedule: Schedule, read_at: datetime | None, now: datetime) -> bool:
    """Whether what was read once is older than twice its period although it should be read."""
    return bool(schedule.enabled and schedule.period and read_at and now - read_at > 2 * schedule.period)


async def _find(work: Work, connection: Connection, operation: str) -> Schedule:
    found = await get_schedule(work, connection.id, operation, lock=True)
    if found is None:
        raise NotFound(
            f"{connection.name} has no operation {operation[:60]!r}",
            advice="`tieline connections show` lists those that it has.",
        )
    return found


async def _switch(work: Work, connection: Connection, schedule: Schedule, *, on: bool, now: datetime) -> None:
    await timetables.switch(work, schedule.id, on=on, now=now)
    if on:
        due = await _find(work, connection, schedule.operation or "")
        if due.enabled:
            await queue_runs(work, connection, [due], cause="switch", now=now)
    elif schedule.held_by:
        await request_cancel(work, schedule.id)
    else:
        await close_waiting(work, schedule, "The operation was switched off", now=now)


async def _set_period(work: Work, schedule: Schedule, own_every: timedelta | None, *, now: datetime) -> None:
    """Plan the next run by the new period, unless one waits or is wanted already: that comes first, and the next by the new."""
    period = own_every or schedule.every
    wanted = schedule.held_by or schedule.run_id or schedule.generation > schedule.ran_generation
    next_run_at = None
    if period and not wanted:
        last = await runs.last_finished(work, schedule.connection_id or "", schedule.operation or "")
        next_run_at = max(now, last.finished_at + period) if last and last.finished_at else now
    await timetables.set_period(work, schedule.id, own_every, next_run_at=next_run_at)


async def _tell(work: Work, parts: Parts, connection: Connection, done: str, **about: Any) -> None:
    what = done.replace(".", "_")  # operation_switched_off
    await announce_connection(work, connection, what, now=parts.clock.now(), **about)
    await record(work, parts, done, connection.id, **about)
