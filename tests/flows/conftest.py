"""A sandbox for the session, as at its start for each test, and benches connected to it, each in a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest
from tests.flows.bench import Bench, MovableClock, Sandbox, connected, parts_over, start_sandbox

from tieline.store.connections import Connection
from tieline.store.db import Db
from tieline.vault import LocalKeyRing

NewDatabase = Callable[[str], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def small_sandbox() -> Iterator[Sandbox]:
    with start_sandbox(240) as running:
        yield running


@pytest.fixture
def sandbox(small_sandbox: Sandbox) -> Sandbox:
    """A company of 240 people, whose people, authenticators and devices take two pages each, as at its start."""
    small_sandbox.control("reset")
    return small_sandbox


@pytest.fixture(scope="session")
def new_database(server: str) -> NewDatabase:
    """Copies a database, by name; gives the URL of the copy for as long as the block lasts."""

    @contextmanager
    def copied(template: str) -> Iterator[str]:
        name = f"copy_{uuid4().hex[:12]}"
        asyncio.run(_execute(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
        yield _named(server, name)
        asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))

    return copied


@pytest.fixture
def database_of_its_own(new_database: NewDatabase, template: str) -> Iterator[str]:
    with new_database(template) as url:
        yield url


@pytest.fixture
async def bench(database_of_its_own: str, ring: LocalKeyRing, sandbox: Sandbox) -> AsyncIterator[Bench]:
    """A connection to the sandbox whose first syncs are queued."""
    async with connected(database_of_its_own, ring, sandbox) as made:
        yield made


@pytest.fixture(scope="session")
def synced_once(
    new_database: NewDatabase, template: str, ring: LocalKeyRing, small_sandbox: Sandbox
) -> Iterator[tuple[str, Connection]]:
    """The name of a database in which every operation has run once, and its connection."""
    small_sandbox.control("reset")

    async def sync_once(url: str) -> Connection:
        async with connected(url, ring, small_sandbox) as bench:
            await bench.drain()
            return bench.connection

    with new_database(template) as url:
        connection = asyncio.run(sync_once(url))
        yield url.partition("?")[0].rpartition("/")[2], connection


@pytest.fixture
def database_synced_once(new_database: NewDatabase, synced_once: tuple[str, Connection]) -> Iterator[str]:
    with new_database(synced_once[0]) as url:
        yield url


@pytest.fixture
async def synced(
    database_synced_once: str, synced_once: tuple[str, Connection], ring: LocalKeyRing, sandbox: Sandbox
) -> AsyncIterator[Bench]:
    """A connection to the sandbox whose operations have all run once."""
    db, clock = Db(database_synced_once, pool_size=6), MovableClock()
    yield Bench(parts_over(db, ring, clock), clock, sandbox, replace(synced_once[1]))
    await db.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _named(url: str, database: str) -> str:
    """The same server's URL for another database."""
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{database}" + (f"?{query}" if query else "")
