"""A provider that keeps to nothing: a server on loopback that sends whatever bytes it is told to, and the declaration that reads it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tieline.sdk import Account, Cursor, Identity, Options, PersonalToken, Provider

Say = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Answers the request for a page: `after`, as the query has it ("" for the first page), and where to write."""


class Where(Options):
    """Where it is."""

    base_url: str


hostile = Provider(
    slug="hostile",
    name="Hostile",
    category="identity",
    base_url="{base_url}/v1",
    options=Where,
    auth=PersonalToken(),
    identity=Identity("/me", id="id", name="name"),
)
people = hostile.listing(
    "people",
    "/people",
    items="data",
    pages=Cursor("after", at="next"),
    every="1h",
    into=Account.map(
        external_id="payload.id",
        display_name="payload.name",
        active="payload.active",
    ),
)


def person(name: str, **other: Any) -> dict[str, Any]:
    return {"id": f"id-{name}", "name": name, "active": True, **other}


def page(items: list[Any], follows: Any = None) -> bytes:
    return json.dumps({"data": items, "next": follows}).encode()


def whole(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An answer; `length` is what it says of its own, which may be a lie."""
    told = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    told += [f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(told).encode() + b"\r\n\r\n" + body


GOOD = {
    "": page([person("ada"), person("bob"), person("cyd")], "2"),
    "2": page([person("dee"), person("eve"), person("fay")]),
}


async def say_good(after: str, out: asyncio.StreamWriter) -> None:
    out.write(whole(GOOD[after]))


@dataclass
class Hostile:
    """The running server; `say` answers the requests for people."""

    url: str
    say: Say = say_good
    asked: list[str] = field(default_factory=list)

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                line = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[0]
                if "/v1/people" in line:
                    self.asked.append(line)
                    after = re.search(r"[?&]after=([^& ]*)", line)
                    await self.say(after[1] if after else "", writer)
                else:
                    writer.write(whole(b'{"id": "acc", "name": "Account"}'))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def start_hostile() -> AsyncIterator[Hostile]:
    made = Hostile("")
    server = await asyncio.start_server(made.meet, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
