"""Connections by OAuth to the certified provider of the tests, and processes that use one side by side or die in it."""

from __future__ import annotations

import asyncio
import os
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.emulators.oidc import REDIRECT, Oidc

from tieline import faults
from tieline.catalog.compile import compile_catalog
from tieline.clock import SystemClock
from tieline.flows.connect import establish
from tieline.flows.context import auth_context
from tieline.flows.credentials import open_credential
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options, reach
from tieline.sdk import Account, Context, Grant, Identified, OAuth2, OAuthApp, Provider
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import Ask, AuthContext, Back
from tieline.store.connections import Connection, get_connection
from tieline.store.db import Db
from tieline.vault import LocalKeyRing, Vault, load_or_create

VERIFIER = "v" * 64
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def provider() -> Provider[Any]:
    """A provider whose accounts are those of the certified server."""

    async def identify(ctx: Context[Any]) -> Identified:
        told = await ctx.get("/me")
        return Identified(id=told["sub"], name=told["sub"])

    made: Provider[Any] = Provider(
        slug="certified",
        name="Certified",
        category="identity",
        base_url="{issuer}",
        hosts={"issuer": "https://certified.example.com"},
        auth=OAuth2(
            authorize_url="{issuer}/auth",
            token_url="{issuer}/token",
            revoke_url="{issuer}/token/revocation",
            scopes=("openid", "offline_access", "read"),
            authorize_params={"prompt": "consent"},
        ),
        identity=identify,
        remains="Remove Tieline from your list of apps.",
    )

    @made.sync(Account.map(external_id="payload.sub"), every="1h", needs=["read"])
    async def people(ctx: Context[Any]) -> AsyncIterator[Any]:
        """The person who signed in."""
        yield await ctx.get("/me")

    return made


@dataclass(frozen=True)
class Place:
    """Where the processes find what they work with."""

    url: str
    keys: str
    issuer: str
    app: OAuthApp = field(repr=False)


def parts_at(place: Place, db: Db, clock: Any = None, ring: LocalKeyRing | None = None) -> Parts:
    """The parts of a Tieline that knows the certified server and no other."""
    ring = ring or load_or_create(Path(place.keys), may_create=False)
    return Parts(
        db,
        compile_catalog([provider()], ()),
        Vault(ring),
        clock or SystemClock(),
        AddressPolicy.parse("127.0.0.1"),
        ring,
        apps={"certified": place.app},
        hosts={"certified": {"issuer": place.issuer}},
    )


async def sign_in(parts: Parts, org_id: str, oidc: Oidc, *, login: str = "anna") -> Connection:
    """Connect a person's account as the callback does it: code, grant, test call, saved."""
    declared = parts.catalog.provider("certified")
    auth, options = declared.mode(), parse_options(declared, {})
    assert isinstance(auth, OAuth2)
    ctx = await auth_context(parts, org_id, declared, auth, options)
    grant = await receive(ctx, auth, oidc, login)
    return await establish(parts, org_id, declared, auth, options, grant)


async def receive(ctx: AuthContext, auth: OAuth2, oidc: Oidc, login: str) -> Grant:
    """The grant of a person who signs in and consents."""
    url = auth.authorize(ctx, Ask(REDIRECT, "state", CHALLENGE, "nonce"))
    query = await asyncio.to_thread(oidc.walk, url, login=login)
    return await auth.receive(ctx, Back(query, REDIRECT, VERIFIER, "nonce"))


async def use(parts: Parts, connection: Connection) -> str:
    """One request with the connection's credential, as an operation would make it; whose account answered."""
    declared = parts.catalog.provider(connection.provider)
    async with parts.db.work(connection.org_id) as work:
        held = await open_credential(work, parts, declared, connection)
    options = parse_options(declared, connection.options)
    async with reach(parts, connection.org_id, declared, options, held, connection=connection) as opened:
        return str((await opened.context().get("/me"))["sub"])


Act = Callable[["Parts", str, str], Awaitable[Any]]
"""What a process does: with its parts, an organization and a connection's id."""


def start_user(place: Place, org_id: str, connection_id: str, *, tasks: int, go: str, fault: str = "") -> BaseProcess:
    """A process with so many tasks that use the connection at once, as soon as the file `go` is there.

    It ends with 0 if all were answered; `fault` is as in TIELINE_FAULT.
    """
    return start(place, org_id, connection_id, partial(_use_side_by_side, tasks=tasks, go=go), fault=fault)


def start(place: Place, org_id: str, connection_id: str, act: Act, *, fault: str = "") -> BaseProcess:
    """A process that does one thing, or dies in it; it ends with 0 if it was done."""
    forking = get_context("forkserver")
    forking.set_forkserver_preload(["tieline.flows.sync", "tieline.catalog"])
    process = forking.Process(target=_run, args=(place, org_id, connection_id, act, fault), daemon=True)
    process.start()
    return process


def _run(place: Place, org_id: str, connection_id: str, act: Act, fault: str) -> None:
    os.environ["TIELINE_FAULT"] = fault
    faults.arm()
    asyncio.run(_do(place, org_id, connection_id, act))


async def _do(place: Place, org_id: str, connection_id: str, act: Act) -> None:
    db = Db(place.url, pool_size=6)
    await act(parts_at(place, db), org_id, connection_id)
    await db.close()


async def _use_side_by_side(parts: Parts, org_id: str, connection_id: str, *, tasks: int, go: str) -> None:
    async with parts.db.work(org_id) as work:
        connection = await get_connection(work, connection_id)
    while not Path(go).exists():  # noqa: ASYNC240  a moment of a test's own process
        await asyncio.sleep(0.02)
    told = await asyncio.gather(*(use(parts, connection) for _ in range(tasks)))
    assert set(told) == {connection.account_id}
