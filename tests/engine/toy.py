"""A toy flow for the tests of the engine: a run is a number of pages, each committed with its place.

It notes when each of its calls began and ended, so that a test sees what overlapped. `start_worker` runs it in a process of its own,
forked from one that has imported everything already; such a process can be a mutant, which lacks what the engine relies on.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

from sqlalchemy import text

from tieline import faults
from tieline.clock import SystemClock
from tieline.engine import Engine, EngineLimits, Hold, HoldLost, supervisor
from tieline.ids import new_id, to_uuid
from tieline.store import admission
from tieline.store import schedules as store
from tieline.store.db import Db, Work
from tieline.store.schedules import begin, keep, set_run, trigger

TABLES = """
    CREATE TABLE toy_runs (id uuid PRIMARY KEY, schedule_id uuid, pages int DEFAULT 0, ended text,
                           begun_at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE toy_pages (run_id uuid, page int, fence int, at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE toy_refused (run_id uuid, fence int);
    CREATE TABLE toy_calls (schedule_id uuid, fence int, process int, began timestamptz DEFAULT clock_timestamp(),
                            ended timestamptz);
    CREATE TABLE toy_deaths (at timestamptz, process int);
    CREATE TABLE toy_triggers (schedule_id uuid, at timestamptz DEFAULT clock_timestamp());
    GRANT ALL ON toy_runs, toy_pages, toy_refused, toy_calls, toy_triggers TO tieline_app;
"""


def quick_limits(heartbeat: float = 1.0, **values: object) -> EngineLimits:
    given = {"heartbeat": timedelta(seconds=heartbeat), "tick": timedelta(milliseconds=100)}
    given |= {"reconcile": timedelta(seconds=0.5), "stale_after": timedelta(seconds=4 * heartbeat)}
    return EngineLimits(**(given | values))


class Toy:
    """The flow."""

    def __init__(self, db: Db, *, pages: int = 3, pause: float = 0.01) -> None:
        self.db = db
        self.pages = pages
        self.pause = pause
        self.calls = 0
        self._active: Counter[str] = Counter()

    async def __call__(self, hold: Hold) -> None:
        self.calls += 1
        self._active[hold.schedule_id] += 1
        try:
            await self._run(hold)
        finally:
            self._active[hold.schedule_id] -= 1
            await self._note_end(hold, datetime.now().astimezone())

    def running(self) -> int:
        """How many schedules run now."""
        return sum(count > 0 for count in self._active.values())

    async def _run(self, hold: Hold) -> None:
        async with self.db.work(hold.org_id) as work:
            schedule = await begin(work, hold)
            if schedule is None:
                return
            hold, run = schedule.hold, schedule.run_id or new_id("run")
            await write(work, "INSERT INTO toy_calls VALUES (:schedule, :fence, :process)", hold, process=os.getpid())
            if schedule.run_id is None:
                await write(work, "INSERT INTO toy_runs (id, schedule_id) VALUES (:run, :schedule)", hold, run=run)
                await set_run(work, hold.schedule_id, run)
            if schedule.cancel_requested:
                await self._end(work, hold, run, "cancelled")
                return
        try:
            while await self._page(hold, run):
                pass
        except HoldLost:
            async with self.db.work(hold.org_id) as work:
                await write(work, "INSERT INTO toy_refused VALUES (:run, :fence)", hold, run=run)
            raise

    async def _page(self, hold: Hold, run: str) -> bool:
        await asyncio.sleep(self.pause)
        async with self.db.work(hold.org_id) as work:
            place = "UPDATE toy_runs SET pages = pages + 1 WHERE id = :run RETURNING pages"
            page = (await write(work, place, hold, run=run)).scalar_one()
            await write(work, "INSERT INTO toy_pages VALUES (:run, :page, :fence)", hold, run=run, page=page)
            faults.passing("toy.page")
            if page >= self.pages:
                await self._end(work, hold, run, "done")
            elif await keep(work, hold):
                await self._end(work, hold, run, "cancelled")
            else:
                return True
        return False

    async def _end(self, work: Work, hold: Hold, run: str, how: str) -> None:
        await write(work, "UPDATE toy_runs SET ended = :how WHERE id = :run", hold, run=run, how=how)
        await write(
            work, f"{_OVER} clock_timestamp() WHERE {_MINE}", hold
        )  # in this transaction: before anybody goes on
        now = SystemClock().now()
        await store.release(work, hold, now=now, next_run_at=None, run_id=None, attempt=0, error=None, done=True)

    async def _note_end(self, hold: Hold, at: datetime) -> None:
        """Where the call ended otherwise than by its own release; or later, where the database is away."""
        try:
            async with self.db.work(hold.org_id) as work:
                await write(work, f"{_OVER} :at WHERE {_MINE} AND ended IS NULL", hold, at=at)
        except BaseException as error:  # a call without an end would look like one that goes on for ever
            _later.add(task := asyncio.create_task(self._note_end_later(hold, at)))
            task.add_done_callback(_later.discard)
            if not isinstance(error, Exception):  # the engine begins anew, and ends its calls
                raise

    async def _note_end_later(self, hold: Hold, at: datetime) -> None:
        await asyncio.sleep(0.1)
        await self._note_end(hold, at)


_OVER = "UPDATE toy_calls SET ended ="
_MINE = "schedule_id = :schedule AND fence = :fence"
_later: set[asyncio.Task[None]] = set()


async def write(work: Work, statement: str, hold: Hold, *, run: str = "", **values: Any) -> Any:
    """Execute a statement about a hold, and a run."""
    given = {"schedule": to_uuid(hold.schedule_id, "sched"), "fence": hold.fence} | values
    if run:
        given["run"] = to_uuid(run, "run")
    query = text(statement)
    return await work.connection.execute(query, {name: given[name] for name in query._bindparams})


# Processes


@dataclass(frozen=True)
class Plan:
    """What a worker process does: the toy's pages, the engine's limits, and where it dies or what it lacks."""

    url: str
    pages: int = 3
    pause: float = 0.01
    limits: dict[str, object] = field(default_factory=dict)
    fault: str = ""
    mutant: str = ""


def start(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """Start a process that does one thing."""
    forking = get_context("forkserver")
    forking.set_forkserver_preload(["tests.engine.toy", "asyncpg", "sqlalchemy.dialects.postgresql.asyncpg"])
    process = forking.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def start_worker(plan: Plan) -> BaseProcess:
    """Start a worker, which stops at SIGTERM."""
    return start(work_as, plan)


async def ended(process: BaseProcess, *, within: float = 120) -> int:
    """Wait until a process has ended, and give its exit code. One that does not end is killed, and fails whoever waits."""
    await asyncio.to_thread(process.join, within)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"process {process.pid} has not ended")
    return process.exitcode


def work_as(plan: Plan) -> None:
    """What a worker process does."""
    os.environ["TIELINE_FAULT"] = plan.fault
    importlib.reload(faults)
    if plan.mutant:
        MUTANTS[plan.mutant]()
    asyncio.run(_work(plan))


async def _work(plan: Plan) -> None:
    db, until = Db(plan.url), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, until.set)
    toy = Toy(db, pages=plan.pages, pause=plan.pause)
    await Engine(db, {"sync": toy}, clock=SystemClock(), limits=quick_limits(**plan.limits)).run(until=until)
    await db.close()


def trigger_and_die(url: str, org: str, connection: str, committed: bool) -> None:
    """What a process does that triggers, and is killed before its transaction ends or right after."""
    asyncio.run(_trigger_and_die(url, org, connection, committed))


async def _trigger_and_die(url: str, org: str, connection: str, committed: bool) -> None:
    async with Db(url).work(org) as work:
        assert await trigger(work, connection, now=SystemClock().now(), cause="manual")
        if not committed:
            os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


# Mutants: what a process lacks, so that a test shows that it would notice


def admit_what_is_held() -> None:
    """Mutant: admission does not ask whether somebody holds the row."""
    statement = admission._ADMIT.element.text
    mutated = statement.replace("AND held_by IS NULL", "").replace("held_by IS NULL AND enabled", "enabled")
    assert mutated != statement
    columns = {column.name: column.type for column in admission._ADMIT.selected_columns}
    admission._ADMIT = text(mutated).columns(**columns)


def forget_triggers() -> None:
    """Mutant: a release plans nothing, whatever came during the run."""

    async def mutant(work: Work, hold: Hold, **values: Any) -> None:
        await release(work, hold, **values)
        row = store.schedules.c.id == hold.schedule_id
        await work.connection.execute(store.schedules.update().where(row).values(next_run_at=None))

    release = store.release
    store.release = mutant


def die_in_the_tick(*, enqueued: bool) -> None:
    """The first tick that has something to admit is killed, before or after it has made the jobs; it has not committed."""

    async def mutant(work: Any, holds: Any) -> None:
        if holds:
            if enqueued:
                await enqueue(work, holds)
            os.kill(os.getpid(), signal.SIGKILL)

    enqueue: Callable[..., Awaitable[None]] = supervisor.enqueue
    supervisor.enqueue = mutant


MUTANTS: dict[str, Callable[[], None]] = {
    "no hold": admit_what_is_held,
    "no re-arm": forget_triggers,
    "dies before enqueuing": lambda: die_in_the_tick(enqueued=False),
    "dies after enqueuing": lambda: die_in_the_tick(enqueued=True),
}
