"""A whole Tieline as an operator sets it up: by settings alone, for vendors that are counterparts on the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from tests.consent import address_in, agree
from tests.emulators.emulate import Counterpart, app_key
from tests.emulators.person import walk
from tests.emulators.vendors import PUBLIC, SECRET, SLUGS, vendors_for_all  # noqa: F401  a fixture

from tieline.access.api_keys import create_key
from tieline.app import Tieline, running
from tieline.clock import SystemClock
from tieline.flows.credentials import open_credential
from tieline.flows.organizations import create_organization
from tieline.sdk import Grant
from tieline.settings import read_settings
from tieline.store.connections import get_connection

Start = Callable[..., AbstractAsyncContextManager["Site"]]


@dataclass
class Ahead:
    """A clock that is right but for the time that a test has let pass."""

    by: timedelta = timedelta()

    def now(self) -> datetime:
        return SystemClock().now() + self.by


@dataclass
class Tenant:
    """An organization at the site, through the REST API with its administrator's key."""

    site: Site
    org_id: str
    client: httpx2.AsyncClient

    async def ask(self, method: str, path: str, *, status: int = 200, **how: Any) -> Any:
        """Ask the API; the answer must have this status."""
        answer = await self.client.request(method, f"/v1{path}", **how)
        assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
        return answer.json()

    async def sign_in(self, provider: str, *logins: str, change: Callable[..., Any] = dict, **wish: Any) -> Any:
        """Go to the provider and come back, in as many rounds as there are people to be; the attempt at its end.

        `change` is given what each round comes back with, and makes of it what the browser really brings.
        """
        begun = await self.ask("POST", "/oauth/start", status=201, json={"provider": provider, **wish})
        async with self.site.browser() as browser:
            there = address_in((await agree(browser, begun["url"])).text)
            for login in logins:
                assert there
                back = await asyncio.to_thread(_come_back, there, login, change)
                sent = await browser.get(f"/v1/oauth/callback/{provider}", params=back)
                there = sent.headers.get("location", "")
        return await self.ask("GET", f"/oauth/attempts/{begun['id']}")

    async def connected(self, provider: str, *logins: str, **how: Any) -> dict[str, Any]:
        """The connection that came of signing in."""
        attempt = await self.sign_in(provider, *logins, **how)
        assert attempt["status"] == "connected", attempt["reason"]
        return await self.connection(attempt["connection_id"])

    async def give(
        self, provider: str, by: str, credential: dict[str, Any], *, status: int = 201, **options: Any
    ) -> Any:
        """Connect with a credential, or be refused with this status."""
        body = {"provider": provider, "by": by, "credential": credential, "options": options}
        return await self.ask("POST", "/connections", status=status, json=body)

    async def connection(self, connection_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask("GET", f"/connections/{connection_id}")
        return found

    async def connections(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await self.ask("GET", "/connections"))["items"]
        return listed

    async def runs(self, connection: dict[str, Any]) -> dict[str, str]:
        """How the newest run of each operation ended, after a worker did all that there was to do."""
        await self.site.drain(self)
        listed = (await self.ask("GET", f"/runs?connection_id={connection['id']}&limit=200"))["items"]
        return {run["operation"]: run["status"] for run in sorted(listed, key=lambda run: run["id"])}

    async def sync(self, connection: dict[str, Any], operation: str | None = None) -> dict[str, str]:
        """Sync once more; how the runs ended."""
        wish = {"operation": operation} if operation else {}
        await self.ask("POST", f"/connections/{connection['id']}/sync", status=202, json=wish)
        return await self.runs(connection)

    async def read(self, kind: str, connection: dict[str, Any]) -> list[dict[str, Any]]:
        """The entities of a kind that a connection brought."""
        path = f"/entities?kind={kind}&connection_id={connection['id']}&limit=200"
        items: list[dict[str, Any]] = (await self.ask("GET", path))["items"]
        return items

    async def grant(self, connection: dict[str, Any]) -> Grant:
        """The grant that the vault holds."""
        parts = self.site.tieline.parts
        async with parts.db.work(self.org_id) as work:
            row = await get_connection(work, connection["id"])
            held = await open_credential(work, parts, parts.catalog.provider(row.provider), row)
        assert isinstance(held.credential, Grant)
        return held.credential

    async def disconnect(self, connection: dict[str, Any]) -> tuple[int, int]:
        """How many credentials the provider was told to forget, and how many it is still to be told of."""
        ended = await self.ask("DELETE", f"/connections/{connection['id']}")
        return ended["revoked"], ended["to_revoke"]


@dataclass
class Site:
    """A running Tieline."""

    tieline: Tieline
    clock: Ahead
    app: Any

    def browser(self) -> httpx2.AsyncClient:
        """Another browser, which follows no redirect."""
        return self.client()

    def client(self, **more: Any) -> httpx2.AsyncClient:
        public = self.tieline.parts.public_url
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url=public, **more)

    async def tenant(self) -> Tenant:
        """Another organization."""
        parts = self.tieline.parts
        made = await create_organization(parts, slug=f"org-{uuid4().hex[:12]}", name="Test")
        async with parts.db.work(made.id) as work:
            key = await create_key(work, self.tieline.ring.api_key_pepper, name="k", role="admin", now=self.clock.now())
        return Tenant(self, made.id, self.client(headers={"X-API-Key": key.plain}))

    def let_pass(self, *, minutes: int) -> None:
        """Let time pass."""
        self.clock.by += timedelta(minutes=minutes)

    async def drain(self, tenant: Tenant) -> None:
        """Let a worker work until no run is left that could go on within half a minute."""
        stop = asyncio.Event()
        worker = asyncio.create_task(self.tieline.engine().run(until=stop))
        try:
            async with asyncio.timeout(60):
                while await self._is_busy(tenant):
                    await asyncio.sleep(0.05)
        finally:
            stop.set()
            await worker

    async def _is_busy(self, tenant: Tenant) -> bool:
        soon = self.clock.now() + timedelta(seconds=30)
        found = (await tenant.ask("GET", "/runs?limit=200"))["items"]
        return any(
            run["status"] in ("queued", "running")
            and (run["resume_at"] is None or datetime.fromisoformat(run["resume_at"]) < soon)
            for run in found
        )


