"""The engine's contract: what is due runs, at least once, never twice at a time, whatever dies meanwhile."""

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from tieline.clock import SystemClock
from tieline.engine import Engine, Hold, HoldLost, prune
from tieline.engine.queue import count_queued, enqueue, open_queue
from tieline.ids import from_uuid, new_id, to_uuid
from tieline.store import admission, workers
from tieline.store import schedules as store
from tieline.store.admission import admit, engine_counts, next_due, release_stale
from tieline.store.connections import Connection, save_connection
from tieline.store.db import Db
from tieline.store.embedded import running
from tieline.store.migrate import migrate
from tieline.store.organizations import create_organization
from tieline.store.schedules import (
    Schedule,
    begin,
    create_schedules,
    get_schedule,
    give_back,
    keep,
    list_schedules,
    release,
    request_cancel,
    set_enabled,
    set_run,
    trigger,
)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("engine_toy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOY = Path(__file__).with_name("toy.py")
toys = load(TOY)
HOUR = timedelta(hours=1)
SYNC = ("sync",)


# The database: a server of our own, because a test restarts it


@dataclass(frozen=True)
class Place:
    folder: Path
    url: str

    def open(self) -> Any:
        return running(self.folder / "data", state_dir=self.folder / "state")

    async def execute(self, sql: str) -> Any:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(sql) if sql.startswith("SELECT") else await connection.execute(sql)
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="tieline-engine-"))
    folder.chmod(0o755)
    with Place(folder, "").open() as server:
        made = Place(folder, server.url)
        asyncio.run(migrate(server.url))
        asyncio.run(made.execute(toys.TABLES))
        yield made
    shutil.rmtree(folder)


@pytest.fixture
async def db(place: Place) -> AsyncIterator[Db]:
    await place.execute("TRUNCATE organizations, pgqueuer, pgqueuer_log, toy_runs, toy_pages, toy_refused CASCADE")
    opened = Db(place.url)
    yield opened
    await opened.close()


# What the tests are written in


def now() -> datetime:
    return SystemClock().now()


async def make_org(db: Db) -> str:
    slug = new_id("x")
    async with db.system() as work:
        return (await create_organization(work, slug=slug, name=slug, now=now())).id


async def make_schedule(db: Db, org: str, *, provider: str = "acme", due: datetime | None = None) -> Schedule:
    """A connection with one schedule, due now or then."""
    (made,) = await make_schedules(db, org, ["users"], provider=provider)
    if due:
        async with db.work(org) as work:
            await work.connection.execute(
                store.schedules.update().where(store.schedules.c.id == made.id).values(next_run_at=due)
            )
    return made


async def make_schedules(db: Db, org: str, operations: list[str], *, provider: str = "acme") -> list[Schedule]:
    conn = new_id("conn")
    at = now()
    async with db.work(org) as work:
        await save_connection(work, Connection(conn, org, provider, "c", "key", "active", conn, "c", {}, at, at, at))
        return await create_schedules(work, conn, provider, [(name, HOUR) for name in operations], now=at)


async def read(db: Db, schedule: Schedule) -> Schedule:
    async with db.work(schedule.org_id) as work:
        found = await get_schedule(work, schedule.connection_id, schedule.operation)
    assert found is not None
    return found


async def fire(db: Db, schedule: Schedule) -> None:
    async with db.work(schedule.org_id) as work:
        assert await trigger(work, schedule.connection_id, now=now(), cause="manual")


async def take(db: Db, free_slots: int = 8, *, org_cap: int = 4, provider_cap: int = 64) -> list[Hold]:
    async with db.system() as work:
        return await admit(
            work, now=now(), kinds=SYNC, free_slots=free_slots, org_cap=org_cap, provider_cap=provider_cap
        )


@asynccontextmanager
async def engine(db: Db, handler: Any, **limits: object) -> AsyncIterator[asyncio.Event]:
    until = asyncio.Event()
    made = Engine(db, {"sync": handler}, clock=SystemClock(), limits=toys.quick_limits(**limits))
    task = asyncio.create_task(made.run(until=until))
    try:
        yield until
    finally:
        until.set()
        await task


