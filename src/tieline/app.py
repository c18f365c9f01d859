"""The composition root: reads the settings, builds the parts, hands them down."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from tieline.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI
    from pydantic import SecretStr
    from starlette.applications import Starlette

    from tieline.access.sso import Sso
    from tieline.clock import Clock
    from tieline.engine import Engine
    from tieline.flows.parts import Parts
    from tieline.flows.readings import Readings
    from tieline.settings import Settings
    from tieline.store.db import Db
    from tieline.store.organizations import Organization
    from tieline.vault import ComposedKeys, LocalKeyRing, ServiceSettings

DEFAULT_ORGANIZATION = "default"
_DATA_DIR = "Set TIELINE_DATA_DIR to a directory that this account may write to."


@dataclass(frozen=True)
class Tieline:
    """A running Tieline: its parts, its keys, and the default organization."""

    settings: Settings
    parts: Parts
    ring: LocalKeyRing
    organization: Organization
    readings: Readings

    @property
    def metrics_token(self) -> SecretStr | None:
        """The token of whoever may read metrics."""
        return self.settings.metrics_token

    def engine(self, role: str = "worker") -> Engine:
        """A worker that carries out what is due, beside any others; `role` is how the process was started.

        A page is tens of thousands of objects without a cycle among them. So the collector looks for cycles less often, and not
        among what was loaded at the start.
        """
        from tieline.access.actor import acting_as
        from tieline.engine import Engine, EngineLimits
        from tieline.flows.sync import run_sync
        from tieline.flows.upkeep import upkeep

        async def sync(hold: Any) -> None:
            with acting_as("engine"):
                await run_sync(self.parts, hold)

        if not gc.get_freeze_count():
            gc.freeze()
            gc.set_threshold(10_000, 10, 10)
        beat = self.settings.heartbeat
        limits = EngineLimits(
            slots=self.settings.worker_slots,
            org_cap=self.settings.org_slots,
            provider_cap=self.settings.provider_slots,
            heartbeat=beat,
            reconcile=min(timedelta(minutes=1), 2 * beat),
            stale_after=self.settings.stale_after,
        )
        return Engine(
            self.parts.db,
            {"sync": sync},
            clock=self.parts.clock,
            limits=limits,
            upkeep=partial(upkeep, self.parts),
            role=role,
        )

    def api(self) -> FastAPI:
        """The REST API and the console over these parts."""
        from tieline.api.app import create_api
        from tieline.connect.app import add_connect
        from tieline.web.app import add_console

        api = create_api(self.parts, self.ring, readings=self.readings, metrics_token=self.metrics_token)
        add_console(api)
        add_connect(api)
        return api

    def metrics(self) -> Starlette:
        """`/metrics` alone, for a port of its own."""
        from tieline.api.metrics import create_metrics

        return create_metrics(self.readings, self.metrics_token)


@asynccontextmanager
async def running(settings: Settings, *, role: str = "command") -> AsyncIterator[Tieline]:
    """Start what the settings ask for (database, migrations, keys, catalog), and stop it again at the end; `role` says what for.

    Raises `SetupError` with advice where something is missing or refused.
    """
    with ExitStack() as stack:
        with ThreadPoolExecutor(1) as starter:  # it is waited for, whatever happens: nobody would stop what it starts
            url = starter.submit(stack.enter_context, _database(settings))
            _load()
        async with _opened(settings, url.result(), role) as tieline:
            yield tieline


def _load() -> None:
    """Import most of what will be needed, and compile the catalog: there is time for it while the database starts."""
    from tieline.catalog import load_catalog
    from tieline.flows import readings  # noqa: F401

    load_catalog()


@dataclass(frozen=True)
class Reached:
    """A database and keys as they are, in which nothing was made or migrated: to restore a backup into."""

    url: str
    parts: Parts
    keys: ComposedKeys


@asynccontextmanager
async def reaching(settings: Settings, key_ring: Path | None = None) -> AsyncIterator[Reached]:
    """Reach the database and the keys that the settings name, or another file's keys; raises `SetupError`."""
    from tieline.clock import SystemClock
    from tieline.errors import KeyRingError
    from tieline.store.db import Db
    from tieline.vault import load_or_create

    path = key_ring or settings.key_ring_path
    if not path.exists():
        told = f"There is no key ring at {path}, without which a backup is not restored"
        raise KeyRingError(told, advice="Name the copy that was kept apart: --key-ring FILE")
    ring = load_or_create(path, may_create=False)
    with _database(settings) as url:
        db, keys = Db(url), _compose(settings, path, ring)
        try:
            yield Reached(url, _assemble(settings, db, ring, keys, SystemClock()), keys)
        finally:
            await keys.close()
            await db.close()


@asynccontextmanager
async def _opened(settings: Settings, url: str, role: str) -> AsyncIterator[Tieline]:
    from tieline.clock import SteadyClock
    from tieline.flows.readings import Readings
    from tieline.store.db import Db
    from tieline.store.migrate import migrate
    from tieline.store.shared_time import in_step

    await migrate(url)
    db = Db(url, pool_size=max(10, settings.worker_slots + 2))
    try:
        await db.verify()
        clock = SteadyClock()
        async with in_step(db, clock), _keys(settings, db) as (ring, keys):
            parts = _assemble(settings, db, ring, keys, clock)
            async with _telling(Readings(parts, role=role, data_dir=settings.data_dir), role) as readings:
                yield Tieline(settings, parts, ring, await _default_organization(parts), readings)
    finally:
        await db.close()


