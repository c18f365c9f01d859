"""What becomes due runs, once for all that asked for it, until somebody cancels it."""

from tests.engine.steps import (
    HOUR,
    SYNC,
    Place,
    engine,
    eventually,
    fire,
    idle,
    make_org,
    make_schedule,
    make_schedules,
    now,
    read,
    runs_of,
    take,
)
from tests.engine.toy import Toy

from tieline.engine.queue import count_queued, enqueue
from tieline.ids import new_id, to_uuid
from tieline.store.admission import admit, next_due
from tieline.store.db import Db
from tieline.store.schedules import (
    begin,
    create_schedules,
    give_back,
    list_schedules,
    release,
    request_cancel,
    set_enabled,
    set_run,
    trigger,
)


async def test_a_trigger_that_is_rolled_back_never_runs_and_a_committed_one_does(db: Db, place: Place) -> None:
    org = await make_org(db)
    dropped, kept = [await make_schedule(db, org, due=now() + HOUR) for _ in range(2)]
    toy = Toy(db)
    async with engine(db, toy):
        async with db.work(org) as work:
            await trigger(work, dropped.connection_id, now=now(), cause="manual")
            await work.connection.rollback()
        await fire(db, kept)
        await eventually(lambda: runs_of(place))
    assert [row["schedule_id"] for row in await place.execute("SELECT schedule_id FROM toy_runs")] == [
        to_uuid(kept.id, "sched")
    ]
    assert (await read(db, dropped)).generation == 1


async def test_admission_that_is_rolled_back_leaves_neither_hold_nor_job(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    async with db.system() as work:
        await enqueue(work, await admit(work, now=now(), kinds=SYNC, free_slots=8, org_cap=4, provider_cap=8))
        assert await count_queued(work, SYNC) == 1
        await work.connection.rollback()
    assert (await read(db, made)).held_by is None
    async with db.system() as work:
        assert await count_queued(work, SYNC) == 0


async def test_a_job_holds_ids_only(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    async with db.system() as work:
        (hold,) = await admit(work, now=now(), kinds=SYNC, free_slots=8, org_cap=4, provider_cap=8)
        await enqueue(work, [hold])
    (job,) = await place.execute("SELECT convert_from(payload, 'UTF8')::json AS said FROM pgqueuer")
    expected = f'{{"hold":"{hold.id}","schedule":"{made.id}","org":"{made.org_id}","kind":"sync"}}'
    assert job["said"] == expected


async def test_many_triggers_before_a_run_make_one_run(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    for _ in range(5):
        await fire(db, made)
    async with engine(db, Toy(db)):
        await eventually(lambda: idle(db))
    assert await runs_of(place) == [("done", 3)]
    after = await read(db, made)
    assert (after.generation, after.ran_generation, after.next_run_at) == (6, 6, None)


async def test_a_trigger_during_a_run_makes_the_next_run(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    async with engine(db, Toy(db, pages=20)):
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages"))
        await fire(db, made)
        await fire(db, made)
        await eventually(lambda: idle(db))
    assert await runs_of(place) == [("done", 20), ("done", 20)]


async def test_a_trigger_during_a_run_that_is_interrupted_still_makes_the_next_run(db: Db) -> None:
    made = await make_schedule(db, await make_org(db), due=now())
    org = made.org_id
    (hold,) = await take(db)
    async with db.work(org) as work:
        begun = await begin(work, hold)
        await set_run(work, made.id, new_id("run"))
        await give_back(work, begun.hold, now=now())
    await fire(db, made)
    (hold,) = await take(db)
    async with db.work(org) as work:
        again = await begin(work, hold)
        await release(
            work, again.hold, now=now(), next_run_at=now() + HOUR, run_id=None, attempt=0, error=None, done=True
        )
    assert again.run_id is not None
    assert [hold.schedule_id for hold in await take(db)] == [made.id]


async def test_the_calendar_plans_the_next_run_when_no_trigger_came(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    then = now() + HOUR
    async with db.work(made.org_id) as work:
        begun = await begin(work, hold)
        await release(work, begun.hold, now=now(), next_run_at=then, run_id=None, attempt=0, error=None, done=True)
    async with db.system() as work:
        assert await next_due(work) == then
    assert await take(db) == []


async def test_what_is_switched_off_is_not_run_and_is_due_when_switched_on(db: Db) -> None:
    org = await make_org(db)
    made, other = await make_schedules(db, org, ["groups", "users"])
    async with db.work(org) as work:
        await set_enabled(work, made.connection_id, False, operation="groups", reason="permission-missing", now=now())
        triggered = await trigger(work, made.connection_id, now=now(), cause="webhook")
    assert [one.operation for one in triggered] == ["users"]
    assert [hold.schedule_id for hold in await take(db)] == [other.id]
    assert (await read(db, made)).off_reason == "permission-missing"
    async with db.work(org) as work:
        await set_enabled(work, made.connection_id, True, now=now())
    assert [hold.schedule_id for hold in await take(db)] == [made.id]
    assert (await read(db, made)).off_reason is None


async def test_creating_schedules_again_adds_only_those_that_are_missing(db: Db) -> None:
    org = await make_org(db)
    (made,) = await make_schedules(db, org, ["users"])
    async with db.work(org) as work:
        operations = [("users", HOUR), ("groups", HOUR)]
        added = await create_schedules(work, made.connection_id, "acme", operations, now=now())
        listed = await list_schedules(work, made.connection_id)
    assert [one.operation for one in added] == ["groups"]
    assert [(one.operation, one.every) for one in listed] == [("groups", HOUR), ("users", HOUR)]


# Cancelling


async def test_a_running_job_is_cancelled_at_its_next_page(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    async with engine(db, Toy(db, pages=10_000)):
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages"))
        async with db.work(made.org_id) as work:
            assert await request_cancel(work, made.id)
        await eventually(lambda: idle(db))
    ((ended, pages),) = await runs_of(place)
    assert ended == "cancelled"
    assert pages < 10_000
    assert not (await read(db, made)).cancel_requested


async def test_a_waiting_run_is_cancelled_without_reading_a_page(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    run = new_id("run")
    values = {"next_run_at": now() + HOUR, "run_id": run, "attempt": 1, "error": "rate-limited"}
    async with db.work(made.org_id) as work:
        begun = await begin(work, hold)
        await release(work, begun.hold, now=now(), done=False, **values)
    await place.execute(f"INSERT INTO toy_runs (id) VALUES ('{to_uuid(run, 'run')}')")
    async with db.work(made.org_id) as work:
        assert await request_cancel(work, made.id)
    async with engine(db, Toy(db)):
        await eventually(lambda: idle(db))
    assert await runs_of(place) == [("cancelled", 0)]


async def test_there_is_nothing_to_cancel_when_no_run_is_unfinished(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    async with db.work(made.org_id) as work:
        assert not await request_cancel(work, made.id)
