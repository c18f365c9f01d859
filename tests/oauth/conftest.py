"""A Tieline whose one provider is a real OpenID server, and browsers that walk through both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from tests.consent import address_in, agree
from tests.emulators.oidc import Oidc

from tieline.access.api_keys import create_key
from tieline.access.roles import Role
from tieline.catalog import compile_catalog
from tieline.clock import SetClock, SystemClock
from tieline.flows.organizations import create_organization
from tieline.flows.parts import Parts
from tieline.sdk import Account, Identity, PersonalToken, Provider
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import AuthContext, Back, Credential, Further, OAuth2
from tieline.store.db import Db
from tieline.vault import LocalKeyRing, Vault

PUBLIC = "https://tieline.test"
HOST_APP = "https://app.test"
ENDPOINTS: dict[str, Any] = {
    "authorize_url": "{web}/auth", "token_url": "{web}/token", "revoke_url": "{web}/token/revocation", "issuer": "{web}",
    "scopes": ("openid", "read"),
}  # fmt: skip


class TwoRounds(OAuth2):
    """Sends the person to the provider twice, as some do who first install and then sign in."""

    async def receive(self, ctx: AuthContext, back: Back) -> Credential | Further:  # type: ignore[override]
        """Keep a word of the first round; the second round's code is the one that counts."""
        if not back.memo:
            return Further({"first": back.query["code"][:4]})
        return await super().receive(ctx, back)


def acme(slug: str, *ways: Any) -> Provider[Any]:
    """A provider at the OpenID server, whose real address would be another."""
    made: Provider[Any] = Provider(
        slug=slug,
        name=slug.title(),
        category="hr",
        base_url="{web}",
        hosts={"web": "https://vendor.example", "spare": "https://spare.example"},
        auth=list(ways) or [PersonalToken(), OAuth2(**ENDPOINTS)],
        identity=Identity("/me", id="sub", name="sub"),
        app_url="https://vendor.example/apps",
        app_help="Register an app.",
    )
    made.listing("people", "/people", into=Account.map(external_id="payload.id"), every="1h")
    return made


PROVIDERS = (
    acme("acme"),
    acme("other"),
    acme("twice", TwoRounds(**ENDPOINTS)),
    acme("closed", OAuth2(**ENDPOINTS, client_auth="private_key_jwt")),
)


@dataclass
class Browser:
    """A person's browser, at Tieline and at the provider."""

    client: httpx2.AsyncClient
    oidc: Oidc

    async def open(self, url: str) -> httpx2.Response:
        """Open a begin address and agree there."""
        return await agree(self.client, url)

    async def come_back(self, query: dict[str, str], slug: str = "acme") -> httpx2.Response:
        """Come to the callback."""
        return await self.client.get(f"/v1/oauth/callback/{slug}", params=query)

    async def walk(self, url: str, **how: Any) -> dict[str, str]:
        """Open the begin address and sign in at the provider; the query to come back with."""
        sent = await self.open(url)
        assert sent.status_code == 200, sent.text
        return self.oidc.walk(address_in(sent.text), **how)


@dataclass
class Tenant:
    """An organization: its admin's client."""

    org_id: str
    client: httpx2.AsyncClient

    async def start(self, provider: str = "acme", **wish: Any) -> dict[str, Any]:
        """Begin an attempt."""
        answer = await self.client.post("/v1/oauth/start", json={"provider": provider, **wish})
        assert answer.status_code == 201, answer.text
        begun: dict[str, Any] = answer.json()
        return begun

    async def attempt(self, attempt_id: str) -> dict[str, Any]:
        """How an attempt stands."""
        told: dict[str, Any] = (await self.client.get(f"/v1/oauth/attempts/{attempt_id}")).json()
        return told

    async def connections(self) -> list[dict[str, Any]]:
        """The organization's connections."""
        items: list[dict[str, Any]] = (await self.client.get("/v1/connections")).json()["items"]
        return items


@dataclass
class World:
    """The Tieline, its clock, and the means to make people in it."""

    parts: Parts
    clock: SetClock
    ring: LocalKeyRing
    oidc: Oidc
    app: Any = field(repr=False)

    def client(self, **more: Any) -> httpx2.AsyncClient:
        """A client that follows no redirect."""
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url=PUBLIC, **more)

    def browser(self) -> Browser:
        """Another browser."""
        return Browser(self.client(), self.oidc)

    async def tenant(self, role: Role = "admin") -> Tenant:
        """Another organization."""
        made = await create_organization(self.parts, slug=f"org-{uuid4().hex[:12]}", name="Test")
        async with self.parts.db.work(made.id) as work:
            key = await create_key(work, self.ring.api_key_pepper, name="k", role=role, now=self.clock.now())
        return Tenant(made.id, self.client(headers={"X-API-Key": key.plain}))

    def change(self, **parts: Any) -> None:
        """Go on with other parts."""
        self.parts = self.app.state.parts = replace(self.parts, **parts)

    def wait(self, minutes: float) -> None:
        """Let time pass."""
        self.clock.at += timedelta(minutes=minutes)


@pytest.fixture
def redirects(oidc: Oidc) -> Iterator[Oidc]:
    """The OpenID server, which sends people back to Tieline."""
    oidc.allow_redirects(*(f"{PUBLIC}/v1/oauth/callback/{one.slug}" for one in PROVIDERS))
    yield oidc
    oidc.reset()


@pytest.fixture
async def world(db: Db, ring: LocalKeyRing, redirects: Oidc, assembled: FastAPI) -> World:
    """A Tieline with an app at the OpenID server for two of its providers."""
    clock = SetClock(SystemClock().now())
    parts = Parts(
        db,
        compile_catalog(PROVIDERS, []),
        Vault(ring),
        clock,
        AddressPolicy.parse("127.0.0.1"),
        ring,
        apps=dict.fromkeys(("acme", "other", "twice"), redirects.apps["basic"]),
        hosts={one.slug: {"web": redirects.issuer} for one in PROVIDERS},
        public_url=PUBLIC,
        return_origins=frozenset({HOST_APP}),
    )
    assembled.state.parts = parts
    return World(parts, clock, ring, redirects, assembled)


@pytest.fixture
async def tenant(world: World) -> Tenant:
    """An organization."""
    return await world.tenant()


@pytest.fixture
def browser(world: World) -> Browser:
    """A browser."""
    return world.browser()


def query_of(answer: httpx2.Response) -> str:
    """The query of the address that a person is sent to."""
    return urlsplit(answer.headers["location"]).query
