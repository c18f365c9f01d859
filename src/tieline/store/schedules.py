"""Schedules: what should run, when, and who runs it now; one row for each operation of a connection.

A trigger of any origin raises `generation` and makes the row due. Admission gives a due row a *hold* (`held_by`); the one
who begins takes a *fence*, a number that rises each time, and whatever is written on behalf of the row states hold and
fence: a process that was thought dead and comes back finds its writes refused (`HoldLost`). At the end the row is
released. A trigger that came during the run has moved `generation` past `begun_generation` and makes the next run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Computed,
    ForeignKey,
    Index,
    Integer,
    Interval,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    bindparam,
    case,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from tieline.errors import TielineError
from tieline.ids import new_id
from tieline.store.db import Work, metadata
from tieline.store.types import Id, UtcTime

DUE_CHANNEL = "tieline_due"
"""The NOTIFY channel that wakes admission."""

_SOON = timedelta(seconds=4)
_FIRST_DELAY = timedelta(seconds=30)
_LONGEST_DELAY = timedelta(hours=1)
_WAITING = text("held_by IS NULL AND enabled")
_NONE_YET = text("0")

schedules = Table(
    "schedules",
    metadata,
    Column("id", Id("sched"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("connection_id", Id("conn"), ForeignKey("connections.id")),
    Column("operation", Text),
    Column("every", Interval),
    Column("own_every", Interval),
    Column("next_run_at", UtcTime),
    Column("switched_on", Boolean, nullable=False, server_default=text("true")),
    Column("off_reason", Text),
    # Two may stop it, a person and whatever happened, and neither undoes what the other did.
    Column("enabled", Boolean, Computed("switched_on AND off_reason IS NULL", persisted=True), nullable=False),
    Column("cause", Text, nullable=False),
    Column("generation", Integer, nullable=False, server_default=_NONE_YET),
    Column("begun_generation", Integer, nullable=False, server_default=_NONE_YET),
    Column("ran_generation", Integer, nullable=False, server_default=_NONE_YET),
    Column("held_by", Uuid),
    Column("fence", Integer, nullable=False, server_default=_NONE_YET),
    Column("held_at", UtcTime),
    Column("beat_at", UtcTime),
    Column("run_id", Id("run")),
    Column("attempt", Integer, nullable=False, server_default=_NONE_YET),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("last_error", Text),
    UniqueConstraint("connection_id", "operation"),
    Index("schedules_waiting_idx", "org_id", "next_run_at", postgresql_where=_WAITING),
    # On an expression, so that what is asked of one organization cannot be answered, slowly, from this index instead.
    Index("schedules_due_idx", text("timezone('UTC', next_run_at)"), postgresql_where=_WAITING),
    Index("schedules_held_by_idx", "held_by", postgresql_where=text("held_by IS NOT NULL")),
)


CLOCK = func.clock_timestamp()
"""The database's clock, by which holds are alive or stale: those of processes and machines differ."""

FREE: dict[str, Any] = {"held_by": None, "held_at": None, "beat_at": None}
"""What a row looks like that nobody holds."""


class HoldLost(TielineError):
    """The row has been given to somebody else: what was to be written must not be."""

    slug = "hold-lost"
    status = 409
    advice = "Nothing to do: another worker goes on with it."


@dataclass(frozen=True)
class Hold:
    """The right to run a schedule, as handed from admission to a worker; it has a fence once it was begun."""

    id: UUID
    schedule_id: str
    org_id: str
    kind: str
    fence: int = 0


