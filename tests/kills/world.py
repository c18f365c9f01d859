"""An invented provider for the kills: twenty people and their laptops, whose story goes on by chapters, over HTTP on loopback.

Any number of lives read it at once, each under a path of its own and in a chapter of its own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tieline.sdk import Account, Context, Cursor, Device, Identified, OAuth2, Provider, Related

PAGE = 8
HOUR = 3_600  # seconds that a token lasts


# What the provider holds in each chapter


def people(chapter: int) -> list[dict[str, Any]]:
    """All people of a chapter. From one to the next some come, leave, return, change, lose their second factor or get one."""
    left = {1: {15, 16}, 2: {4, 16}, 3: {4, 16, 17}, 4: {4, 16}, 5: {2, 4, 9, 11}, 6: {2, 4}}.get(chapter, set())
    plain = {0: {3, 4, 5}, 1: {4, 5, 6, 21}, 2: {3, 4, 5, 21}, 3: {3, 5, 8}, 4: {5, 8, 12}, 5: {3, 12, 22}, 6: {3, 8}}
    titled = {7: chapter // 2, 13: chapter // 3}
    newest = 20 + min(chapter, 3)
    return [
        {
            "id": f"p{number:02}",
            "email": f"p{number:02}@works.example",
            "name": f"Person {number}",
            "title": f"Grade {titled.get(number, 1)}",
            "mfa": number not in plain[chapter],
            "kind": "robot" if number == 10 else "person",
            "status": "on the moon" if number == 14 + chapter % 2 * 4 else "active",  # no such status: it is rejected
        }
        for number in range(1, newest + 1)
        if number not in left
    ]


def laptops(chapter: int) -> list[dict[str, Any]]:
    """All laptops of a chapter, each with its owner; some change hands, are lost, found, encrypted or not.

    In one chapter one of them has no id: the run is partial then, and removes nothing.
    """
    lost = {1: {3}, 2: {3, 7}, 3: {7}, 4: {7, 12}, 5: {1, 2}, 6: {1}}.get(chapter, set())
    bare = {0: {1, 2}, 1: {2, 5}, 2: {1, 5}, 3: {1}, 4: {1, 6}, 5: {6, 9}, 6: {5, 6}}
    return [
        {
            "id": None if (number, chapter) == (10, 5) else f"l{number:02}",
            "name": f"Laptop {number}",
            "owner": f"p{1 + (number + (chapter if number in {4, 5} else 0)) % 19:02}",
            "encrypted": number not in bare[chapter],
        }
        for number in range(1, 15)
        if number not in lost
    ]


# How it is declared


def known(record: dict[str, Any]) -> dict[str, Any]:
    """A record, if it is of a known form."""
    if "trouble" in record:
        raise RuntimeError("what no author of a provider foresaw")
    return record


def provider() -> Provider[Any]:
    """The provider: two operations, and three checks, of which one looks at what links to a person."""

    async def identify(ctx: Context[Any]) -> Identified:
        told = await ctx.get("/me")
        return Identified(id=told["id"], name=told["id"].title())

    made: Provider[Any] = Provider(
        slug="works",
        name="Works",
        category="identity",
        base_url="{world}",
        hosts={"world": "https://works.example.com"},
        auth=OAuth2(authorize_url="{world}/auth", token_url="{world}/token", revoke_url="{world}/revoke"),
        identity=identify,
        remains="Nothing.",
    )
    pages = Cursor("after", at="next")

    @made.sync(
        Account.map(
            filter="payload.kind != 'robot'",
            external_id="payload.id",
            email="payload.email",
            display_name="payload.name",
            title="payload.title",
            mfa="payload.mfa",
            status="payload.status",
        ),
        every="1h",
    )
    async def people(ctx: Context[Any]) -> AsyncIterator[Any]:
        """All people."""
        async for one in ctx.pages("/people", pages=pages, items="data"):
            yield known(one)

    @made.sync(
        Device.map(external_id="payload.id", name="payload.name", owner="payload.owner", encrypted="payload.encrypted"),
        every="1h",
    )
    async def laptops(ctx: Context[Any]) -> AsyncIterator[Any]:
        """All laptops."""
        async for one in ctx.pages("/laptops", pages=pages, items="data"):
            yield known(one)

    @made.check(Account, severity="high", controls=["soc2:CC6.1", "iso27001:A.8.5"])
    def second_factor(account: Account) -> bool | None:
        """People sign in with a second factor.

        Ask them to enrol one.
        """
        return account.mfa

    @made.check(Device, severity="medium", controls=["soc2:CC6.7"])
    def disk_encrypted(device: Device) -> bool | None:
        """Disks are encrypted.

        Encrypt them.
        """
        return device.encrypted

    @made.check(Account, severity="low", controls=["soc2:CC6.1"])
    def has_laptop(account: Account, laptops: Related[Device]) -> bool | None:
        """People work on a laptop that is known.

        Hand one out.
        """
        return laptops.any()

    return made


# How it is served


@dataclass
class Life:
    """What the provider is to one life: the chapter it is in, the trouble it makes, and what it was asked to revoke.

    Trouble is `[beginning of a request, "limit" or "bug", how often]`.
    """

    chapter: int = 0
    troubles: list[list[Any]] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def trouble(self, request: str) -> str | None:
        """The trouble that this request meets, once less from now on."""
        with self._lock:
            for one in self.troubles:
                if request.startswith(one[0]) and one[2]:
                    one[2] -= 1
                    return str(one[1])
        return None


@dataclass(frozen=True)
class World:
    """The running provider."""

    url: str
    lives: dict[str, Life] = field(default_factory=dict)

    def begin(self, name: str) -> Life:
        """A life that begins."""
        return self.lives.setdefault(name, Life())

    def url_of(self, name: str) -> str:
        """Where a life finds its provider."""
        return f"{self.url}/{name}"


@contextmanager
def served() -> Iterator[World]:
    """The provider, for as long as the block lasts."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.world = World(f"http://127.0.0.1:{server.server_address[1]}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server.world
    server.shutdown()
    thread.join()
    server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    world: World

    def handle_error(self, *_: Any) -> None:
        """Nothing: those who asked are killed in the middle of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Nothing: what is asked is nobody's business."""

    def do_GET(self) -> None:
        life, path, query = self._asked()
        account = self.headers.get("Authorization", "").partition(".")[2].partition(".")[0]
        match life.trouble(path + "?" + query):
            case "limit":
                self._answer({}, status=429, **{"Retry-After": "300"})
            case "bug":
                self._answer({"data": [{"trouble": True}], "next": None})
            case _ if path == "/me":
                self._answer({"id": account})
            case _:
                listed = people(life.chapter) if path == "/people" else laptops(life.chapter)
                after = int(parse_qs(query).get("after", ["0"])[0])
                following = after + PAGE
                more = str(following) if following < len(listed) else None
                self._answer({"data": listed[after:following], "next": more})

    def do_POST(self) -> None:
        life, path, _ = self._asked()
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if path == "/revoke":
            life.revoked.append(form["token"][0])
            self._answer({})
            return
        account = form["refresh_token"][0].partition(".")[2]
        self._answer({"access_token": f"access.{account}.more", "token_type": "bearer", "expires_in": HOUR})

    def _asked(self) -> tuple[Life, str, str]:
        asked = urlsplit(self.path)
        _, name, path = asked.path.split("/", 2)
        return self.server.world.lives[name], f"/{path}", asked.query

    def _answer(self, told: Any, *, status: int = 200, **headers: str) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
