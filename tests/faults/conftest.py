"""What tests of faults share: the benches of the journeys, a server that a test may crash, and an engine over a bench."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx2
import pytest
from tests.engine.steps import Place
from tests.flows.bench import Bench, Sandbox, connected, take_snapshot
from tests.flows.conftest import (  # noqa: F401  fixtures
    bench,
    database_of_its_own,
    database_synced_once,
    new_database,
    sandbox,
    small_sandbox,
    synced,
    synced_once,
)

from tieline.access.api_keys import create_key
from tieline.api.app import create_api
from tieline.engine import Engine, EngineLimits, Hold
from tieline.flows.sync import run_sync
from tieline.stages import collect
from tieline.store.db import is_passing
from tieline.store.migrate import migrate
from tieline.vault import LocalKeyRing

T = TypeVar("T")
SECOND = timedelta(seconds=1)
STANDS = ("entities", "links", "findings")
"""The parts of a snapshot that do not depend on the order in which operations ran."""


@pytest.fixture(scope="session")
def crashable() -> Iterator[Place]:
    """A server that may be crashed, with a database in it."""
    folder = Path(tempfile.mkdtemp(prefix="tieline-faults-"))
    folder.chmod(0o755)
    with Place(folder, "").open() as started:
        asyncio.run(migrate(started.url))
        yield Place(folder, started.url)
    shutil.rmtree(folder)


@pytest.fixture
async def crashable_bench(crashable: Place, ring: LocalKeyRing, sandbox: Sandbox) -> AsyncIterator[Bench]:  # noqa: F811
    """A connection, in a database that may be crashed, whose first syncs are queued."""
    async with connected(crashable.url, ring, sandbox) as made:
        yield made


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few records in a transaction, so that there are many to break off."""
    monkeypatch.setattr(collect, "MAX_RECORDS", 25)


@pytest.fixture
async def undisturbed(synced: Bench) -> dict[str, Any]:  # noqa: F811
    """What stands after first syncs that nothing disturbed."""
    return what_stands(await take_snapshot(synced))


def what_stands(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {name: snapshot[name] for name in STANDS}


@asynccontextmanager
async def working(made: Bench, **limits: Any) -> AsyncIterator[asyncio.Event]:
    """An engine that carries out what is due on a bench, until the block or the event ends it."""

    async def sync(hold: Hold) -> None:
        await run_sync(made.parts, hold)

    given = {"heartbeat": 3 * SECOND, "tick": SECOND / 10, "reconcile": SECOND, "stale_after": 9 * SECOND, "org_cap": 8}
    engine = Engine(made.parts.db, {"sync": sync}, clock=made.parts.clock, limits=EngineLimits(**(given | limits)))
    until = asyncio.Event()
    task = asyncio.create_task(engine.run(until=until))
    try:
        yield until
    finally:
        until.set()
        await task


async def eventually(look: Callable[[], Awaitable[T]]) -> T:
    """Look until there is something to see, whatever the database says meanwhile."""
    async with asyncio.timeout(400):
        while not (found := await look()):
            await asyncio.sleep(0.05)
    return found


async def all_ended(made: Bench) -> bool:
    return not await made.unfinished()


@asynccontextmanager
async def client(made: Bench, ring: LocalKeyRing) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the API over a bench, with the key of an admin."""
    async with made.parts.db.work(made.org) as work:
        made_key = await create_key(work, ring.api_key_pepper, name="faults", role="admin", now=made.clock.now())
    transport = httpx2.ASGITransport(create_api(made.parts, ring), raise_app_exceptions=False)
    headers = {"X-API-Key": made_key.plain}
    async with httpx2.AsyncClient(transport=transport, base_url="http://tieline.example", headers=headers) as opened:
        yield opened


async def ask(url: str, statement: str, *given: Any) -> list[Any]:
    """Rows, by a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement, *given)
    finally:
        await connection.close()


async def breaking(url: str, table: str, state: str, times: int) -> None:
    """Let the database break off so many changes of a table with an SQLSTATE, counted beyond any rollback."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"""
            CREATE SEQUENCE broken_off;
            GRANT USAGE ON SEQUENCE broken_off TO PUBLIC;
            CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('broken_off') <= {times} THEN RAISE 'broken off' USING ERRCODE = '{state}'; END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER break_off AFTER INSERT OR UPDATE ON {table} EXECUTE FUNCTION break_off();
        """)
    finally:
        await connection.close()


@asynccontextmanager
async def hurrying(made: Bench) -> AsyncIterator[None]:
    """Move the clock on to whatever waits, so that no test does."""

    async def hurry() -> None:
        while True:
            waiting = [one.next_run_at for one in await made.unfinished() if one.next_run_at and not one.held_by]
            if waiting:
                made.clock.move_to(min(waiting))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(hurry())
    try:
        yield
    finally:
        task.cancel()


async def ends_as_if_undisturbed(made: Bench, undisturbed: object) -> None:
    """Every run succeeded, once, having counted no failure as its own, and the same stands."""
    runs = await made.runs()
    assert {run.status for run in runs} == {"succeeded"}
    assert len(runs) == len(await made.schedules())
    assert {one.attempt for one in await made.schedules()} == {0}
    assert what_stands(await take_snapshot(made)) == undisturbed


async def once_reachable(look: Awaitable[T]) -> T | None:
    """What there is to see, or nothing while the database is away."""
    try:
        return await look
    except Exception as error:
        if not is_passing(error):
            raise
        return None
