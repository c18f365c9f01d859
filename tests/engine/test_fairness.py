"""Fairness: organizations take turns, and none of them, nor any provider, gets more than its share."""

from tests.engine.steps import SYNC, Place, make_org, make_schedule, make_schedules, now, take

from tieline.ids import to_uuid
from tieline.store.admission import admit
from tieline.store.db import Db
from tieline.store.schedules import trigger


async def test_a_whale_does_not_delay_others(db: Db, place: Place) -> None:
    whale = await make_org(db)
    await place.execute(f"""
        INSERT INTO schedules (id, org_id, kind, provider, cause, next_run_at)
        SELECT gen_random_uuid(), '{to_uuid(whale, "org")}', 'sync', 'p' || n, 'schedule', now() - interval '1 day'
          FROM generate_series(1, 2000) AS n
    """)
    small = {(await make_schedule(db, await make_org(db), provider=f"q{n}")).org_id for n in range(20)}
    holds = await take(db, 21)
    assert {hold.org_id for hold in holds} == small | {whale}
    assert [hold.org_id for hold in await take(db, 100, org_cap=4)] == [whale] * 3


async def test_an_organization_that_holds_much_comes_after_one_that_holds_nothing(db: Db) -> None:
    greedy, modest = await make_org(db), await make_org(db)
    await make_schedules(db, greedy, ["a", "b", "c", "d"])
    assert len(await take(db, 2)) == 2
    made = await make_schedule(db, modest)
    assert [hold.schedule_id for hold in await take(db, 1)] == [made.id]


async def test_a_provider_is_run_no_more_often_at_once_than_its_cap(db: Db) -> None:
    for _ in range(5):
        await make_schedule(db, await make_org(db), provider="acme")
    other = await make_schedule(db, await make_org(db), provider="other")
    holds = await take(db, 100, provider_cap=3)
    assert len(holds) == 4
    assert other.id in {hold.schedule_id for hold in holds}
    assert await take(db, 100, provider_cap=3) == []
    assert len(await take(db, 100, provider_cap=4)) == 1


async def test_only_one_process_admits_at_a_time(db: Db) -> None:
    await make_schedules(db, await make_org(db), ["a", "b"])
    async with db.system() as work:
        assert len(await admit(work, now=now(), kinds=SYNC, free_slots=1, org_cap=4, provider_cap=8)) == 1
        assert await take(db) == []
    assert len(await take(db)) == 1


async def test_an_open_transaction_that_triggers_does_not_hold_up_admission(db: Db) -> None:
    org = await make_org(db)
    busy, free = await make_schedule(db, org), await make_schedule(db, org)
    async with db.work(org) as work:
        await trigger(work, busy.connection_id, now=now(), cause="manual")
        assert [hold.schedule_id for hold in await take(db)] == [free.id]


async def test_only_the_kinds_that_are_asked_for_are_admitted(db: Db) -> None:
    await make_schedule(db, await make_org(db))
    async with db.system() as work:
        assert await admit(work, now=now(), kinds=("deliver",), free_slots=8, org_cap=4, provider_cap=8) == []
