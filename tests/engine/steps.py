"""What the tests of the engine are written in: a database of their own, organizations with schedules, triggers and engines."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import text
from tests.engine.toy import TABLES, Plan, quick_limits, start_worker

from tieline.clock import SystemClock
from tieline.engine import Engine, Hold
from tieline.ids import new_id, to_uuid
from tieline.store import schedules as store
from tieline.store.admission import admit
from tieline.store.connections import Connection, save_connection
from tieline.store.db import Db
from tieline.store.embedded import running
from tieline.store.migrate import migrate
from tieline.store.organizations import create_organization
from tieline.store.schedules import Schedule, create_schedules, get_schedule, trigger

HOUR = timedelta(hours=1)
SYNC = ("sync",)


@dataclass(frozen=True)
class Place:
    """A database server of the tests' own, because they crash it."""

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

    async def count(self, sql: str) -> int:
        """What a query counts: its one number."""
        ((number,),) = await self.execute(sql)
        return int(number)

    def crash_and_restart(self) -> None:
        """What `pg_ctl restart --mode=immediate` does."""
        (pid_file,) = self.folder.glob("*/**/postmaster.pid")
        first = pid_file.read_text().split()[0]
        os.kill(int(first), signal.SIGQUIT)
        with suppress(FileNotFoundError):  # it is gone, or another is in its place already
            while pid_file.read_text().split()[:1] == [first]:
                time.sleep(0.01)
        with self.open():
            pass


@contextmanager
def own_server() -> Iterator[Place]:
    """A migrated database with the toy's tables."""
    folder = Path(tempfile.mkdtemp(prefix="tieline-engine-"))
    folder.chmod(0o755)
    try:
        with Place(folder, "").open() as server:
            made = Place(folder, server.url)
            asyncio.run(migrate(server.url))
            asyncio.run(made.execute(TABLES))
            yield made
    finally:
        shutil.rmtree(folder)


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
    """Trigger a schedule, and note independently of the engine when."""
    async with db.work(schedule.org_id) as work:
        assert await trigger(work, schedule.connection_id, now=now(), cause="manual")
        noted = text("INSERT INTO toy_triggers VALUES (:schedule)")
        await work.connection.execute(noted, {"schedule": to_uuid(schedule.id, "sched")})


async def take(db: Db, free_slots: int = 8, *, org_cap: int = 4, provider_cap: int = 64) -> list[Hold]:
    async with db.system() as work:
        limits = {"free_slots": free_slots, "org_cap": org_cap, "provider_cap": provider_cap}
        return await admit(work, now=now(), kinds=SYNC, **limits)


@asynccontextmanager
async def engine(db: Db, handler: Any, **limits: object) -> AsyncIterator[asyncio.Event]:
    until = asyncio.Event()
    made = Engine(db, {"sync": handler}, clock=SystemClock(), limits=quick_limits(**limits))
    task = asyncio.create_task(made.run(until=until))
    try:
        yield until
    finally:
        until.set()
        await task


@contextmanager
def worker_process(place: Place, *, pages: int = 3, pause: float = 0.01, **plan: Any) -> Iterator[BaseProcess]:
    process = start_worker(Plan(place.url, pages, pause, **plan))
    try:
        yield process
    finally:
        process.kill()
        process.join()


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
    """Runs that did not end, or have a page twice or lack one."""
    return await place.execute(f"""SELECT id FROM toy_runs LEFT JOIN toy_pages ON run_id = id GROUP BY id
        HAVING ended IS DISTINCT FROM 'done' OR array_agg(page ORDER BY page) <> ARRAY(SELECT generate_series(1, {pages}))
    """)


async def overlaps(place: Place) -> int:
    """How many calls of the toy began while another of the same schedule was not over."""
    return await place.count("""SELECT count(*) FROM toy_calls AS one JOIN toy_calls AS other USING (schedule_id)
        WHERE one.fence < other.fence AND coalesce(one.ended, 'infinity') > other.began
    """)


async def lost_triggers(place: Place) -> int:
    """How many triggers no run came after that ended."""
    return await place.count("""SELECT count(*) FROM toy_triggers AS one WHERE NOT EXISTS (
        SELECT FROM toy_runs WHERE schedule_id = one.schedule_id AND begun_at > one.at AND ended IS NOT NULL)
    """)
