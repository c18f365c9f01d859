"""Fairness: organizations take turns, and none of them, nor any provider, gets more than its share."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import text
from tests.engine.steps import (
    SYNC,
    Place,
    engine,
    eventually,
    idle,
    make_org,
    make_schedule,
    make_schedules,
    now,
    take,
    worker_process,
)
from tests.engine.toy import Toy

from tieline.ids import to_uuid
from tieline.store import admission
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


async def test_small_organizations_are_served_while_a_whale_has_much_older_work(db: Db, place: Place) -> None:
    """Two slots: the whale keeps one at most, so of the first 2 × 10 runs and those under way, ten are theirs."""
    whale = await make_org(db)
    await make_schedules(db, whale, [f"o{number}" for number in range(40)])
    await place.execute("UPDATE schedules SET next_run_at = now() - interval '1 day'")
    small = {(await make_schedule(db, await make_org(db))).id for _ in range(10)}
    async with engine(db, Toy(db, pages=1), slots=2):
        await eventually(lambda: idle(db))
    order = await place.execute("SELECT schedule_id FROM toy_runs ORDER BY begun_at")
    places = [
        place for place, row in enumerate(order) if row["schedule_id"] in {to_uuid(one, "sched") for one in small}
    ]
    assert len(order) == 50
    assert places[-1] < 2 * 10 + 4


async def test_caps_hold_over_all_processes(db: Db, place: Place) -> None:
    """Two of an organization, three against a provider: reached, and never passed, as long as nobody is taken for dead."""
    for _ in range(4):
        await make_schedules(db, await make_org(db), ["a", "b", "c", "d"])
    limits = {"org_cap": 2, "provider_cap": 3, "heartbeat": 30.0}
    plan = {"pages": 2, "pause": 0.05, "limits": limits}
    with worker_process(place, **plan), worker_process(place, **plan), worker_process(place, **plan):
        await eventually(lambda: idle(db))
    at_once = await place.count(f"SELECT max(count) FROM ({BESIDE} GROUP BY one.ctid) AS counted")
    of_one = await place.count(
        f"SELECT max(count) FROM ({BESIDE} AND mine.org_id = theirs.org_id GROUP BY one.ctid) AS c"
    )
    assert (at_once, of_one) == (3, 2)
    assert await place.count("SELECT count(DISTINCT process) FROM toy_calls") > 1


BESIDE = """SELECT count(*) FROM toy_calls AS one
      JOIN toy_calls AS other ON other.began <= one.began AND other.ended > one.began
      JOIN schedules AS mine ON mine.id = one.schedule_id
      JOIN schedules AS theirs ON theirs.id = other.schedule_id
"""
"""What ran when each call began, itself included."""


async def test_a_tick_over_100_000_idle_schedules_reads_an_index_and_few_rows(db: Db, place: Place) -> None:
    org = to_uuid(await make_org(db), "org")
    await place.execute(f"""
        INSERT INTO schedules (id, org_id, kind, provider, cause, next_run_at)
        SELECT gen_random_uuid(), '{org}', 'sync', 'p', 'schedule', now() + n * interval '1 s' + interval '1 hour'
          FROM generate_series(1, 100000) AS n
    """)
    await place.execute("VACUUM ANALYZE schedules")
    due = [await make_schedule(db, await make_org(db), provider=f"q{number}") for number in range(5)]
    values = {"now": now(), "kinds": list(SYNC), "slots": 8, "org_cap": 4, "provider_cap": 64}
    async with db.system() as work:
        explained = text("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + admission._ADMIT.element.text)
        ((plan,),) = await work.connection.execute(explained, values)
        await work.connection.rollback()
    scans = [
        node
        for node in nodes(plan[0]["Plan"])
        if node.get("Relation Name") == "schedules" and "Scan" in node["Node Type"]
    ]
    assert "Seq Scan" not in {node["Node Type"] for node in scans}
    assert "schedules_due_idx" in {node["Index Name"] for node in nodes(plan[0]["Plan"]) if "Index Name" in node}
    read = [node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0) for node in scans]
    assert sum(read) < 50
    assert {hold.schedule_id for hold in await take(db)} == {one.id for one in due}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node of a plan and all below it."""
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)
