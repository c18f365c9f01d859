"""A provider on the loopback that answers whatever a test makes it answer, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tieline.clock import SetClock
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Reply = bytes | Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Loopback:
    """Answers each request with the next reply, the last one for ever; keeps what it received."""

    replies: list[Any] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    url: str = ""
    tasks: list[Any] = field(default_factory=list)

    def will(self, *replies: Any) -> None:
        self.replies = list(replies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.current_task())
        try:
            while not writer.is_closing():
                request = await _read(reader)
                self.received.append(request)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if callable(reply):
                    await reply(request, writer)
                else:
                    writer.write(reply)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    method, target, _ = first.split(" ")
    return Received(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def raw(body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    """An answer with this very body; header names are written with underscores."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}", f"content-type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(value: Any = None, status: int = 200, **headers: str) -> bytes:
    """A JSON answer."""
    return raw(json.dumps(value).encode(), status, **headers)


class Waits:
    """Takes the place of sleeping: notes the seconds and moves the clock instead."""

    def __init__(self, clock: SetClock) -> None:
        self.seconds: list[float] = []
        self._clock = clock

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._clock.at += timedelta(seconds=seconds)


class Bench:
    """The makers that tests use: servers, clients and answers."""

    now = NOW
    policy = AddressPolicy.parse("127.0.0.1")
    raw = staticmethod(raw)
    answer = staticmethod(answer)

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.clock = SetClock(NOW)
        self.waits = Waits(self.clock)
        self._stack = stack

    async def serve(self) -> Loopback:
        loopback = Loopback()
        server = await asyncio.start_server(loopback.serve, "127.0.0.1", 0)
        self._stack.callback(server.close)
        self._stack.push_async_callback(loopback.stop)
        loopback.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return loopback

    def client(self, base_url: str, **how: Any) -> Http:
        how = {"policy": self.policy, "budget": LocalBudget(self.clock, sleep=self.waits)} | how
        http = Http(base_url=base_url, provider="Acme", clock=self.clock, sleep=self.waits, **how)
        self._stack.push_async_callback(http.aclose)
        return http


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with contextlib.AsyncExitStack() as stack:
        yield Bench(stack)


@pytest.fixture
async def acme(bench: Bench) -> Loopback:
    return await bench.serve()
