"""Answering a browser for as long as a command waits for it, if nobody else does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tieline.cli.server import quiet_server

if TYPE_CHECKING:
    from tieline.cli.session import Running


@asynccontextmanager
async def answering(tieline: Running) -> AsyncIterator[None]:
    """Serve the API while the block lasts, where `public_url` is a free port of this machine; else somebody else does."""
    listener = _free_port(tieline.parts.public_url)
    if listener is None:
        yield
        return
    with listener:
        server = quiet_server(tieline.api())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


def _free_port(url: str) -> socket.socket | None:
    """The port of a plain address of this machine, taken; `None` if it is another's, or taken already."""
    split = urlsplit(url)
    if split.scheme != "http" or split.path:
        return None
    try:
        family, _, _, _, address = socket.getaddrinfo(split.hostname, split.port or 80, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError:
        return None
