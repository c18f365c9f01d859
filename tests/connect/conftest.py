"""Connect over a database of its own kind of people: who walks through its pages with no cookie and no script."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.api.conftest import parts_of, sandbox_url  # noqa: F401  a fixture
from tests.api.shapes import SANDBOX_TOKEN
from tests.emulators.oidc import Oidc
from tests.oauth.conftest import HOST_APP, PROVIDERS, PUBLIC, Tenant, World, acme

from tieline.api.app import create_api
from tieline.catalog import compile_catalog, load_catalog
from tieline.clock import SetClock, SystemClock
from tieline.connect.app import add_connect
from tieline.flows.parts import Parts
from tieline.sdk import PersonalToken
from tieline.sdk.addresses import AddressPolicy
from tieline.store.db import Db
from tieline.vault import LocalKeyRing, Vault
from tieline.web.app import add_console

SITE = "https://app.example"
_TICKET = re.compile(r'name="ticket" value="([\w-]{86})"')
_HEADING = re.compile(r"<h1 [^>]*>(.*?)</h1>")


@dataclass
class Person:
    """Somebody at the hosted pages: a client that keeps no cookie, and the page that it was last shown."""

    client: httpx2.AsyncClient
    page: httpx2.Response | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def open(self, url: str) -> httpx2.Response:
        """Open an address."""
        return self._shown(await self.client.get(url, headers=self.headers))

    async def do(self, step: str, *, ticket: str | None = None, **fields: Any) -> httpx2.Response:
        """Send a form of the page, with its ticket unless another is given."""
        form = {"ticket": ticket or self.ticket, "do": step, **fields}
        return self._shown(await self.client.post("/connect-session", data=form, headers=self.headers))

    @property
    def text(self) -> str:
        """The page."""
        assert self.page is not None
        return self.page.text

    @property
    def ticket(self) -> str:
        """The ticket of every form of the page."""
        (ticket,) = set(_TICKET.findall(self.text))
        return str(ticket)

    @property
    def heading(self) -> str:
        """The page's heading."""
        (heading,) = _HEADING.findall(self.text)
        return str(heading)

    def _shown(self, page: httpx2.Response) -> httpx2.Response:
        assert "set-cookie" not in page.headers
        self.page = page
        return page


@dataclass
class Customer(Tenant):
    """An organization whose server makes sessions."""

    async def session(self, **offer: Any) -> dict[str, Any]:
        """Make a session."""
        answer = await self.client.post("/v1/connect-sessions", json={"locale": "en", **offer})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def stands(self, session_id: str) -> dict[str, Any]:
        """How a session stands."""
        told: dict[str, Any] = (await self.client.get(f"/v1/connect-sessions/{session_id}")).json()
        return told


@pytest.fixture(scope="session")
def app_of_all(database_url: str, ring: LocalKeyRing) -> FastAPI:
    """The application; putting it together takes a moment, so it is done once."""
    app = create_api(parts_of(Db(database_url), ring), ring)
    add_console(app)
    add_connect(app)
    return app


def house_of(app: FastAPI, db: Db, ring: LocalKeyRing, oidc: Oidc | None = None) -> World:
    """A Tieline with the sandbox, and with providers at the OpenID server if there is one."""
    clock = SetClock(SystemClock().now())
    given = PROVIDERS if oidc else [acme("acme", PersonalToken())]
    parts = Parts(
        db,
        compile_catalog([*given, load_catalog().provider("sandbox")], []),
        Vault(ring),
        clock,
        AddressPolicy.parse("127.0.0.1"),
        ring,
        apps=dict.fromkeys(("acme", "other", "twice"), oidc.apps["basic"]) if oidc else {},
        hosts={one.slug: {"web": oidc.issuer} for one in given} if oidc else {},
        public_url=PUBLIC,
        return_origins=frozenset({HOST_APP}),
    )
    app.state.parts = parts
    return World(parts, clock, ring, oidc, app)  # type: ignore[arg-type]


@pytest.fixture
async def house(app_of_all: FastAPI, db: Db, ring: LocalKeyRing) -> World:
    """A Tieline where nobody signs in."""
    return house_of(app_of_all, db, ring)


@pytest.fixture
def redirects(oidc: Oidc) -> Iterator[Oidc]:
    """The OpenID server, which sends people back to Tieline."""
    oidc.allow_redirects(*(f"{PUBLIC}/v1/oauth/callback/{one.slug}" for one in PROVIDERS))
    yield oidc
    oidc.reset()


@pytest.fixture
async def world(app_of_all: FastAPI, db: Db, ring: LocalKeyRing, redirects: Oidc) -> World:
    """A Tieline with an app at the OpenID server."""
    return house_of(app_of_all, db, ring, redirects)


async def customer_of(world: World) -> Customer:
    """Another organization."""
    tenant = await world.tenant()
    return Customer(tenant.org_id, tenant.client)


@pytest.fixture
async def customer(house: World) -> Customer:
    """An organization."""
    return await customer_of(house)


@pytest.fixture
def person(house: World) -> Person:
    """Somebody."""
    return Person(house.client())


@pytest.fixture
def good(sandbox_url: str) -> Callable[..., dict[str, str]]:  # noqa: F811
    """What a form holds that connects the sandbox."""
    return lambda **more: {"options.base_url": sandbox_url, "credential.token": SANDBOX_TOKEN} | more
