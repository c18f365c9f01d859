"""The composition root: reads the settings, builds the parts, hands them down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tieline.errors import SetupError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tieline.engine import Engine
    from tieline.flows.parts import Parts
    from tieline.settings import Settings
    from tieline.store.organizations import Organization
    from tieline.vault import LocalKeyRing

DEFAULT_ORGANIZATION = "default"
_DATA_DIR = "Set TIELINE_DATA_DIR to a directory that this account may write to."


@dataclass(frozen=True)
class Tieline:
    """A running Tieline: its parts, its keys, and the default organization."""

    settings: Settings
    parts: Parts
    ring: LocalKeyRing
    organization: Organization

    def engine(self) -> Engine:
        """A worker that carries out what is due, beside any others."""
        from tieline.engine import Engine, EngineLimits
        from tieline.flows.sync import run_sync

        async def sync(hold: Any) -> None:
            await run_sync(self.parts, hold)

        beat = timedelta(seconds=self.settings.heartbeat_seconds)
        limits = EngineLimits(
            slots=self.settings.worker_slots,
            org_cap=self.settings.org_slots,
            provider_cap=self.settings.provider_slots,
            heartbeat=beat,
            reconcile=min(timedelta(minutes=1), 2 * beat),
            stale_after=max(4 * beat, timedelta(seconds=5)),
        )
        return Engine(self.parts.db, {"sync": sync}, clock=self.parts.clock, limits=limits)

    def api(self) -> FastAPI:
        """The REST API over these parts."""
        from tieline.api.app import create_api

        return create_api(self.parts, self.ring)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Tieline]:
    """Start what the settings ask for (database, migrations, keys, catalog), and stop it again at the end.

    Raises `SetupError` with advice where something is missing or refused.
    """
    with _database(settings) as url:
        async with _opened(settings, url) as tieline:
            yield tieline


@asynccontextmanager
async def _opened(settings: Settings, url: str) -> AsyncIterator[Tieline]:
    from tieline.catalog import load_catalog
    from tieline.clock import SystemClock
    from tieline.flows.parts import Parts
    from tieline.store.db import Db
    from tieline.store.migrate import migrate
    from tieline.vault import KeyRingFile, Vault

    await migrate(url)
    db = Db(url)
    try:
        await db.verify()
        clock = SystemClock()
        ring = await _open_ring(settings, db)
        organization = await _default_organization(db, clock)
        policy = settings.address_policy
        parts = Parts(
            db, load_catalog(), Vault(KeyRingFile(settings.key_ring_path, ring)), clock, policy, settings.brake_share
        )
        yield Tieline(settings, parts, ring, organization)
    finally:
        await db.close()


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """The database's URL while it is in use: the operator's own, or that of the embedded server."""
    from tieline.store.embedded import running as embedded

    if settings.database_url is None:
        with embedded(settings.data_dir, state_dir=settings.state_dir) as server:
            yield server.url
        return
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        raise SetupError(f"The data directory {settings.data_dir} cannot be made", advice=_DATA_DIR) from None
    yield settings.database_url.get_secret_value()


async def _open_ring(settings: Settings, db: Any) -> LocalKeyRing:
    """The key ring, made on the first start; refused when it is missing, or lacks a key, for data that exists."""
    from tieline.errors import KeyRingError
    from tieline.store.credentials import keys_in_use
    from tieline.vault import load_or_create

    async with db.system() as work:
        needed = await keys_in_use(work)
    ring = load_or_create(settings.key_ring_path, may_create=not needed)
    if lost := needed - set(ring.ids):
        raise KeyRingError(f"The key ring lacks {len(lost)} key(s) that stored credentials were sealed with")
    return ring


async def _default_organization(db: Any, clock: Any) -> Organization:
    """The organization named `default`, made on the first start, whoever comes first."""
    from tieline.errors import Conflict, NotFound
    from tieline.store.organizations import create_organization, find_organization

    try:
        async with db.system() as work:
            return await find_organization(work, DEFAULT_ORGANIZATION)
    except NotFound:
        pass
    try:
        async with db.system() as work:
            return await create_organization(work, slug=DEFAULT_ORGANIZATION, name="Default", now=clock.now())
    except Conflict:
        async with db.system() as work:
            return await find_organization(work, DEFAULT_ORGANIZATION)


def create_app(settings: Settings | None = None) -> FastAPI:
    """A FastAPI application to mount in a host: it starts Tieline with itself, workers included, and stops it too."""
    from tieline.api.app import create_mounted
    from tieline.settings import read_settings

    @asynccontextmanager
    async def started() -> AsyncIterator[Tieline]:
        async with running(settings or read_settings()) as tieline:
            stop = asyncio.Event()
            worker = asyncio.create_task(tieline.engine().run(until=stop))
            try:
                yield tieline
            finally:
                stop.set()
                await worker

    return create_mounted(started)


def main() -> None:
    """The `tieline` command. What it needs is imported when it is needed, so that `--help` is quick."""
    from tieline.cli import run

    run(read_settings=_read_settings, describe_settings=_describe_settings, running=running)


def _read_settings(**given: Any) -> Settings:
    from tieline.settings import read_settings

    return read_settings(**given)


def _describe_settings(settings: Settings) -> list[dict[str, Any]]:
    from tieline.settings import describe_settings

    return describe_settings(settings)
