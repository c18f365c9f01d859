"""An engine ends, or begins anew, also when something wakes it in that very moment."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tieline.clock import SystemClock
from tieline.engine import Engine, EngineLimits, Hold
from tieline.engine.supervisor import _wait
from tieline.store.db import Db

LIMITS = EngineLimits(heartbeat=timedelta(seconds=1), tick=timedelta(minutes=5), stale_after=timedelta(seconds=9))
MINE = "datname = current_database() AND application_name = 'tieline engine'"


class WokenAtTheEnd(Engine):
    """An engine that is woken just when its queue ends: by a trigger elsewhere, or the end of its last job."""

    async def _serve(self, manager: Any) -> None:
        try:
            await super()._serve(manager)
        finally:
            self._wake.set()


async def nothing(_: Hold) -> None:
    raise AssertionError("nothing is due here")


@pytest.mark.parametrize("turns", range(5))
async def test_a_wait_that_is_cancelled_just_when_its_event_comes_is_cancelled(turns: int) -> None:
    event = asyncio.Event()

    async def chore() -> None:
        while True:
            await _wait(event, 60)
            event.clear()

    task = asyncio.create_task(chore())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    ended, _rest = await asyncio.wait({task}, timeout=5)
    task.cancel()
    assert ended


async def test_an_engine_that_is_woken_while_it_stops_stops(db: Db, database_url: str) -> None:
    engine, until = WokenAtTheEnd(db, {"none": nothing}, clock=SystemClock(), limits=LIMITS), asyncio.Event()
    running = asyncio.create_task(engine.run(until=until))
    other = await asyncpg.connect(database_url)
    await engine_waits(other)
    until.set()
    ended, _rest = await asyncio.wait({running}, timeout=20)
    running.cancel()
    await other.close()
    assert ended


async def test_an_engine_that_is_woken_while_it_loses_its_connection_begins_anew(db: Db, database_url: str) -> None:
    engine, until = WokenAtTheEnd(db, {"none": nothing}, clock=SystemClock(), limits=LIMITS), asyncio.Event()
    running = asyncio.create_task(engine.run(until=until))
    other = await asyncpg.connect(database_url)
    try:
        first = await engine_waits(other)
        await other.fetch("SELECT pg_terminate_backend($1, 5000)", first)
        async with asyncio.timeout(20):
            assert await engine_waits(other, not_by=first)
    finally:
        until.set()
        ended, _rest = await asyncio.wait({running}, timeout=20)
        running.cancel()
        await other.close()
    assert ended


async def engine_waits(other: asyncpg.Connection, *, not_by: int = 0) -> int:
    """The backend of an engine's own connection, once the engine has looked for work there and waits."""
    ask = f"SELECT pid FROM pg_stat_activity WHERE {MINE} AND state = 'idle' AND pid <> $1 AND query ~* 'pg_notify|update'"
    while not (pid := await other.fetchval(ask, not_by)):
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)  # admission has had its moment too
    return int(pid)
