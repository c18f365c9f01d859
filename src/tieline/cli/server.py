"""The HTTP server: uvicorn, which leaves the signals to us and closes a client's line between two requests only.

Any server may close a line that is idle, and a client that sends its next request in that very moment gets no answer (RFC 9112 §9.5). What a
server can do is to keep this moment short and rare. Ours therefore drops nobody whom it has accepted, reads what has arrived before it
closes, answers a request that has begun to arrive, tells who asks during its last seconds that the line closes with the answer, and then
closes in two steps (§9.6).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil
from typing import TYPE_CHECKING

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

KEPT = 75
"""Seconds for which an idle line is kept: longer than balancers use theirs again (nginx, AWS: 60), so that they close first, not we."""
_LOOK = 0.1
"""Seconds between two looks at the lines while the server drains."""
_LATE = 20
"""Looks for lines that came, or had their answer, when the drain was all but over."""
_LINGER = 2.0
"""Seconds for which the other side may go on sending after its last answer."""


class Server(uvicorn.Server):
    """A server that leaves the signals to us, who have more to stop than it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def drain(self, seconds: float, *, shared: bool) -> None:
        """Close each line that has been idle for so long, accept nobody after that, and end; if others listen on the same socket, accept nobody at all.

        Time is counted in looks: while the whole machine stalls no time passes, and whoever wakes together with us still gets an answer.
        """
        enough = ceil(seconds / _LOOK)
        while not self.started:  # noqa: ASYNC110  a signal may come before, and uvicorn tells by a flag alone
            await asyncio.sleep(_LOOK)
        if shared:
            await self._accept_no_more()
        for _ in range(enough):
            await self._look(enough)
        await self._accept_no_more()
        for _ in range(min(enough, _LATE)):
            if self.server_state.connections:
                await self._look(enough)
        self.should_exit = True

    async def _accept_no_more(self) -> None:
        """Close the listeners, a turn after they were last looked at: asyncio would drop what it has accepted and not set up yet (cpython#109564)."""
        loop = asyncio.get_running_loop()
        for listener in [listener for one in self.servers for listener in one.sockets]:
            with suppress(NotImplementedError):  # Windows
                loop.remove_reader(listener.fileno())
        await asyncio.sleep(0)
        for one in self.servers:
            one.close()

    async def _look(self, enough: int) -> None:
        await asyncio.sleep(_LOOK)
        for line in list(self.server_state.connections):
            if isinstance(line, Line) and line.look() >= enough:
                line.shutdown()


def quiet_server(api: ASGIApp) -> Server:
    """A server without a log of its own, which would show queries: what people bring back from a provider is secret."""
    config = uvicorn.Config(api, http=Line, log_config=None, access_log=False, server_header=False, ws="none")
    config.timeout_keep_alive = KEPT
    config.timeout_graceful_shutdown = 10
    return Server(config)


class Line(H11Protocol):
    """A client's line, kept for one request after the other."""

    _looks = 0
    _parting = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Let uvicorn close it in two steps."""
        self._whole = transport
        super().connection_made(Lingering(transport))

    def data_received(self, data: bytes) -> None:
        """Read, unless all is said."""
        self._looks = 0
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._parting and self.cycle:
            self.cycle.keep_alive = False

    def look(self) -> int:
        """How many looks in a row have found it idle."""
        self._looks = self._looks + 1 if self.idle else 0
        return self._looks

    @property
    def idle(self) -> bool:
        """Whether nothing is asked: nothing under way, nothing that began to arrive, and nothing that nobody has read yet."""
        between = self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE
        return between and not self.conn.trailing_data[0] and not has_unread(self.transport)

    def shutdown(self) -> None:
        """Close if idle, or else with the next answer."""
        self._parting = True
        if not self._leave() and self.cycle:
            self.cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        """Close if still idle."""
        self._leave()

    def _leave(self) -> bool:
        """Close if idle; the client hears of it at once, since `close` alone would wait for the next turn of the loop."""
        if leaves := self.idle:
            _say_the_end(self._whole)
            self._whole.close()
        return leaves


class Lingering(asyncio.Transport):
    """A transport that closes its own direction first, and the other once the client has closed it too.

    A client may still be sending what was refused already. If all were closed at once, it would be told that the line is broken, and could
    lose the answer that tells why (RFC 9112 §9.6).
    """

    def __init__(self, inner: asyncio.Transport) -> None:
        self._inner, self._closing = inner, False
        for name in ("write", "get_extra_info", "pause_reading", "resume_reading", "abort"):
            setattr(self, name, getattr(inner, name))

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self._closing or self._inner.is_closing()

    def close(self) -> None:
        """Say that nothing more comes, and wait for the other side to say so."""
        if self.is_closing():
            return
        self._closing = True
        self._inner.resume_reading()  # up to its end
        _say_the_end(self._inner)
        asyncio.get_running_loop().call_later(_LINGER, self._inner.close)


def _say_the_end(transport: asyncio.Transport) -> None:
    """Close our direction, once all is written."""
    with suppress(OSError):  # the client has left
        transport.write_eof()


def has_unread(transport: asyncio.BaseTransport) -> bool:
    """Whether something has arrived that nobody has read yet."""
    try:
        with transport.get_extra_info("socket").dup() as line:
            return bool(line.recv(1, socket.MSG_PEEK))
    except OSError:  # nothing there, or nobody
        return False
