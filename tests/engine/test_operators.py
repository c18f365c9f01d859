"""What operators see of the engine, and what is pruned."""

from datetime import timedelta

from tests.engine.steps import HOUR, Place, engine, eventually, idle, make_org, make_schedule, make_schedules, now, take
from tests.engine.toy import Toy

from tieline.engine import prune
from tieline.engine.queue import open_queue
from tieline.ids import new_id
from tieline.store import workers
from tieline.store.admission import engine_counts
from tieline.store.db import Db


async def test_the_migration_makes_the_queue_that_the_engine_uses(place: Place, db: Db) -> None:
    async with db.system() as work:
        plan = await open_queue(await work.driver()).plan_upgrade()
    assert list(plan.statements) == []


async def test_operators_see_how_many_wait_and_since_when(db: Db) -> None:
    org = await make_org(db)
    await make_schedules(db, org, ["a", "b", "c"])
    oldest = (await make_schedule(db, org, due=now() - HOUR)).id
    async with db.system() as work:
        counts = await engine_counts(work, now=now())
        assert (counts.waiting, counts.held) == (4, 0)
        assert now() - counts.oldest >= HOUR
    assert [hold.schedule_id for hold in await take(db, 1)] == [oldest]
    async with db.system() as work:
        counts = await engine_counts(work, now=now())
        assert (counts.waiting, counts.held) == (3, 1)


async def test_what_the_queue_keeps_of_ended_jobs_is_pruned_by_age(db: Db, place: Place) -> None:
    await make_schedule(db, await make_org(db))
    async with engine(db, Toy(db)):
        await eventually(lambda: idle(db))
    async with db.system() as work:
        await open_queue(await work.driver()).aggregate_logs()
        assert await prune(work, before=now() - HOUR) == 0
        assert await prune(work, before=now() + HOUR) > 0
        assert await prune(work, before=now() + HOUR) == 0
    assert await place.execute("SELECT 1 FROM pgqueuer_log UNION ALL SELECT 1 FROM pgqueuer_statistics") == []


async def signed_on(db: Db) -> list[workers.Worker]:
    async with db.system() as work:
        return list(await workers.list_workers(work))


async def test_a_worker_says_that_it_is_there_what_it_does_and_takes_its_row_away(db: Db, place: Place) -> None:
    await place.execute("TRUNCATE workers, worker_hours")
    await make_schedules(db, await make_org(db), ["a", "b", "c"])
    async with engine(db, Toy(db), org_cap=3):

        async def counted() -> bool:
            async with db.system() as work:
                return sum((await workers.jobs_by_hour(work, since=now() - 2 * HOUR)).values()) == 3

        await eventually(counted)
        (one,) = await signed_on(db)
        assert (one.role, one.org_cap, one.running) == ("worker", 3, 0)
        assert now() - one.beat_at < timedelta(seconds=10)
    assert await signed_on(db) == []


async def test_a_worker_that_died_stays_to_be_seen_and_is_pruned_in_the_end(db: Db, place: Place) -> None:
    await place.execute("TRUNCATE workers, worker_hours")
    async with db.system() as work:
        for minutes in (0, 61):
            at = now() - timedelta(minutes=minutes)
            died = workers.Worker(
                new_id("wrk"), "host", "worker", "1", 8, 4, 64, timedelta(seconds=30), 0, at - HOUR, at
            )
            assert died.is_silent(now()) == (minutes > 0)
            await workers.note_worker(work, died, jobs=2)
        assert await workers.prune_workers(work, silent_since=now() - HOUR, hours_before=now() - HOUR) == 1
        assert len(await workers.list_workers(work)) == 1
        assert sum((await workers.jobs_by_hour(work, since=now() - HOUR)).values()) == 2