async def eventually(check: Callable[[], Awaitable[object]]) -> Any:
    async with asyncio.timeout(150):
        while not (found := await check()):
            await asyncio.sleep(0.02)
    return found


async def idle(db: Db) -> bool:
    """Whether nothing runs and nothing that was triggered has not run."""
    async with db.system() as work:
        query = "SELECT count(*) FROM schedules WHERE held_by IS NOT NULL OR ran_generation < generation"
        return (await work.connection.execute(text(query))).scalar_one() == 0


async def runs_of(place: Place) -> list[tuple[str, int]]:
    return [tuple(row) for row in await place.execute("SELECT ended, pages FROM toy_runs ORDER BY begun_at")]


async def bad_pages(place: Place, pages: int) -> list[Any]:
    """Runs that ended but have a page twice or lack one."""
    return await place.execute(f"""SELECT id FROM toy_runs LEFT JOIN toy_pages ON run_id = id GROUP BY id
        HAVING ended IS DISTINCT FROM 'done' OR array_agg(page ORDER BY page) <> ARRAY(SELECT generate_series(1, {pages}))
    """)


@contextmanager
def worker_process(
    place: Place, *, pages: int = 3, pause: float = 0.01, heartbeat: float = 1, fault: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(TOY), place.url, str(pages), str(pause), str(heartbeat)]
    process = subprocess.Popen(command, env=os.environ | {"TIELINE_FAULT": fault})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# What becomes due


async def test_a_trigger_that_is_rolled_back_never_runs_and_a_committed_one_does(db: Db, place: Place) -> None:
    org = await make_org(db)
    dropped, kept = [await make_schedule(db, org, due=now() + HOUR) for _ in range(2)]
    toy = toys.Toy(db)
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
    async with engine(db, toys.Toy(db)):
        await eventually(lambda: idle(db))
    assert await runs_of(place) == [("done", 3)]
    after = await read(db, made)
    assert (after.generation, after.ran_generation, after.next_run_at) == (6, 6, None)


