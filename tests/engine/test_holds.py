"""Holds and fences: one at a time, and who was thought dead writes nothing any more."""

import asyncio
from datetime import datetime, timedelta
from functools import partial

import pytest
from tests.engine.steps import (
    HOUR,
    Place,
    engine,
    eventually,
    idle,
    make_org,
    make_schedule,
    make_schedules,
    now,
    read,
    runs_of,
    take,
)
from tests.engine.toy import Toy, quick_limits

from tieline.clock import SetClock, SystemClock
from tieline.engine import Engine, Hold, HoldLost
from tieline.engine.queue import enqueue
from tieline.ids import new_id
from tieline.store.admission import beat, release_stale
from tieline.store.db import Db
from tieline.store.schedules import begin, give_back, keep, list_schedules, release, request_cancel, set_run, trigger


async def test_whoever_begins_again_shuts_out_the_one_before(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    async with db.work(made.org_id) as work:
        first = await begin(work, hold)
        second = await begin(work, hold)
        with pytest.raises(HoldLost):
            await keep(work, first.hold)
        with pytest.raises(HoldLost):
            await release(work, first.hold, now=now(), next_run_at=None, run_id=None, attempt=0, error=None, done=True)
        assert not await give_back(work, first.hold, now=now(), error="TypeError")
        assert await begin(work, first.hold) is None
        assert await keep(work, second.hold) is False


async def test_a_beat_is_for_the_hold_with_its_fence_and_waits_for_nobody(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    (unbegun,) = await take(db)
    async with db.work(made.org_id) as work:
        hold = (await begin(work, unbegun)).hold
    begun = (await read(db, made)).beat_at
    async with db.system() as work:
        await beat(work, [unbegun])
    assert (await read(db, made)).beat_at == begun
    async with db.system() as work:
        await beat(work, [hold])
    beaten = (await read(db, made)).beat_at
    assert beaten > begun
    async with db.work(made.org_id) as page:
        await keep(page, hold)
        async with db.system() as work:
            await beat(work, [hold])
        assert (await read(db, made)).beat_at == beaten
    assert (await read(db, made)).beat_at > beaten


async def test_a_run_that_got_on_may_fail_as_often_again(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    counted = []
    for got_on in (False, False, True):
        (hold,) = await take(db)
        async with db.work(made.org_id) as work:
            begun = await begin(work, hold)
            await keep(work, begun.hold, got_on=got_on)
            await give_back(work, begun.hold, now=now() - HOUR, error="TooLong")
        counted.append((await read(db, made)).attempt)
    assert counted == [1, 2, 1]


async def test_one_organization_cannot_touch_the_schedules_of_another(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    async with db.work(await make_org(db)) as work:
        assert await begin(work, hold) is None
        assert await trigger(work, made.connection_id, now=now(), cause="manual") == []
        assert await list_schedules(work, made.connection_id) == []
        assert not await request_cancel(work, made.id)


async def grow_silent(place: Place, by: timedelta) -> None:
    """Let all holds be as if nobody had spoken for them for so long."""
    seconds = by.total_seconds()
    await place.execute(
        f"UPDATE schedules SET beat_at = beat_at - interval '{seconds} s', held_at = held_at - interval '{seconds} s'"
    )


async def test_a_hold_that_nobody_speaks_for_is_released_with_its_run(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    run = new_id("run")
    async with db.work(made.org_id) as work:
        begun = await begin(work, hold)
        await set_run(work, made.id, run)
    await grow_silent(place, timedelta(seconds=59))
    async with db.system() as work:
        assert await release_stale(work, now=now(), older_than=timedelta(minutes=1)) == 0
    await grow_silent(place, timedelta(seconds=2))
    async with db.system() as work:
        assert await release_stale(work, now=now(), older_than=timedelta(minutes=1)) == 1
    after = await read(db, made)
    assert (after.held_by, after.run_id, after.attempt) == (None, run, 1)
    assert after.next_run_at > now()
    async with db.work(made.org_id) as work:
        with pytest.raises(HoldLost):
            await keep(work, begun.hold)


async def test_a_hold_that_nobody_began_is_released_at_once_and_counts_as_no_failure(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    await grow_silent(place, HOUR)
    async with db.system() as work:
        assert await release_stale(work, now=now(), older_than=timedelta(minutes=1)) == 1
    after = await read(db, made)
    assert (after.attempt, after.last_error) == (0, None)
    (again,) = await take(db)
    assert again.id != hold.id


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_process_whose_clock_is_wrong_takes_no_hold_away_and_loses_none(
    db: Db, place: Place, hours: int
) -> None:
    """Nor does it trigger for a time that others wait for. In earnest it follows the database's: see `tests/faults/test_time.py`."""
    wrong = SetClock(now() + hours * HOUR)
    made = await make_schedule(db, await make_org(db))
    toy, until = Toy(db, pages=8, pause=0.3), asyncio.Event()
    engines = [Engine(db, {"sync": toy}, clock=clock, limits=quick_limits(0.4)) for clock in (wrong, SystemClock())]
    running = asyncio.gather(*(one.run(until=until) for one in engines))
    await eventually(lambda: runs_of(place))
    async with db.work(made.org_id) as work:
        await trigger(work, made.connection_id, now=wrong.now(), cause="manual")
    await eventually(lambda: place.execute("SELECT 1 FROM toy_runs WHERE ended = 'done' OFFSET 1"))
    until.set()
    await running
    assert toy.calls == 2
    assert await runs_of(place) == [("done", 8), ("done", 8)]


async def test_a_job_that_never_ends_is_ended_and_tried_again_later(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))

    async def failed() -> bool:
        return (await read(db, made)).attempt == 1

    async with engine(db, Toy(db, pause=300), longest=timedelta(seconds=0.2)):
        await eventually(failed)
    after = await read(db, made)
    assert (after.held_by, after.last_error) == (None, "TooLong")
    assert after.next_run_at > now()


async def test_an_engine_whose_flows_use_up_their_connections_still_beats_releases_and_admits(
    db: Db, place: Place
) -> None:
    org = await make_org(db)
    dead = await make_schedule(db, org)
    (lost,) = await take(db)
    await make_schedules(db, org, [f"o{number}" for number in range(8)])
    narrow, go_on = Db(place.url, pool_size=4), asyncio.Event()  # and four more when it must be
    inside: set[str] = set()

    async def hog(hold: Hold) -> None:
        async with narrow.work(hold.org_id) as work:
            inside.add(hold.schedule_id)
            await go_on.wait()
            await release(work, hold, now=now(), next_run_at=None, run_id=None, attempt=0, error=None, done=True)

    async def used_up() -> bool:
        return len(inside) == 8

    async def beaten(since: datetime) -> bool:
        return await place.count(f"SELECT count(*) FROM schedules WHERE beat_at > '{since}'") == 8

    async def admitted() -> bool:
        return (await read(db, dead)).held_by not in {None, lost.id}

    async with engine(narrow, hog, slots=9, org_cap=20):
        await eventually(used_up)
        await eventually(partial(beaten, now()))
        silent = "held_at = held_at - interval '1 h', beat_at = beat_at - interval '1 h'"
        await place.execute(f"UPDATE schedules SET {silent} WHERE held_by = '{lost.id}'")
        await eventually(admitted)
        go_on.set()
        await eventually(lambda: idle(db))
    await narrow.close()


async def test_a_job_that_comes_after_its_hold_was_released_does_nothing(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    async with db.work(made.org_id) as work:
        begun = await begin(work, hold)
        await release(work, begun.hold, now=now(), next_run_at=None, run_id=None, attempt=0, error=None, done=True)
    async with db.system() as work:
        await enqueue(work, [hold])
    toy = Toy(db)
    async with engine(db, toy):
        await eventually(lambda: place.execute("SELECT 1 FROM pgqueuer_log WHERE status = 'successful'"))
    assert toy.calls == 0


async def test_a_job_that_fails_is_tried_again_later_and_only_the_type_of_its_error_is_kept(
    db: Db, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    made = await make_schedule(db, await make_org(db))
    run = new_id("run")

    async def fail(hold: Hold) -> None:
        async with db.work(hold.org_id) as work:
            await begin(work, hold)
            await set_run(work, hold.schedule_id, run)
        raise ValueError("sk-secret")

    async def failed() -> bool:
        return (await read(db, made)).attempt == 1

    async with engine(db, fail):
        await eventually(failed)
    after = await read(db, made)
    assert (after.held_by, after.run_id, after.last_error) == (None, run, "ValueError")
    assert after.next_run_at > now()
    log = await place.execute("SELECT * FROM pgqueuer_log")
    assert "sk-secret" not in caplog.text + repr(log)


async def test_a_long_fetch_does_not_look_dead(db: Db, place: Place) -> None:
    await make_schedule(db, await make_org(db))
    toy = Toy(db, pages=1, pause=2.5)
    async with engine(db, toy, heartbeat=0.5):
        await eventually(lambda: runs_of(place))
        await eventually(lambda: idle(db))
    assert toy.calls == 1
