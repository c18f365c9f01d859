"""The console over a database of its own: a furnished organization, another without anything, and browsers without script."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from tests.api.conftest import furnish, parts_of, sandbox_url  # noqa: F401  a fixture
from tests.api.shapes import Scene

from tieline.access.roles import ROLES, Role
from tieline.api.app import create_api
from tieline.flows.members import invite_member
from tieline.flows.parts import Parts
from tieline.flows.sign_in import sign_in_by_link
from tieline.store.db import Db
from tieline.vault import LocalKeyRing
from tieline.web.app import add_console

HOST = "http://tieline.test"
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


@pytest.fixture(scope="session")
def web_database_url(server: str, template: str) -> str:
    """A migrated database for the console's tests."""
    name = f"web_{uuid4().hex[:12]}"
    asyncio.run(_create(server, name, template))
    head, _, query = server.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


@pytest.fixture(scope="session")
def scene(web_database_url: str, ring: LocalKeyRing, sandbox_url: str) -> Scene:  # noqa: F811
    """An organization with rows of every noun, and another without."""
    return asyncio.run(furnish(web_database_url, ring, sandbox_url))


@pytest.fixture
async def parts(web_database_url: str, ring: LocalKeyRing) -> AsyncIterator[Parts]:
    """The parts over the console's database."""
    db = Db(web_database_url, pool_size=5)
    yield parts_of(db, ring)
    await db.close()


@pytest.fixture(scope="session")
def app_of_all(web_database_url: str, ring: LocalKeyRing) -> FastAPI:
    """The API and the console; putting them together takes a moment, so it is done once."""
    app = create_api(parts_of(Db(web_database_url), ring), ring)
    add_console(app)
    return app


@pytest.fixture
def app(app_of_all: FastAPI, parts: Parts) -> FastAPI:
    """The application over this test's connections to the database."""
    app_of_all.state.parts = parts
    return app_of_all


@dataclass
class Browser:
    """A browser without script: it keeps cookies, follows nothing by itself, and says where its forms come from."""

    client: httpx2.AsyncClient
    member_id: str | None = None
    role: str | None = None
    csrf: str = field(default="", repr=False)

    async def get(self, path: str, **params: str) -> httpx2.Response:
        """Open a page."""
        answer = await self.client.get(path, params=params or None, headers={"Accept": "text/html"})
        if found := _CSRF.search(answer.text):
            self.csrf = found[1]
        return answer

    async def post(self, path: str, *, site: str | None = "same-origin", **fields: Any) -> httpx2.Response:
        """Send a form, with the CSRF token of the page seen last unless another is given."""
        headers = {"Sec-Fetch-Site": site} if site else {}
        return await self.client.post(
            path, data={"csrf": self.csrf} | fields, headers=headers | {"Accept": "text/html"}
        )


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=HOST) as client:
        yield Browser(client)


Signs = Callable[..., Awaitable[Browser]]


@pytest.fixture
async def sign_in(app: FastAPI, parts: Parts) -> AsyncIterator[Signs]:
    """Sign a new member of an organization in: `await sign_in(org_id, "admin")`."""
    clients: list[httpx2.AsyncClient] = []

    async def enter(org_id: str, role: Role = "admin") -> Browser:
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=HOST)
        clients.append(client)
        email = f"{role}-{uuid4().hex[:8]}@example.com"
        invited = await invite_member(parts, org_id, email=email, name=f"The {role}", role=role)
        begun = await sign_in_by_link(parts, invited.link.token, user_agent="A browser")
        client.cookies.set("tieline_session", begun.cookie, domain="tieline.test")
        browser = Browser(client, begun.member.id, role)
        assert (await browser.get("/access")).status_code == 200
        return browser

    yield enter
    for client in clients:
        await client.aclose()


@pytest.fixture
async def browsers(sign_in: Signs, scene: Scene) -> dict[str, Browser]:
    """A browser for each role, signed in to the furnished organization."""
    return {role: await sign_in(scene.org_id, role) for role in ROLES}


async def _create(url: str, name: str, template: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.close()
