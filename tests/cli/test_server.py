"""Closing a client's line: between two requests only, so that a server which ends fails none.

What the client does between two turns of the server's loop is done here by a socket that does not wait: each race is won, every time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tieline.cli import server
from tieline.cli.server import Line, Server, quiet_server

ASK = b"GET / HTTP/1.1\r\nHost: tieline.example\r\n\r\n"
BODY = 20_000_000
"""More than all buffers hold."""
POST = b"POST / HTTP/1.1\r\nHost: tieline.example\r\nContent-Length: %d\r\n\r\n" % BODY


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once; refuse what is posted without reading it, and close, as every answer does while a server drains."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    refused = scope["method"] == "POST"
    headers = [(b"content-length", b"2"), *([(b"connection", b"close")] if refused else [])]
    await send({"type": "http.response.start", "status": 413 if refused else 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


class Client:
    """One who keeps a line."""

    def __init__(self, port: int) -> None:
        self.line = socket.create_connection(("127.0.0.1", port))
        self.line.setblocking(False)

    def send(self, data: bytes) -> None:
        """Send without a turn of the loop: the server has it, and has not read it."""
        assert self.line.send(data) == len(data)

    async def send_all(self, size: int) -> None:
        await asyncio.get_running_loop().sock_sendall(self.line, b"x" * size)

    def hears_the_end(self) -> bool:
        try:
            return not self.line.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False

    async def answered(self) -> bytes:
        """The status of the next answer."""
        heard = b""
        while not heard.endswith(b"\r\n\r\nok"):
            more = await asyncio.get_running_loop().sock_recv(self.line, 65_536)
            assert more, f"closed after {heard!r}"
            heard += more
        return heard.split()[1]

    async def ended(self) -> bool:
        return not await asyncio.get_running_loop().sock_recv(self.line, 1)


@asynccontextmanager
async def serving(app: ASGIApp = answer) -> AsyncIterator[tuple[Server, Client, Line]]:
    """A server, and a client who has had an answer from it and keeps the line."""
    made = quiet_server(app)
    async with asyncio.timeout(30):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = Client(listener.getsockname()[1])
            task = asyncio.create_task(made.serve(sockets=[listener]))
            with client.line:
                client.send(ASK)
                assert await client.answered() == b"200"
                (line,) = made.server_state.connections
                assert isinstance(line, Line)
                yield made, client, line
            made.should_exit = True
            await task


async def test_an_idle_line_is_closed_and_the_client_hears_it_at_once() -> None:
    async with serving() as (_, client, line):
        assert not client.hears_the_end()
        line.shutdown()
        assert client.hears_the_end()


@pytest.mark.parametrize("close", [Line.shutdown, Line.timeout_keep_alive_handler])
async def test_a_request_that_has_arrived_and_nobody_has_read_is_answered_before_the_line_closes(close: object) -> None:
    async with serving() as (_, client, line):
        client.send(ASK)
        assert callable(close)
        close(line)
        assert await client.answered() == b"200"
        line.shutdown()
        assert await client.ended()


async def test_a_line_that_is_told_to_close_closes_with_the_next_answer() -> None:
    async with serving() as (_, client, line):
        client.send(ASK)
        line.shutdown()
        assert await client.answered() == b"200"
        assert await client.ended()


async def test_a_request_that_has_begun_to_arrive_is_waited_for() -> None:
    async with serving() as (_, client, line):
        client.send(ASK[:20])
        while not line.conn.trailing_data[0]:
            await asyncio.sleep(0)
        line.shutdown()
        client.send(ASK[20:])
        assert await client.answered() == b"200"
        assert await client.ended()


def hesitating(may_answer: asyncio.Event) -> ASGIApp:
    """Answer once it may."""

    async def hesitate(scope: Scope, receive: Receive, send: Send) -> None:
        await may_answer.wait()
        await answer(scope, receive, send)

    may_answer.set()
    return hesitate


async def test_a_request_under_way_is_answered_and_the_line_closes() -> None:
    may_answer = asyncio.Event()
    async with serving(hesitating(may_answer)) as (_, client, line):
        may_answer.clear()
        client.send(ASK)
        while line.cycle.response_complete:
            await asyncio.sleep(0)
        line.shutdown()
        may_answer.set()
        assert await client.answered() == b"200"
        assert await client.ended()


async def test_who_is_refused_while_still_sending_may_send_on_and_reads_why() -> None:
    async with serving() as (_, client, _line):
        client.send(POST)
        assert await client.answered() == b"413"
        await client.send_all(BODY)
        assert await client.ended()


async def test_who_is_refused_when_more_has_come_than_is_read_ahead_may_send_on_too() -> None:
    may_answer = asyncio.Event()
    async with serving(hesitating(may_answer)) as (_, client, line):
        may_answer.clear()
        client.send(POST + b"x" * 200_000)
        while not line.flow.read_paused:
            await asyncio.sleep(0)
        may_answer.set()
        assert await client.answered() == b"413"
        await client.send_all(BODY - 200_000)
        assert await client.ended()


async def test_a_refused_client_that_never_closes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LINGER", 0)
    async with serving() as (made, client, _line):
        client.send(POST)
        assert await client.answered() == b"413"
        while made.server_state.connections:
            await asyncio.sleep(0)


async def test_a_client_that_left_in_anger_hinders_nobody() -> None:
    async with serving() as (made, client, line):
        client.line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # closes by a reset
        client.line.close()
        line.shutdown()
        line.transport.close()
        while made.server_state.connections:
            await asyncio.sleep(0)


async def test_idleness_is_counted_in_looks_and_begins_anew_with_each_request() -> None:
    async with serving() as (_, client, line):
        assert [line.look(), line.look(), line.look()] == [1, 2, 3]
        client.send(ASK)
        assert await client.answered() == b"200"
        assert line.look() == 1
        client.send(ASK)
        assert line.look() == 0


async def test_a_drain_closes_what_was_idle_all_the_time_and_leaves_as_long_to_who_came_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "_LOOK", 0.001)
    async with serving() as (made, client, line):
        draining = asyncio.create_task(made.drain(0.005, shared=False))
        while not line._looks:
            await asyncio.sleep(0)
        assert not client.hears_the_end()
        late = Client(client.line.getpeername()[1])
        with late.line:
            while not client.hears_the_end():
                await asyncio.sleep(0)
            assert (late.hears_the_end(), made.should_exit) == (False, False)
            late.send(ASK)
            assert await late.answered() == b"200"
            await draining
        assert made.should_exit


@pytest.mark.parametrize("turns", range(5))
async def test_who_connects_as_the_last_is_accepted_is_answered_or_left_to_who_listens_too(turns: int) -> None:
    made = quiet_server(answer)
    async with asyncio.timeout(30):
        with socket.create_server(("127.0.0.1", 0)) as listener, listener.dup() as others:
            serving = asyncio.create_task(made.serve(sockets=[listener]))
            while not made.started:
                await asyncio.sleep(0)
            client = Client(listener.getsockname()[1])
            with client.line:
                client.send(ASK)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await made.drain(0.2, shared=True)
                others.setblocking(False)
                try:
                    others.accept()[0].close()
                except BlockingIOError:
                    assert await client.answered() == b"200"
            await serving


async def test_a_server_that_is_told_to_end_before_it_has_begun_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LOOK", 0.001)
    made = quiet_server(answer)
    async with asyncio.timeout(30):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            draining = asyncio.create_task(made.drain(0, shared=True))
            await asyncio.sleep(0)
            await made.serve(sockets=[listener])
            await draining
