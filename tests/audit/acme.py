"""A provider with three ways in, and the server that plays it: whatever key comes, it opens the account that the path begins with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from tieline.sdk import Account, Identity, OAuth2, PersonalToken, Provider
from tieline.sdk.provider import Options

PEOPLE = [{"id": "1", "mfa": False}, {"id": "2", "mfa": True}]


class Address(Options):
    """Where the account is."""

    base_url: str


acme: Provider[Address] = Provider(
    slug="acme",
    name="Acme",
    category="hr",
    base_url="{base_url}",
    options=Address,
    auth=[
        PersonalToken(),
        PersonalToken(field="secret", slot="second"),
        OAuth2(authorize_url="https://acme.example/authorize", token_url="https://acme.example/token"),
    ],
    identity=Identity("/me", id="id", name="name"),
)
acme.listing(
    "people",
    "/people",
    into=Account.map(external_id="payload.id", display_name="payload.id", mfa="payload.mfa"),
    every="1h",
)


@acme.check(Account, severity="high", controls=["soc2:CC6.1"])
def second_factor(account: Account) -> bool | None:
    """People sign in with a second factor.

    Turn it on.
    """
    return account.mfa


@asynccontextmanager
async def playing() -> AsyncIterator[str]:
    """The address of a running server."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    _, account, call = head.split(" ")[1].partition("?")[0].split("/")
    told: Any = {"id": account, "name": f"Account {account}"} if call == "me" else PEOPLE
    body = json.dumps(told).encode()
    headers = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
    writer.write(f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode() + body)
    with suppress(ConnectionError):
        await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