@asynccontextmanager
async def _telling(readings: Readings, role: str) -> AsyncIterator[Readings]:
    """Send traces and metrics, if the environment says where to, while the block runs; a command must not wait for that at its end."""
    from tieline.telemetry import observe_readings, turned_on

    with nullcontext(False) if role == "command" else turned_on() as sends_metrics:
        if not sends_metrics:
            yield readings
            return
        observe_readings(lambda: readings.last)
        looking = asyncio.create_task(readings.keep_looking(timedelta(seconds=15)))
        try:
            yield readings
        finally:
            looking.cancel()


def _assemble(settings: Settings, db: Db, ring: LocalKeyRing, keys: ComposedKeys, clock: Clock) -> Parts:
    from tieline.catalog import load_catalog
    from tieline.flows.parts import Parts
    from tieline.vault import Vault

    catalog = load_catalog()
    return Parts(
        db,
        catalog,
        Vault(keys),
        clock,
        settings.address_policy,
        ring,
        settings.brake_share,
        apps=settings.apps_by_provider(catalog.providers),
        hosts=settings.hosts_by_provider({slug: one.hosts for slug, one in catalog.providers.items()}),
        public_url=settings.public_url,
        return_origins=settings.origins,
        history_days=settings.history_days_of_kinds,
        sso=_sso(settings, clock),
        settings=_describe_settings(settings),
    )


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


@asynccontextmanager
async def _keys(settings: Settings, db: Db) -> AsyncIterator[tuple[LocalKeyRing, ComposedKeys]]:
    """The key ring, made on the first start, and the key services; refused where a key is missing that stored data needs."""
    from tieline.errors import KeyRingError
    from tieline.store.sealed import keys_in_use
    from tieline.vault import load_or_create

    async with db.system() as work:
        needed = await keys_in_use(work)
    ring = load_or_create(settings.key_ring_path, may_create=not needed)
    keys = _compose(settings, settings.key_ring_path, ring)
    if lost := sorted(key_id for key_id in needed if not keys.knows(key_id)):
        raise KeyRingError(
            f"{len(lost)} key(s) are missing that stored credentials were sealed with: {', '.join(lost[:3])}",
            advice="Put the key ring back, or name the key service in TIELINE_FORMER_KEY_SERVICES.",
        )
    try:
        yield ring, keys
    finally:
        await keys.close()


def _compose(settings: Settings, path: Path, ring: LocalKeyRing) -> ComposedKeys:
    """The key ring's file and the key services as one."""
    from tieline.vault import KeyRingFile, compose_keys

    return compose_keys(KeyRingFile(path, ring), _key_services(settings))


def _key_services(settings: Settings) -> ServiceSettings:
    from tieline.vault import ServiceSettings

    token = settings.transit_token
    return ServiceSettings(
        current=settings.key_service,
        former=[one.strip() for one in settings.former_key_services.split(",") if one.strip()],
        aws_endpoint=settings.aws_kms_endpoint,
        gcp_endpoint=settings.gcp_kms_endpoint,
        gcp_credentials=settings.gcp_credentials,
        gcp_metadata=settings.gcp_metadata,
        transit_token=token.get_secret_value() if token else None,
        transit_token_path=settings.transit_token_path,
        transit_namespace=settings.transit_namespace,
    )


def _sso(settings: Settings, clock: Clock) -> Sso | None:
    """The OpenID provider that members may sign in at, if one is set up."""
    from tieline.access.sso import Sso

    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    secret = settings.oidc_client_secret
    return Sso(settings.oidc_issuer, settings.oidc_client_id, secret, settings.address_policy, clock)


async def _default_organization(parts: Parts) -> Organization:
    """The organization named `default`, made on the first start, whoever comes first."""
    from tieline.errors import Conflict, NotFound
    from tieline.flows.organizations import create_organization
    from tieline.store.organizations import find_organization

    try:
        async with parts.db.system() as work:
            return await find_organization(work, DEFAULT_ORGANIZATION)
    except NotFound:
        pass
    try:
        return await create_organization(parts, slug=DEFAULT_ORGANIZATION, name="Default")
    except Conflict:
        async with parts.db.system() as work:
            return await find_organization(work, DEFAULT_ORGANIZATION)


def create_app(settings: Settings | None = None) -> FastAPI:
    """A FastAPI application to mount in a host: it starts Tieline with itself, workers included, and stops it too."""
    from tieline.api.app import create_mounted
    from tieline.connect.app import add_connect
    from tieline.settings import read_settings
    from tieline.web.app import add_console

    @asynccontextmanager
    async def started() -> AsyncIterator[Tieline]:
        async with running(settings or read_settings(), role="mounted") as tieline:
            stop = asyncio.Event()
            worker = asyncio.create_task(tieline.engine("mounted").run(until=stop))
            try:
                yield tieline
            finally:
                stop.set()
                await worker

    api = create_mounted(started)
    add_console(api)
    add_connect(api)
    return api


def main() -> None:
    """The `tieline` command. What it needs is imported when it is needed, so that `--help` is quick."""
    # All that is loaded stays: to look for cycles in it again and again is a tenth of a start.
    gc.set_threshold(200_000)
    from tieline.cli import run

    run(read_settings=_read_settings, describe_settings=_describe_settings, running=running, reaching=reaching)


def _read_settings(**given: Any) -> Settings:
    from tieline.settings import read_settings

    return read_settings(**given)


def _describe_settings(settings: Settings) -> list[dict[str, Any]]:
    from tieline.settings import describe_settings

    return describe_settings(settings)
