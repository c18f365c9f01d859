"""What people do with runs: cancel one, try one again, and release one that the brake holds."""

from __future__ import annotations

from tieline.errors import Conflict
from tieline.flows.audit import record
from tieline.flows.endings import close_waiting, refuse_unless_runnable
from tieline.flows.parts import Parts
from tieline.flows.sync import request_sync
from tieline.flows.views import JsonRow, moment
from tieline.store import runs, schedules
from tieline.store.connections import get_connection
from tieline.store.db import Work
from tieline.store.listing import Paging
from tieline.store.run_spans import Span, list_spans
from tieline.store.runs import UNFINISHED, Run
from tieline.store.schedules import Schedule


async def cancel_run(parts: Parts, org_id: str, run_id: str) -> Run:
    """Ask that an unfinished run end; raises `Conflict` if it has ended.

    A worker ends it before its next page. A run that no worker would take up, because its connection is stopped, ends at once.
    """
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        run = await runs.get_run(work, run_id)
        schedule = await _schedule_of(work, run)
        if run.status not in UNFINISHED or schedule.run_id != run.id:
            raise Conflict(f"The run is {run.status}, so there is nothing to cancel")
        if schedule.enabled or schedule.held_by:
            await schedules.request_cancel(work, schedule.id)
        else:
            await close_waiting(work, schedule, "Cancelled by a person", now=now)
        cancelled = await runs.get_run(work, run_id)
        await _record(work, parts, "run.cancelled", run)
        return cancelled


async def retry_run(parts: Parts, org_id: str, run_id: str) -> Run:
    """Run a finished run's operation again, from its first page; the run that does so.

    Raises `Conflict` if the run is unfinished, its connection is stopped or its operation is switched off.
    """
    async with parts.db.work(org_id) as work:
        run = await runs.get_run(work, run_id)
    if run.status in UNFINISHED:
        raise Conflict(f"The run is {run.status} still", advice="Wait for it to end, or cancel it.")
    started = await request_sync(parts, org_id, run.connection_id, operation=run.operation, cause="retry")
    if not started:
        raise Conflict(f"The operation {run.operation} is switched off", advice="Test the connection to see why.")
    return started[0]


async def release_held(parts: Parts, org_id: str, run_id: str) -> Run:
    """Let a run that the brake holds go on: it removes what it did not see. Raises `Conflict` unless it is the newest."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        run = await runs.get_run(work, run_id)
        connection = await get_connection(work, run.connection_id)
        schedule = await _schedule_of(work, run)
        await _refuse_unless_held(work, run, schedule)
        refuse_unless_runnable(connection)
        if not schedule.enabled:
            raise Conflict(f"The operation {run.operation} is switched off", advice="Test the connection to see why.")
        again = {"status": "queued", "force": True, "finished_at": None, "error_slug": None, "error_message": None}
        await runs.update_run(work, run.id, **again)
        await schedules.set_run(work, schedule.id, run.id)
        await schedules.trigger(work, connection.id, operation=run.operation, now=now, cause="release")
        released = await runs.get_run(work, run_id)
        await _record(work, parts, "run.released", run)
        return released


async def read_spans(parts: Parts, org_id: str, run_id: str) -> tuple[Run, list[Span]]:
    """A run, and how its time went so far; raises `NotFound`."""
    async with parts.db.work(org_id) as work:
        run = await runs.get_run(work, run_id)
        return run, await list_spans(work, run.id, pages=run.pages)


def span_row(span: Span) -> JsonRow:
    """A stretch of a run: `kind` is `page` (or several pages of a long run) or `wait`, of which `cause` says why."""
    waits = bool(span.cause)
    return {
        "kind": "wait" if waits else "page",
        "cause": span.cause or None,
        "page": span.page,
        "pages": span.pages,
        "begun_at": moment(span.begun_at),
        "ended_at": moment(span.ended_at),
        "read_ms": span.read_ms,
        "limited_ms": span.limited_ms,
        "retried_ms": span.retried_ms,
        "load_ms": span.load_ms,
    }


async def _record(work: Work, parts: Parts, action: str, run: Run) -> None:
    about = {"connection_id": run.connection_id, "provider": run.provider, "operation": run.operation}
    await record(work, parts, action, run.id, **about)


async def _refuse_unless_held(work: Work, run: Run, schedule: Schedule) -> None:
    """A newer run knows better what is there; what an older one did not see says nothing any more."""
    if run.status != "held":
        raise Conflict(f"The run is {run.status}, not held")
    newest = await runs.list_runs(work, Paging(limit=1), connection_id=run.connection_id, operation=run.operation)
    if newest.items[0].id != run.id or schedule.run_id or schedule.held_by:
        advice = "Release that one if it is held too; if it is not, there is nothing left to release."
        raise Conflict("A newer run of this operation has begun", advice=advice)


async def _schedule_of(work: Work, run: Run) -> Schedule:
    """The schedule that a run belongs to, locked, so that no worker begins it meanwhile."""
    schedule = await schedules.get_schedule(work, run.connection_id, run.operation, lock=True)
    if schedule is None:
        raise Conflict("The operation of this run is not planned any more")
    return schedule
