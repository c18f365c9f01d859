"""A database of the API tests' own, with one organization that has synced a small sandbox, and clients with keys of every role."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from tests.api.shapes import ROLES, SANDBOX_TOKEN, Scene

from tieline.access.api_keys import create_key
from tieline.access.roles import Role
from tieline.api.app import create_api
from tieline.catalog import load_catalog
from tieline.clock import SetClock, SystemClock
from tieline.flows.apps import save_app
from tieline.flows.carried import Carried, seal_carried
from tieline.flows.connect import Attempt, connect
from tieline.flows.connect_sessions import Offer, create_session
from tieline.flows.members import invite_member
from tieline.flows.parts import Parts
from tieline.flows.sync import run_sync
from tieline.flows.tickets import LIFETIME
from tieline.ids import new_id
from tieline.sdk.addresses import AddressPolicy
from tieline.store.admission import admit
from tieline.store.api_keys import revoke_api_key
from tieline.store.attempts import Attempt as SignIn
from tieline.store.attempts import add_attempt
from tieline.store.connections import get_connection, list_connections
from tieline.store.db import Db
from tieline.store.entity_lists import list_entities
from tieline.store.evidence import list_evidence
from tieline.store.findings import list_findings
from tieline.store.listing import Paging
from tieline.store.organizations import create_organization
from tieline.store.runs import list_runs, save_rejections
from tieline.store.schedules import set_enabled
from tieline.vault import LocalKeyRing, Vault, key_id_of


@pytest.fixture(scope="session")
def api_database_url(server: str, template: str) -> str:
    """A migrated database for the API's tests."""
    name = f"api_{uuid4().hex[:12]}"
    asyncio.run(_create(server, name, template))
    head, _, query = server.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """A sandbox of a few people in a process of its own."""
    command = [sys.executable, "-m", "tieline.providers.sandbox", "--people", "60", "--token", SANDBOX_TOKEN]
    with subprocess.Popen([*command, "--until-stdin-closes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()
        assert process.wait(timeout=20) == 0


@pytest.fixture(scope="session")
def scene_of_all(api_database_url: str, ring: LocalKeyRing, sandbox_url: str) -> Scene:
    """What the tests read: an organization with rows of every noun, another without, and keys."""
    return asyncio.run(furnish(api_database_url, ring, sandbox_url))


@pytest.fixture
async def parts(api_database_url: str, ring: LocalKeyRing) -> AsyncIterator[Parts]:
    """The parts over the API tests' database."""
    db = Db(api_database_url, pool_size=5)
    yield parts_of(db, ring)
    await db.close()


@pytest.fixture(scope="session")
def app_of_all(api_database_url: str, ring: LocalKeyRing) -> FastAPI:
    """The API; putting it together takes a moment, so it is done once."""
    return create_api(parts_of(Db(api_database_url), ring), ring)


@pytest.fixture
def app(app_of_all: FastAPI, parts: Parts) -> FastAPI:
    """The API over this test's connections to the database."""
    app_of_all.state.parts = parts
    return app_of_all


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a key."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://tieline.test") as client:
        yield client


@pytest.fixture
def scene(scene_of_all: Scene) -> Scene:
    """What the tests read."""
    return scene_of_all


@pytest.fixture
def as_(anonymous: httpx2.AsyncClient, scene: Scene) -> Callable[[str], httpx2.AsyncClient]:
    """The client with the key of a role in the furnished organization."""

    def with_key(role: str) -> httpx2.AsyncClient:
        anonymous.headers["X-API-Key"] = scene.keys[role]
        return anonymous

    return with_key


@dataclass
class Newcomer:
    """An organization of a test's own, and its admin's client."""

    org_id: str
    client: httpx2.AsyncClient
    attempt: dict[str, Any] = field(repr=False)


@pytest.fixture
async def newcomer(parts: Parts, ring: LocalKeyRing, app: FastAPI, sandbox_url: str) -> AsyncIterator[Newcomer]:
    """An organization with nothing in it."""
    org_id = await new_organization(parts)
    headers = {"X-API-Key": await new_key(parts, ring, org_id, "admin")}
    attempt = {"provider": "sandbox", "options": {"base_url": sandbox_url}, "credential": {"token": SANDBOX_TOKEN}}
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://tieline.test", headers=headers) as client:
        yield Newcomer(org_id, client, attempt)
    await _switch_off(parts, org_id)


def parts_of(db: Db, ring: LocalKeyRing, *, late: timedelta | None = None) -> Parts:
    """The parts over a database, with a clock that is late if asked."""
    clock = SetClock(SystemClock().now() - late) if late else SystemClock()
    return Parts(db, load_catalog(), Vault(ring), clock, AddressPolicy.parse("127.0.0.1"), ring)


async def new_organization(parts: Parts) -> str:
    async with parts.db.system() as work:
        made = await create_organization(work, slug=f"org-{uuid4().hex[:12]}", name="Test", now=parts.clock.now())
    return made.id


async def new_key(
    parts: Parts, ring: LocalKeyRing, org_id: str, role: Role, *, lives: timedelta | None = None, revoked: bool = False
) -> str:
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        made = await create_key(
            work, ring.api_key_pepper, name=role, role=role, now=now, expires_at=now + lives if lives else None
        )
        if revoked:
            await revoke_api_key(work, made.row.id, now=now)
    return made.plain


async def work_off(parts: Parts) -> None:
    """Run all that is due, one after another."""
    while True:
        async with parts.db.system() as work:
            holds = await admit(work, now=parts.clock.now(), kinds=["sync"], free_slots=50, org_cap=50, provider_cap=50)
        if not holds:
            return
        for hold in holds:
            await run_sync(parts, hold)


@asynccontextmanager
async def _opened(url: str, ring: LocalKeyRing) -> AsyncIterator[Parts]:
    db = Db(url, pool_size=5)
    yield parts_of(db, ring)
    await db.close()


async def furnish(url: str, ring: LocalKeyRing, sandbox_url: str) -> Scene:
    async with _opened(url, ring) as parts:
        own, other = await new_organization(parts), await new_organization(parts)
        attempt = Attempt("sandbox", {"base_url": sandbox_url}, {"token": SANDBOX_TOKEN})
        connection = await connect(parts, own, attempt)
        await work_off(parts)
        await save_app(parts, own, "github", {"client_id": "Iv1.made-up", "client_secret": "not-a-real-secret"})
        keys = {role: await new_key(parts, ring, own, role) for role in ROLES}
        keys["other organization's admin"] = await new_key(parts, ring, other, "admin")
        keys["revoked"] = await new_key(parts, ring, own, "operator", revoked=True)
        late = parts_of(parts.db, ring, late=timedelta(hours=1))
        keys["expired"] = await new_key(late, ring, own, "operator", lives=timedelta(minutes=1))
        async with parts.db.work(own) as work:
            assert (await get_connection(work, connection.id)).status == "active"
            run = (await list_runs(work, Paging(), operation="people")).items[0]
            assert run.status == "succeeded", run
            sample = {"kind": "account", "field": "email", "reason": "not text", "record": {"id": 7}}
            await save_rejections(work, run.id, [sample], now=parts.clock.now())
            finding = (await list_findings(work, Paging())).items[0]
            ids = {
                "connection_id": connection.id,
                "run_id": run.id,
                "entity_id": (await list_entities(work, Paging(), kind="account")).items[0].id,
                "finding_id": finding.id,
                "evidence_id": (await list_evidence(work, Paging())).items[0].id,
                "org_id": own,
            }
            ids["attempt_id"] = await _add_attempt(parts, own)
            ids["operation"] = "people"
            ids["connect_session_id"] = (await create_session(parts, own, Offer())).session.id
            spare = await create_key(work, ring.api_key_pepper, name="spare", role="auditor", now=parts.clock.now())
        invited = await invite_member(parts, own, email="spare@example.com", role="auditor")
        absent = {
            f"{noun}_id": new_id(prefix)
            for noun, prefix in {
                "connection": "conn", "run": "run", "entity": "ent", "finding": "find", "evidence": "evid", "key": "key", "attempt": "att", "member": "mem", "connect_session": "cs",
            }.items()
        }  # fmt: skip
        ids |= {
            "key_id": spare.row.id,
            "member_id": invited.member.id,
            "slug": "sandbox",
            "ticket": "t1.x",
            "check_id": finding.check_id,
            "control_id": "soc2:CC6.1",
        }
        return Scene(own, other, keys, ids, absent)


async def _add_attempt(parts: Parts, org_id: str) -> str:
    """An attempt to sign in, as if the sandbox had such a way."""
    attempt_id, now = new_id("att"), parts.clock.now()
    sealed = await seal_carried(parts, org_id, attempt_id, Carried({}, None))
    attempt = SignIn(
        id=attempt_id,
        org_id=org_id,
        provider="sandbox",
        slot="oauth2",
        status="pending",
        round=0,
        redirect_uri="http://127.0.0.1:8000/v1/oauth/callback/sandbox",
        sealed=sealed,
        key_id=key_id_of(sealed.sealed),
        created_by="system",
        created_at=now,
        expires_at=now + LIFETIME,
    )
    async with parts.db.work(org_id) as work:
        await add_attempt(work, attempt)
    return attempt_id


async def _switch_off(parts: Parts, org_id: str) -> None:
    """Leave nothing due that the next test's worker would run."""
    async with parts.db.work(org_id) as work:
        for one in (await list_connections(work, Paging())).items:
            await set_enabled(work, one.id, False, now=parts.clock.now())


async def _create(server: str, name: str, template: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        await connection.close()
