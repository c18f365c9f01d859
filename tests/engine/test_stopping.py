"""An engine that is stopped lets what runs end, or hands it back."""

import asyncio
from datetime import timedelta

import pytest
from tests.engine.steps import (
    Place,
    bad_pages,
    engine,
    eventually,
    fire,
    idle,
    make_org,
    make_schedule,
    now,
    read,
    runs_of,
    worker_process,
)
from tests.engine.toy import Toy, ended, quick_limits

from tieline.clock import SystemClock
from tieline.engine import Engine
from tieline.ids import from_uuid
from tieline.store.db import Db


async def test_a_stopping_engine_lets_what_runs_end_and_claims_nothing_more(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    async with engine(db, Toy(db, pages=5, pause=0.1)) as until:
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages"))
        until.set()
        await fire(db, made)
    assert await runs_of(place) == [("done", 5)]
    after = await read(db, made)
    assert after.held_by is None
    assert after.next_run_at <= now()


async def test_a_stopping_engine_hands_back_what_does_not_end_in_time(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    async with engine(db, Toy(db, pages=2, pause=0.5), grace=timedelta(0)) as until:
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages"))
        until.set()
    after = await read(db, made)
    ((run,),) = await place.execute("SELECT id FROM toy_runs")
    assert (after.held_by, after.run_id, after.attempt) == (None, from_uuid("run", run), 0)
    async with engine(db, Toy(db, pages=2)):
        await eventually(lambda: idle(db))
    assert await bad_pages(place, 2) == []


async def test_an_engine_that_is_cancelled_hands_back_what_runs(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    handlers = {"sync": Toy(db, pages=1, pause=300)}
    task = asyncio.create_task(Engine(db, handlers, clock=SystemClock(), limits=quick_limits()).run())
    await eventually(lambda: runs_of(place))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    after = await read(db, made)
    assert (after.held_by, after.attempt) == (None, 0)
    assert after.next_run_at <= now()


async def test_a_process_that_is_told_to_stop_ends_what_runs_and_leaves_the_rest(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    with worker_process(place, pages=5, pause=0.1) as process:
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages"))
        process.terminate()
        await fire(db, made)
        assert await ended(process) == 0
    assert await runs_of(place) == [("done", 5)]
    after = await read(db, made)
    assert (after.held_by, after.generation - after.ran_generation) == (None, 1)
    assert await place.execute("SELECT 1 FROM pgqueuer") == []
