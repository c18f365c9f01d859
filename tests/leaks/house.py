"""A whole Tieline over a database of its own, as its API and its tables show it."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx2
from sqlalchemy import make_url
from tests.canaries import hatch
from tests.leaks.careless import Careless
from tests.leaks.watching import Watch

from tieline.access.api_keys import create_key
from tieline.api.app import create_api
from tieline.catalog import compile_catalog, load_catalog
from tieline.clock import Clock, SystemClock
from tieline.engine import Engine
from tieline.flows.parts import Parts
from tieline.flows.sync import run_sync
from tieline.sdk import Account, Identity, LinkHeader, Provider
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.provider import Options
from tieline.store.db import Db
from tieline.store.organizations import create_organization
from tieline.vault import LocalKeyRing, Vault

PUBLIC = "https://tieline.test"
ITEM = re.compile(r"\{(\w+)\}")


class Address(Options):
    """Where a provider is."""

    base_url: str


def provider(slug: str, *ways: Any, **more: Any) -> Provider[Any]:
    """A provider at an address that each connection gives, if not told otherwise."""
    usual = {"identity": Identity("/me", id="id", name="name"), "base_url": "{base_url}", "options": Address}
    given: dict[str, Any] = usual | more
    made: Provider[Any] = Provider(slug=slug, name=slug.title(), category="hr", auth=list(ways), **given)
    made.listing(
        "people",
        "/people",
        into=Account.map(external_id="payload.id", email="payload.email", mfa="payload.mfa"),
        every="1h",
        pages=LinkHeader(),
    )
    return made


@dataclass
class House:
    """The running Tieline, a client with an operator's key, and the watch over all that is shown."""

    parts: Parts
    client: httpx2.AsyncClient
    watch: Watch
    careless: Careless
    url: str
    org_id: str
    app: Any

    def browser(self) -> httpx2.AsyncClient:
        """A person's browser, which has no key."""
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url=PUBLIC)

    async def ask(self, method: str, path: str, **how: Any) -> Any:
        """A request, whose answer is noted."""
        answer = await self.client.request(method, path, **how)
        self.watch.note(f"{method} {path} → {answer.status_code}", f"{answer.headers!r} {answer.text}")
        return answer

    async def connect(self, slug: str, account: str, credential: Any, **more: Any) -> Any:
        """Connect an account of the careless side."""
        options = {"endpoint_url" if slug == "aws" else "base_url": f"{self.careless.url}/{account}"}
        return await self.ask("POST", "/v1/connections", json={"provider": slug, "options": options, "credential": credential} | more)  # fmt: skip

    async def run_what_is_due(self) -> None:
        """Let a worker run until nothing runs or waits for one."""

        async def sync(hold: Any) -> None:
            await run_sync(self.parts, hold)

        stop = asyncio.Event()
        engine = asyncio.create_task(Engine(self.parts.db, {"sync": sync}, clock=SystemClock()).run(until=stop))
        while await self.count(
            "SELECT count(*) FROM schedules WHERE held_by IS NOT NULL OR (enabled AND next_run_at <= now())"
        ):
            await asyncio.sleep(0.1)
        stop.set()
        await engine

    async def count(self, query: str) -> int:
        """One number from the database."""
        connection = await asyncpg.connect(self.url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    async def look_everywhere(self) -> None:
        """Every row of every table as text, and every page of the API."""
        await self._look_at_tables()
        lists: dict[str, list[dict[str, Any]]] = {}
        described = (await self.ask("GET", "/openapi.json")).json()
        reads = {path: str(methods["get"]) for path, methods in described["paths"].items() if "get" in methods}
        paths = [path for path, told in reads.items() if "/oauth/" not in path and "event-stream" not in told]
        for path in [*paths, "/docs"]:
            if "{" not in path:
                answer = await self.ask("GET", path)
                assert answer.status_code in {200, 422}, f"{path}: {answer.text}"  # some need a parameter
                found = answer.json().get("items") if "json" in answer.headers["content-type"] else None
                lists[path] = found if isinstance(found, list) else []
        for path in paths:
            head = path.partition("/{")[0]
            for item in lists.get(head, [])[:60]:
                if ITEM.search(path):
                    await self.ask("GET", ITEM.sub(str(item.get("id") or item.get("slug")), path))

    async def _look_at_tables(self) -> None:
        connection = await asyncpg.connect(self.url)
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        assert len(tables) > 20
        for (table,) in tables:
            out = io.BytesIO()
            await connection.copy_from_query(f"SELECT * FROM {table}", output=out)
            self.watch.note(f"table {table}", out.getvalue().decode())
        await connection.close()


@asynccontextmanager
async def living(
    url: str,
    ring: LocalKeyRing,
    watch: Watch,
    careless: Careless,
    *,
    providers: Iterable[Provider[Any]],
    clock: Clock | None = None,
    **parts: Any,
) -> AsyncIterator[House]:
    """A house with these providers besides AWS, whose database has a password and whose API key is a canary."""
    password = hatch("database password", after="/@:")
    watch.canaries.append(password)
    secret_url = make_url(url).set(password=password.text).render_as_string(hide_password=False)
    known = load_catalog()
    catalog = compile_catalog(
        [*providers, known.provider("aws")], [one for one in known.checks if one.provider is None]
    )
    clock, db = clock or SystemClock(), Db(secret_url)
    given: Mapping[str, Any] = {"public_url": PUBLIC} | parts
    made = Parts(db, catalog, Vault(ring), clock, AddressPolicy.parse("127.0.0.1"), ring, **given)
    async with db.system() as work:
        organization = await create_organization(work, slug="acme", name="Acme", now=clock.now())
    async with db.work(organization.id) as work:
        key = await create_key(work, ring.api_key_pepper, name="tests", role="operator", now=clock.now())
    watch.add("API key", key.plain)
    watch.add("API key's secret", key.plain[16:])
    watch.note_objects("house", [made, db, key, ring, made.vault])
    app = create_api(made, ring)
    headers = {"X-API-Key": key.plain}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=PUBLIC, headers=headers) as client:
        yield House(made, client, watch, careless, url, organization.id, app)
    await db.close()