@pytest.fixture
def start(fresh_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a Tieline as `tieline serve` would, with these settings besides (`HOST_GITHUB_API="http://…"`)."""

    @asynccontextmanager
    async def started(public_url: str = PUBLIC, **settings: str) -> AsyncIterator[Site]:
        given = {
            "DATABASE_URL": fresh_database_url, "DATA_DIR": str(tmp_path), "PUBLIC_URL": public_url,
            "ALLOW_PRIVATE_ADDRESSES": "127.0.0.1", "HEARTBEAT_SECONDS": "2", **settings,
        }  # fmt: skip
        for name, value in given.items():
            monkeypatch.setenv(f"TIELINE_{name}", value)
        clock = Ahead()
        async with running(read_settings()) as tieline:
            timed = replace(tieline, parts=replace(tieline.parts, clock=clock))
            yield Site(timed, clock, timed.api())

    return started


@pytest.fixture
def vendor(vendors_for_all: dict[str, Counterpart], start: Start) -> Callable[[str], Any]:  # noqa: F811
    """Start one of the vendors anew, and a Tieline that its operator has pointed there."""

    @asynccontextmanager
    async def opened(name: str) -> AsyncIterator[tuple[Counterpart, Tenant]]:
        counterpart = vendors_for_all[name]
        await asyncio.to_thread(counterpart.reset)
        async with start(**settings_for(name, counterpart.url)) as site:
            yield counterpart, await site.tenant()

    return opened


def _come_back(url: str, login: str, change: Callable[..., Any]) -> Any:
    return change(walk(url, login=login))


def settings_for(name: str, url: str) -> dict[str, str]:
    """What an operator sets: the app at the vendor, and the vendor's addresses."""
    slug = SLUGS[name].upper().replace("-", "_")
    app = {"CLIENT_ID": f"tieline-{name}", "CLIENT_SECRET": SECRET}
    if name == "github":
        app |= {"PRIVATE_KEY": app_key().replace("\n", "\\n"), "APP_ID": "12345", "SLUG": "tieline"}
    hosts = {
        "github": {"API": url, "WEB": url, "BASE_URL": url},
        "google": {"ADMIN": url, "ACCOUNTS": url, "OAUTH": f"{url}/oauth2"},
        "linear": {"WEB": url, "API": url},
        "microsoft": {"LOGIN": url, "GRAPH": url},
        "okta": {},
        "slack": {"WEB": url, "API": f"{url}/api"},
    }[name]
    return {f"OAUTH_{slug}_{field}": value for field, value in app.items()} | {
        f"HOST_{slug}_{host}": value for host, value in hosts.items()
    }