async def test_a_trigger_during_a_run_makes_the_next_run(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    async with engine(db, toys.Toy(db, pages=20)):
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
    async with engine(db, toys.Toy(db, pages=10_000)):
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
    async with engine(db, toys.Toy(db)):
        await eventually(lambda: idle(db))
    assert await runs_of(place) == [("cancelled", 0)]


async def test_there_is_nothing_to_cancel_when_no_run_is_unfinished(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    async with db.work(made.org_id) as work:
        assert not await request_cancel(work, made.id)


# Fairness and caps


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


# Holds and fences


async def test_whoever_begins_again_shuts_out_the_one_before(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    async with db.work(made.org_id) as work:
        first = await begin(work, hold)
        second = await begin(work, hold)
        with pytest.raises(HoldLost):
            await keep(work, first.hold, now=now())
        with pytest.raises(HoldLost):
            await release(work, first.hold, now=now(), next_run_at=None, run_id=None, attempt=0, error=None, done=True)
        assert not await give_back(work, first.hold, now=now(), error="TypeError")
        assert await begin(work, first.hold) is None
        assert await keep(work, second.hold, now=now()) is False


async def test_one_organization_cannot_touch_the_schedules_of_another(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    async with db.work(await make_org(db)) as work:
        assert await begin(work, hold) is None
        assert await trigger(work, made.connection_id, now=now(), cause="manual") == []
        assert await list_schedules(work, made.connection_id) == []
        assert not await request_cancel(work, made.id)


async def test_a_hold_that_nobody_speaks_for_is_released_with_its_run(db: Db) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    run = new_id("run")
    async with db.work(made.org_id) as work:
        begun = await begin(work, hold)
        await set_run(work, made.id, run)
    async with db.system() as work:
        assert await release_stale(work, now=now() + timedelta(seconds=59), older_than=timedelta(minutes=1)) == 0
        assert await release_stale(work, now=now() + timedelta(seconds=61), older_than=timedelta(minutes=1)) == 1
    after = await read(db, made)
    assert (after.held_by, after.run_id, after.attempt) == (None, run, 1)
    assert after.next_run_at > now()
    async with db.work(made.org_id) as work:
        with pytest.raises(HoldLost):
            await keep(work, begun.hold, now=now())


async def test_a_job_that_comes_after_its_hold_was_released_does_nothing(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    (hold,) = await take(db)
    async with db.work(made.org_id) as work:
        begun = await begin(work, hold)
        await release(work, begun.hold, now=now(), next_run_at=None, run_id=None, attempt=0, error=None, done=True)
    async with db.system() as work:
        await enqueue(work, [hold])
    toy = toys.Toy(db)
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
    toy = toys.Toy(db, pages=1, pause=2.5)
    async with engine(db, toy, heartbeat=0.5):
        await eventually(lambda: runs_of(place))
        await eventually(lambda: idle(db))
    assert toy.calls == 1


@pytest.mark.parametrize("mutant", ["none", "no hold", "no re-arm"])
async def test_under_a_storm_no_key_runs_twice_at_once_and_no_trigger_is_lost(
    db: Db, place: Place, mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the mutants it shows that it would see a lacking hold and a forgotten trigger."""
    if mutant == "no hold":
        kept = admission._ADMIT.element.text.replace("AND held_by IS NULL", "").replace(
            "held_by IS NULL AND enabled", "enabled"
        )
        columns = {column.name: column.type for column in admission._ADMIT.selected_columns}
        monkeypatch.setattr(admission, "_ADMIT", text(kept).columns(**columns))
    if mutant == "no re-arm":
        monkeypatch.setattr(toys, "release", forget_triggers(release))
    org = await make_org(db)
    keys = [await make_schedule(db, org) for _ in range(4)]
    toy = toys.Toy(db, pages=2, pause=0.005)
    other = Db(place.url)
    async with engine(db, toy, org_cap=100), engine(other, toy, org_cap=100):
        for _ in range(25):
            await asyncio.gather(*(fire(db, key) for key in keys))
            await asyncio.sleep(0.02)
        toy.pause = 0.3
        await eventually(lambda: set_off(db, toy, keys))
        await asyncio.sleep(0.1)
        await asyncio.gather(*(fire(db, key) for key in keys))  # each while its run is on
        if mutant == "none":
            await eventually(lambda: idle(db))
        if mutant == "no re-arm":
            await eventually(lambda: nothing_held(db))
    await other.close()
    faults = {"overlap": toy.most > 1, "lost": not await idle(db)}
    expected = {"none": set(), "no hold": {"overlap"}, "no re-arm": {"lost"}}[mutant]
    assert expected <= {name for name, seen in faults.items() if seen}
    if mutant == "none":
        assert not any(faults.values())
        assert await bad_pages(place, 2) == []


async def set_off(db: Db, toy: Any, keys: list[Schedule]) -> bool:
    """Fire, again too, for a mutant may have forgotten it; whether all run at once by now."""
    await asyncio.gather(*(fire(db, key) for key in keys))
    return bool(toy.running() >= len(keys))


async def nothing_held(db: Db) -> bool:
    async with db.system() as work:
        return (await engine_counts(work, now=now())).held == 0


def forget_triggers(release: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def mutant(work: Any, hold: Hold, **values: Any) -> None:
        await release(work, hold, **values)
        row = store.schedules.c.id == hold.schedule_id
        await work.connection.execute(store.schedules.update().where(row).values(next_run_at=None))

    return mutant


# What dies and comes back


async def test_a_run_whose_worker_is_killed_goes_on_from_its_place(db: Db, place: Place) -> None:
    await make_schedule(db, await make_org(db))
    with worker_process(place, pages=6, fault="toy.page:3") as process:
        await asyncio.to_thread(process.wait)
        assert process.returncode == -signal.SIGKILL
    assert await runs_of(place) == [(None, 2)]
    async with engine(db, toys.Toy(db, pages=6)):
        await eventually(lambda: idle(db))
    assert await bad_pages(place, 6) == []
    fences = await place.execute("SELECT fence, count(*) FROM toy_pages GROUP BY fence ORDER BY fence")
    assert [row["count"] for row in fences] == [2, 4]


async def test_a_worker_that_was_thought_dead_finds_its_late_write_refused(db: Db, place: Place) -> None:
    await make_schedule(db, await make_org(db))
    with worker_process(place, pages=4, pause=0.5) as process:
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages"))
        process.send_signal(signal.SIGSTOP)
        async with engine(db, toys.Toy(db, pages=4)):
            await eventually(lambda: idle(db))
        process.send_signal(signal.SIGCONT)
        (refused,) = await eventually(lambda: place.execute("SELECT fence FROM toy_refused"))
    assert await bad_pages(place, 4) == []
    (last,) = await place.execute("SELECT max(fence) AS fence FROM toy_pages")
    assert refused["fence"] < last["fence"]


async def test_work_goes_on_after_the_database_crashes_and_restarts(db: Db, place: Place) -> None:
    for _ in range(6):
        await make_schedules(db, await make_org(db), ["a", "b"])
    async with engine(db, toys.Toy(db, pages=8, pause=0.03)):
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages OFFSET 10"))
        await asyncio.to_thread(crash_and_restart, place)
        await eventually(lambda: idle(db))
    assert len(await runs_of(place)) == 12
    assert await bad_pages(place, 8) == []


async def test_a_job_in_a_long_fetch_does_not_keep_the_engine_from_going_on_after_a_crash(db: Db, place: Place) -> None:
    await make_schedule(db, await make_org(db))
    toy = toys.Toy(db, pages=1, pause=300)
    async with engine(db, toy):
        await eventually(lambda: runs_of(place))
        await asyncio.to_thread(crash_and_restart, place)
        toy.pause = 0.01
        await eventually(lambda: idle(db))
    assert await runs_of(place) == [("done", 1)]


def crash_and_restart(place: Place) -> None:
    """What `pg_ctl restart --mode=immediate` does."""
    (pid_file,) = place.folder.glob("*/**/postmaster.pid")
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
    while pid_file.exists():
        time.sleep(0.01)
    with place.open():
        pass


# Stopping


async def test_a_stopping_engine_lets_what_runs_end_and_claims_nothing_more(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    async with engine(db, toys.Toy(db, pages=5, pause=0.1)) as until:
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages"))
        until.set()
        await fire(db, made)
    assert await runs_of(place) == [("done", 5)]
    after = await read(db, made)
    assert after.held_by is None
    assert after.next_run_at <= now()


async def test_a_stopping_engine_hands_back_what_does_not_end_in_time(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    async with engine(db, toys.Toy(db, pages=2, pause=0.5), grace=timedelta(0)) as until:
        await eventually(lambda: place.execute("SELECT 1 FROM toy_pages"))
        until.set()
    after = await read(db, made)
    ((run,),) = await place.execute("SELECT id FROM toy_runs")
    assert (after.held_by, after.run_id, after.attempt) == (None, from_uuid("run", run), 0)
    async with engine(db, toys.Toy(db, pages=2)):
        await eventually(lambda: idle(db))
    assert await bad_pages(place, 2) == []


async def test_an_engine_that_is_cancelled_hands_back_what_runs(db: Db, place: Place) -> None:
    made = await make_schedule(db, await make_org(db))
    handlers = {"sync": toys.Toy(db, pages=1, pause=300)}
    task = asyncio.create_task(Engine(db, handlers, clock=SystemClock(), limits=toys.quick_limits()).run())
    await eventually(lambda: runs_of(place))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    after = await read(db, made)
    assert (after.held_by, after.attempt) == (None, 0)
    assert after.next_run_at <= now()


# For operators


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
    async with engine(db, toys.Toy(db)):
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
    async with engine(db, toys.Toy(db), org_cap=3):

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
