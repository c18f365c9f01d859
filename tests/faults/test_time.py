"""Clocks that are turned, machines that disagree about the time, and workers that are frozen beyond their heartbeat."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.faults.conftest import all_ended, eventually, what_stands, working
from tests.flows.bench import Bench, Sandbox, connected, take_snapshot
from tests.flows.worker import Work, start_worker

from tieline.clock import SetClock, SteadyClock, SystemClock
from tieline.store.db import Db
from tieline.store.shared_time import in_step
from tieline.vault import load_or_create

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
PATIENT = {"heartbeat": 20 * SECOND, "stale_after": 60 * SECOND}
"""Limits under which nobody who is merely slow looks dead."""


def off(by: timedelta) -> SteadyClock:
    """The clock of a process on a machine whose own is off by so much."""
    return SteadyClock(SetClock(SystemClock().now() + by))


# The clock


async def test_a_clock_follows_the_databases_whatever_the_machine_says(db: Db) -> None:
    for machine in (off(HOUR), off(-HOUR), off(timedelta())):
        async with in_step(db, machine):
            assert abs(machine.now() - SystemClock().now()) < timedelta(seconds=30)


async def test_a_clock_that_is_nearly_right_is_never_turned_back() -> None:
    clock = off(timedelta(seconds=0.8))
    before = clock.now()
    assert clock.follow(before - timedelta(seconds=0.8), within=timedelta()) == timedelta()
    assert clock.now() >= before


async def test_what_was_told_after_a_long_wait_is_worth_no_more_than_that() -> None:
    clock = off(timedelta())
    assert clock.follow(clock.now() + 20 * SECOND, within=30 * SECOND) == timedelta()
    assert clock.follow(clock.now() + 40 * SECOND, within=30 * SECOND) > 30 * SECOND


# Machines that disagree


async def test_workers_whose_machines_are_hours_apart_share_the_work_in_peace(
    bench: Bench, undisturbed: dict[str, Any]
) -> None:
    async with AsyncExitStack() as stack:
        for by in (HOUR, -HOUR, timedelta()):
            clock = off(by)
            await stack.enter_async_context(in_step(bench.parts.db, clock))
            apart = replace(bench, parts=replace(bench.parts, clock=clock))
            await stack.enter_async_context(working(apart, slots=4, **PATIENT))
        await eventually(lambda: all_ended(bench))
    await peaceful(bench, undisturbed)


async def peaceful(made: Bench, undisturbed: dict[str, Any]) -> None:
    """Each run was begun once, and the next one is planned for when it should be."""
    runs = await made.runs()
    assert {(run.status, run.attempts) for run in runs} == {("succeeded", 1)}
    schedules = await made.schedules()
    assert len(runs) == len(schedules)
    for one in schedules:
        assert one.every
        assert one.next_run_at
        assert one.every - 5 * 60 * SECOND < one.next_run_at - SystemClock().now() < 1.06 * one.every
    assert what_stands(await take_snapshot(made)) == undisturbed


@pytest.mark.parametrize("by", [HOUR, -HOUR])
async def test_turning_the_databases_clock_expires_nothing_that_runs(synced: Bench, by: timedelta) -> None:
    """All processes follow it within seconds; here one does, at once."""
    clock = off(timedelta())
    turned = replace(synced, parts=replace(synced.parts, clock=clock))
    synced.sandbox.spoil(r"/v1/people", delay_ms=3_000)
    async with working(turned, reconcile=SECOND / 10, **PATIENT):
        (run,) = await synced.request("people")
        await eventually(lambda: is_running(synced, run.id))
        clock.follow(clock.now() + by, within=timedelta())
        await eventually(lambda: has_ended(synced, run.id))
    ended = await synced.run(run.id)
    assert (ended.status, ended.attempts, ended.unchanged) == ("succeeded", 1, 240)
    schedule = await synced.schedule("people")
    assert schedule.enabled
    assert schedule.every
    assert schedule.next_run_at
    assert schedule.next_run_at - clock.now() > 0.9 * schedule.every


async def is_running(made: Bench, run_id: str) -> bool:
    return (await made.run(run_id)).status == "running"


async def has_ended(made: Bench, run_id: str) -> bool:
    return (await made.run(run_id)).status not in {"queued", "running"}


async def test_a_hold_from_the_future_whose_worker_is_dead_is_released(synced: Bench) -> None:
    """Its worker died before the clock was turned back by an hour."""
    (run,) = await synced.request("people")
    (hold,) = await synced.admit()
    await synced.query(f"UPDATE schedules SET beat_at = beat_at + interval '1 hour' WHERE held_by = '{hold.id}'")
    async with working(synced):
        await eventually(lambda: released(synced))
    assert (await synced.schedule("people")).last_error in {"stale", None}
    assert (await synced.run(run.id)).status in {"queued", "running", "succeeded"}


async def released(made: Bench) -> bool:
    return (await made.schedule("people")).attempt > 0 or not await made.unfinished()


# Frozen workers


async def test_a_transaction_whose_process_says_nothing_more_is_ended(synced: Bench, database_synced_once: str) -> None:
    """It holds a connection's turn in the middle of a COPY, where PostgreSQL waits for ever."""

    async def silence() -> AsyncIterator[bytes]:
        yield b"begun\n"
        await asyncio.Event().wait()

    frozen = await asyncpg.connect(database_synced_once, server_settings={"application_name": "tieline"})
    await frozen.execute("CREATE TEMPORARY TABLE said (it text)")
    await frozen.execute("BEGIN")
    await frozen.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", str(synced.connection.id))
    saying = asyncio.create_task(frozen.copy_to_table("said", source=silence()))
    (run,) = await synced.request("people")
    async with working(synced):
        await eventually(lambda: has_ended(synced, run.id))
    ended = await synced.run(run.id)
    assert (ended.status, ended.unchanged) == ("succeeded", 240)
    saying.cancel()
    await asyncio.wait({saying})
    frozen.terminate()


@pytest.mark.slow
async def test_a_worker_frozen_beyond_its_heartbeat_writes_nothing_when_it_thaws(
    database_of_its_own: str, sandbox: Sandbox, place: Path, undisturbed: dict[str, Any]
) -> None:
    keys = place / "keys-of-the-frozen.json"
    ring = load_or_create(keys, may_create=True)
    async with connected(database_of_its_own, ring, sandbox) as bench:
        sandbox.spoil(r"GET /v1/people\?.*after=", delay_ms=3_000)
        worker = start_worker(Work(database_of_its_own, bench.org, bench.connection.id, str(keys)))
        pid = worker.pid or 0
        (run,) = await bench.runs("people")
        await eventually(lambda: stored_a_page(bench, run.id))
        os.kill(pid, signal.SIGSTOP)
        async with working(bench):
            await eventually(lambda: all_ended(bench))
        stood = await everything(bench)
        os.kill(pid, signal.SIGCONT)
        await asyncio.to_thread(worker.join, 60)
        assert worker.exitcode == 0
        assert await everything(bench) == stood
        ended = await bench.run(run.id)
        assert (ended.status, ended.created, ended.changed) == ("succeeded", 240, 0)
        assert {one.status for one in await bench.runs()} == {"succeeded"}
        assert what_stands(await take_snapshot(bench)) == undisturbed


async def stored_a_page(made: Bench, run_id: str) -> bool:
    return (await made.run(run_id)).pages > 0


async def everything(made: Bench) -> Any:
    runs = [(run.id, run.status, run.pages, run.records) for run in await made.runs()]
    return await take_snapshot(made), runs, [one.fence for one in await made.schedules()]
