"""Whatever dies, what is due runs: at least once, from the place where it stood."""

import asyncio
import os
import signal
from typing import Any

import pytest
from sqlalchemy import text
from tests.engine.steps import (
    HOUR,
    Place,
    bad_pages,
    engine,
    eventually,
    idle,
    make_org,
    make_schedule,
    make_schedules,
    now,
    read,
    runs_of,
    worker_process,
)
from tests.engine.toy import Toy, ended, start, trigger_and_die

from tieline.engine import Hold, worker
from tieline.ids import to_uuid
from tieline.store.db import Db
from tieline.store.schedules import Schedule


async def test_a_run_whose_worker_is_killed_goes_on_from_its_place(db: Db, place: Place) -> None:
    await make_schedule(db, await make_org(db))
    with worker_process(place, pages=6, fault="toy.page:3") as process:
        assert await ended(process) == -signal.SIGKILL
    assert await runs_of(place) == [(None, 2)]
    async with engine(db, Toy(db, pages=6)):
        await eventually(lambda: idle(db))
    assert await bad_pages(place, 6) == []
    fences = await place.execute("SELECT fence, count(*) FROM toy_pages GROUP BY fence ORDER BY fence")
    assert [row["count"] for row in fences] == [2, 4]


@pytest.mark.parametrize("when", ["before enqueuing", "after enqueuing"])
async def test_what_a_process_was_admitting_when_it_was_killed_runs_elsewhere(db: Db, place: Place, when: str) -> None:
    made = await make_schedule(db, await make_org(db))
    with worker_process(place, mutant=f"dies {when}") as process:
        assert await ended(process) == -signal.SIGKILL
    assert (await read(db, made)).held_by is None
    assert await place.execute("SELECT 1 FROM pgqueuer") == []
    async with engine(db, Toy(db)):
        await eventually(lambda: idle(db))
    assert await runs_of(place) == [("done", 3)]


@pytest.mark.parametrize("committed", [False, True])
async def test_a_trigger_whose_process_is_killed_runs_if_it_was_committed_and_only_then(
    db: Db, place: Place, committed: bool
) -> None:
    made = await make_schedule(db, await make_org(db), due=now() + HOUR)
    process = start(trigger_and_die, place.url, made.org_id, made.connection_id, committed)
    assert await ended(process) == -signal.SIGKILL
    other = await make_schedule(db, made.org_id)
    async with engine(db, Toy(db)):
        await eventually(lambda: idle_but(db, made) if not committed else idle(db))
    ran = {row["schedule_id"] for row in await place.execute("SELECT schedule_id FROM toy_runs WHERE ended = 'done'")}
    assert ran == {to_uuid(one.id, "sched") for one in ([made, other] if committed else [other])}
    assert (await read(db, made)).generation == 1 + committed


async def idle_but(db: Db, waiting: Schedule) -> bool:
    """Whether all has run but one."""
    async with db.system() as work:
        query = "SELECT array_agg(id) FROM schedules WHERE held_by IS NOT NULL OR ran_generation < generation"
        return (await work.connection.execute(text(query))).scalar_one() == [to_uuid(waiting.id, "sched")]


async def test_what_could_not_be_handed_back_for_a_moment_is_handed_back_soon(
    db: Db, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's own connection stays, so no new session does it."""
    await make_schedule(db, await make_org(db))
    toy = Toy(db, pages=1)

    async def fail_once(hold: Hold) -> None:
        if toy.calls:
            await toy(hold)
            return
        toy.calls += 1
        monkeypatch.setattr(worker, "give_back", refuse)
        raise ValueError

    async def refuse(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        raise ConnectionError

    async with engine(db, fail_once, stale_after=HOUR):
        await eventually(lambda: idle(db))
    assert await runs_of(place) == [("done", 1)]


async def test_a_worker_that_was_thought_dead_finds_its_late_write_refused(db: Db, place: Place) -> None:
    await make_schedule(db, await make_org(db))
    with worker_process(place, pages=4, pause=0.5) as process:
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages"))
        os.kill(process.pid, signal.SIGSTOP)
        async with engine(db, Toy(db, pages=4)):
            await eventually(lambda: idle(db))
        os.kill(process.pid, signal.SIGCONT)
        (refused,) = await eventually(lambda: place.execute("SELECT fence FROM toy_refused"))
    assert await bad_pages(place, 4) == []
    (last,) = await place.execute("SELECT max(fence) AS fence FROM toy_pages")
    assert refused["fence"] < last["fence"]


async def test_work_goes_on_after_the_database_crashes_and_restarts(db: Db, place: Place) -> None:
    for _ in range(6):
        await make_schedules(db, await make_org(db), ["a", "b"])
    async with engine(db, Toy(db, pages=8, pause=0.03)):
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages OFFSET 10"))
        await asyncio.to_thread(place.crash_and_restart)
        await eventually(lambda: idle(db))
    assert len(await runs_of(place)) == 12
    assert await bad_pages(place, 8) == []


async def test_a_job_in_a_long_fetch_does_not_keep_the_engine_from_going_on_after_a_crash(db: Db, place: Place) -> None:
    await make_schedule(db, await make_org(db))
    toy = Toy(db, pages=1, pause=300)
    async with engine(db, toy):
        await eventually(lambda: runs_of(place))
        await asyncio.to_thread(place.crash_and_restart)
        toy.pause = 0.01
        await eventually(lambda: idle(db))
    assert await runs_of(place) == [("done", 1)]