@dataclass(frozen=True)
class Schedule:
    """What should run and when.

    `every` is how often the provider says, `own_every` how often a person does, if one does. `switched_on` is what a person
    wants, `off_reason` what stops it besides; `enabled` follows from both. `next_run_at` is `None` when nothing is planned,
    `run_id` names the unfinished run that the next hold continues, and `attempt` counts its failures since it
    last got on.
    """

    id: str
    org_id: str
    kind: str
    provider: str
    cause: str
    connection_id: str | None = None
    operation: str | None = None
    every: timedelta | None = None
    own_every: timedelta | None = None
    next_run_at: datetime | None = None
    switched_on: bool = True
    off_reason: str | None = None
    enabled: bool = True
    generation: int = 0
    begun_generation: int = 0
    ran_generation: int = 0
    held_by: UUID | None = None
    fence: int = 0
    held_at: datetime | None = None
    beat_at: datetime | None = None
    run_id: str | None = None
    attempt: int = 0
    cancel_requested: bool = False
    last_error: str | None = None

    @property
    def period(self) -> timedelta | None:
        """How often it runs."""
        return self.own_every or self.every

    @property
    def hold(self) -> Hold:
        """The hold on it, with its fence; raises `HoldLost` if there is none."""
        if self.held_by is None:
            raise HoldLost("This schedule is not held")
        return Hold(self.held_by, self.id, self.org_id, self.kind, self.fence)


# What an organization does with its schedules


async def create_schedules(
    work: Work,
    connection_id: str,
    provider: str,
    operations: Sequence[tuple[str, timedelta]],
    *,
    now: datetime,
    cause: str = "connect",
) -> list[Schedule]:
    """Add a schedule, due at once, for each operation that has none; returns those added."""
    if not operations:
        return []
    common: dict[str, Any] = {
        "org_id": work.org_id,
        "kind": "sync",
        "provider": provider,
        "connection_id": connection_id,
    }
    common |= {"next_run_at": at_once(now), "cause": cause, "generation": 1}
    rows = [{"id": new_id("sched"), "operation": name, "every": every, **common} for name, every in operations]
    query = insert(schedules).values(rows).on_conflict_do_nothing().returning(schedules)
    added = [Schedule(**row._mapping) for row in await work.connection.execute(query)]
    await wake(work)
    return added


async def trigger(
    work: Work, connection_id: str, *, operation: str | None = None, now: datetime, cause: str
) -> list[Schedule]:
    """Make one or all operations of a connection due now, those that run already once more; disabled ones stay as they are.

    A run that waits to be cancelled is wanted again.
    """
    values: dict[str, Any] = {"generation": schedules.c.generation + 1, "cause": cause}
    values["next_run_at"] = func.least(schedules.c.next_run_at, at_once(now))
    values["cancel_requested"] = schedules.c.cancel_requested & schedules.c.held_by.is_not(None)
    wanted = (_of(work, connection_id, operation), schedules.c.enabled)
    query = update(schedules).where(*wanted).values(values).returning(schedules)
    triggered = [Schedule(**row._mapping) for row in await work.connection.execute(query)]
    await wake(work)
    return triggered


async def list_schedules(work: Work, connection_id: str) -> list[Schedule]:
    """The schedules of a connection, by operation."""
    query = select(schedules).where(_of(work, connection_id, None)).order_by(schedules.c.operation)
    return [Schedule(**row._mapping) for row in await work.connection.execute(query)]


