"""What all tests share: one real PostgreSQL for the session, and a fresh organization, or a fresh database, for each test."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from fastapi import FastAPI
from hypothesis import settings
from tests.emulators.emulate import Emulated, MissingCounterpartError, start_emulate
from tests.emulators.oidc import oidc, oidc_for_all  # noqa: F401  fixtures

from tieline.api.app import create_api
from tieline.catalog import load_catalog
from tieline.clock import SystemClock
from tieline.flows.parts import Parts
from tieline.sdk.addresses import AddressPolicy
from tieline.store.db import Db
from tieline.store.embedded import running
from tieline.store.migrate import migrate
from tieline.store.organizations import Organization, create_organization
from tieline.vault import LocalKeyRing, Vault

# A busy machine makes any example take long, so none has a deadline. What a test asks for is a multiple of the profile's number.
settings.register_profile("brief", deadline=None, max_examples=30)
settings.register_profile("deep", deadline=None, max_examples=1_000)  # pytest --hypothesis-profile deep
settings.load_profile("brief")

# A shell's background job ignores interrupts, and so would all that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TOGETHER = ("api", "audit", "cli", "leaks", "web")
"""Folders whose tests share what takes long to furnish: each is given to one process, so that it is furnished once."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of such a folder together."""
    here = Path(__file__).parent
    for item in items:
        for folder in TOGETHER:
            if item.path.is_relative_to(here / folder):
                item.add_marker(pytest.mark.xdist_group(folder))


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once what has failed: a check that is cut off never comes to the summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        told = getattr(getattr(report.longrepr, "reprcrash", None), "message", "") or str(report.longrepr)
        sys.stderr.write(f"\nfailed in its {report.when}: {report.nodeid}: {told[:2_000]}\n")


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder that another account can pass through: run as root, PostgreSQL works as an account of its own."""
    path = Path(tempfile.mkdtemp(prefix="tieline-tests-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server(place: Path) -> Iterator[str]:
    """The URL of the session's PostgreSQL."""
    if url := os.environ.get("TIELINE_TEST_DATABASE_URL"):
        yield url
        return
    with running(place / "data", state_dir=place / "state") as started:
        # What a crash of the machine would lose does not matter here; those of processes lose nothing by it.
        asyncio.run(_run(started.url, "ALTER ROLE ALL SET synchronous_commit = off"))
        yield started.url


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """The name of a migrated database from which others are copied."""
    name = f"template_{uuid4().hex[:12]}"
    asyncio.run(_run(server, f"CREATE DATABASE {name}"))
    asyncio.run(migrate(named(server, name)))
    return name


@pytest.fixture(scope="session")
def database_url(server: str, template: str) -> str:
    """A migrated database that the tests of a session share, each in an organization of its own."""
    name = f"shared_{uuid4().hex[:12]}"
    asyncio.run(_run(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    return named(server, name)


@pytest.fixture
def fresh_database_url(server: str, template: str) -> Iterator[str]:
    """A migrated database for this test alone."""
    name = f"fresh_{uuid4().hex[:12]}"
    asyncio.run(_run(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield named(server, name)
    asyncio.run(_run(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def ring() -> LocalKeyRing:
    """A key ring."""
    return LocalKeyRing.generate()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Db]:
    """The shared database."""
    opened = Db(database_url, pool_size=5)
    yield opened
    await opened.close()


@pytest.fixture
async def organization(db: Db) -> Organization:
    """An organization for this test alone."""
    return await new_organization(db)


@pytest.fixture
def parts(db: Db, ring: LocalKeyRing) -> Parts:
    """The parts of a running Tieline that may reach loopback."""
    return parts_of(db, ring)


@pytest.fixture
def make_organization(db: Db) -> Callable[[], object]:
    """Make further organizations."""
    return lambda: new_organization(db)


@pytest.fixture(scope="session")
def assembled(database_url: str, ring: LocalKeyRing) -> FastAPI:
    """The API; a test that uses it gives `state` its own parts. Putting it together takes longer than most tests."""
    return create_api(parts_of(Db(database_url), ring), ring)


@pytest.fixture(scope="session")
def emulated_for_all() -> Iterator[Emulated]:
    """GitHub and Okta as the npm package `emulate` plays them, or a skip that says what is missing."""
    try:
        with start_emulate(users=250) as started:
            yield started
    except MissingCounterpartError as error:
        pytest.skip(str(error))


@pytest.fixture
def emulated(emulated_for_all: Emulated) -> Emulated:
    """GitHub and Okta, fresh from their seed."""
    emulated_for_all.reset()
    return emulated_for_all


def parts_of(db: Db, ring: LocalKeyRing) -> Parts:
    """The parts over a database."""
    return Parts(db, load_catalog(), Vault(ring), SystemClock(), AddressPolicy.parse("127.0.0.1"), ring)


async def new_organization(db: Db) -> Organization:
    """A new organization with a name of its own."""
    async with db.system() as work:
        return await create_organization(work, slug=f"org-{uuid4().hex[:12]}", name="Test", now=SystemClock().now())


def named(url: str, database: str) -> str:
    """The same server's URL for another database."""
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{database}" + (f"?{query}" if query else "")


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