async def get_schedule(work: Work, connection_id: str, operation: str, *, lock: bool = False) -> Schedule | None:
    """The schedule of one operation, locked until the end of the transaction if asked."""
    query = select(schedules).where(_of(work, connection_id, operation))
    row = (await work.connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return Schedule(**row._mapping) if row else None


async def set_run(work: Work, schedule_id: str, run_id: str | None) -> None:
    """Name the unfinished run that the schedule is about; who asked to cancel meant the one before."""
    values = {"run_id": run_id, "cancel_requested": False}
    await work.connection.execute(update(schedules).where(_one(work, schedule_id)).values(values))


async def set_enabled(
    work: Work,
    connection_id: str,
    enabled: bool,
    *,
    operation: str | None = None,
    reason: str = "stopped",
    now: datetime,
) -> list[Schedule]:
    """Stop, for a reason that is shown, or let run again: then it is due now; returns those that run again, or no more.

    What a person has switched off stays off.
    """
    values: dict[str, Any] = {"off_reason": None if enabled else reason}
    if enabled:
        values["next_run_at"] = now_if(schedules.c.switched_on, now)
    changed = _of(work, connection_id, operation) & (schedules.c.off_reason.is_not(None) == enabled)
    query = update(schedules).where(changed).values(values).returning(schedules)
    changed_rows = [Schedule(**row._mapping) for row in await work.connection.execute(query)]
    if enabled:
        await wake(work)
    return [one for one in changed_rows if one.switched_on]


async def request_cancel(work: Work, schedule_id: str) -> bool:
    """Ask that the unfinished run be ended: by its worker, or if it waits, by one that is called now; says if there is one."""
    unfinished = schedules.c.held_by.is_not(None) | schedules.c.run_id.is_not(None)
    due = case(
        (schedules.c.held_by.is_(None), func.least(schedules.c.next_run_at, func.now())), else_=schedules.c.next_run_at
    )
    query = update(schedules).where(_one(work, schedule_id), unfinished).values(cancel_requested=True, next_run_at=due)
    asked = (await work.connection.execute(query)).rowcount > 0
    await wake(work)
    return asked


# What a worker does with a hold


async def begin(work: Work, hold: Hold) -> Schedule | None:
    """Begin what is held, or go on with it: `None` if the hold is another's by now (a late or repeated job).

    A hold without a fence takes a new one, which shuts out whoever began it before; a hold with a fence must still have
    it. All that follows needs the hold with its fence, which is the schedule's `hold`.
    """
    taken = 0 if hold.fence else 1
    values: dict[str, Any] = {"fence": schedules.c.fence + taken, "beat_at": CLOCK, **_generations()}
    row = (
        await work.connection.execute(update(schedules).where(_mine(work, hold)).values(values).returning(schedules))
    ).one_or_none()
    return Schedule(**row._mapping) if row else None


async def keep(work: Work, hold: Hold, *, got_on: bool = False) -> bool:
    """Prove, within the transaction of a page, that the hold is still ours, and say so to others; raises `HoldLost`.

    A run that `got_on` may fail as often again. Returns whether somebody asked to cancel. It locks the row until the transaction ends, so
    call it last.
    """
    values: dict[str, Any] = {"beat_at": CLOCK} | ({"attempt": 0} if got_on else {})
    query = update(schedules).where(_held(work, hold)).values(values).returning(schedules.c.cancel_requested)
    row = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise HoldLost("Another worker has taken over")
    return bool(row.cancel_requested)


async def release(
    work: Work,
    hold: Hold,
    *,
    now: datetime,
    next_run_at: datetime | None,
    run_id: str | None,
    attempt: int | None = None,
    error: str | None,
    done: bool,
) -> None:
    """End the hold, in the transaction of the last page; raises `HoldLost`.

    `attempt` says how often it failed by now, if that changes. `done` says that the run is over: if a trigger came
    meanwhile the schedule is due now, else at `next_run_at`. A run that is not over waits until `next_run_at` and is then
    continued as `run_id`.
    """
    values: dict[str, Any] = {"run_id": run_id, "last_error": error, "next_run_at": next_run_at}
    values |= {"cancel_requested": False} | ({} if attempt is None else {"attempt": attempt})
    if done:
        triggered = schedules.c.generation > schedules.c.begun_generation
        values["ran_generation"] = schedules.c.begun_generation
        values["next_run_at"] = case((triggered, at_once(now)), else_=bindparam("planned", next_run_at, UtcTime))
        values["cause"] = case((triggered, schedules.c.cause), else_="schedule")
    if not await _free(work, hold, now, values):
        raise HoldLost("Another worker has taken over")


async def give_back(work: Work, hold: Hold, *, now: datetime, error: str | None = None, counted: bool = True) -> bool:
    """End a hold whose run is not over: due at once, or after a failure (`error` names it) with backoff.

    A failure that is not `counted`, because it is no fault of the run, brings the run no nearer to its last attempt and is soon
    followed by another. The run and its place are kept. Says whether the hold was still ours.
    """
    if error is None:
        return await _free(work, hold, now, {"next_run_at": at_once(now)})
    if not counted:
        soon = now + _SOON * random.uniform(0.75, 1.25)  # noqa: S311  spreads load, keeps no secret
        return await _free(work, hold, now, {"next_run_at": soon, "last_error": error})
    row = (await work.connection.execute(select(schedules.c.attempt).where(_held(work, hold)))).one_or_none()
    if row is None:
        return False
    values = {"next_run_at": now + backoff(row.attempt), "attempt": row.attempt + 1, "last_error": error}
    return await _free(work, hold, now, values)


def backoff(attempt: int) -> timedelta:
    """How long to wait after failure number `attempt` (from 0): 30 s, doubled each time up to 1 h, give or take a quarter."""
    delay = _LONGEST_DELAY if attempt > 10 else min(_FIRST_DELAY * 2 ** max(attempt, 0), _LONGEST_DELAY)
    return delay * random.uniform(0.75, 1.25)  # noqa: S311  spreads load, keeps no secret


def _of(work: Work, connection_id: str, operation: str | None) -> ColumnElement[bool]:
    mine = (schedules.c.org_id == work.org_id) & (schedules.c.connection_id == connection_id)
    return mine if operation is None else mine & (schedules.c.operation == operation)


def _one(work: Work, schedule_id: str) -> ColumnElement[bool]:
    return (schedules.c.org_id == work.org_id) & (schedules.c.id == schedule_id)


def _held(work: Work, hold: Hold) -> ColumnElement[bool]:
    return _one(work, hold.schedule_id) & (schedules.c.held_by == hold.id) & (schedules.c.fence == hold.fence)


def _mine(work: Work, hold: Hold) -> ColumnElement[bool]:
    """The row as long as the hold is on it: with the very fence, where the hold has one."""
    return _held(work, hold) if hold.fence else _one(work, hold.schedule_id) & (schedules.c.held_by == hold.id)


def _generations() -> dict[str, Any]:
    """What a beginning does to the generations: a new run covers all triggers until now, one that goes on only its own.

    A run begun by the calendar gets a generation too, so that begun and unfinished always shows as begun > ran.
    """
    goes_on = schedules.c.run_id.is_not(None) & (schedules.c.begun_generation > schedules.c.ran_generation)
    newest = func.greatest(schedules.c.generation, schedules.c.ran_generation + 1)
    return {
        "generation": case((goes_on, schedules.c.generation), else_=newest),
        "begun_generation": case((goes_on, schedules.c.begun_generation), else_=newest),
    }


async def _free(work: Work, hold: Hold, now: datetime, values: dict[str, Any]) -> bool:
    """Clear the hold if it is ours, and wake admission if the row is due."""
    query = update(schedules).where(_mine(work, hold)).values(FREE | values).returning(schedules.c.next_run_at)
    row = (await work.connection.execute(query)).one_or_none()
    if row and row.next_run_at and row.next_run_at <= now:
        await wake(work)
    return row is not None


def at_once(now: datetime) -> ColumnElement[Any]:
    """Due now, by the database's clock too: what a process wants whose own clock is fast must not wait for that time to come."""
    return func.least(bindparam("due", now, UtcTime, unique=True), func.now())


def now_if(wanted: ColumnElement[bool], now: datetime) -> ColumnElement[Any]:
    """Due now where it can run; elsewhere what was planned stays."""
    return case((wanted, at_once(now)), else_=schedules.c.next_run_at)


async def wake(work: Work) -> None:
    """Tell admission, when this transaction commits, that something may be due."""
    await work.connection.execute(select(func.pg_notify(DUE_CHANNEL, "")))
