"""A whole Tieline on a loopback port, as `tieline serve` puts it together, for browsers to visit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.api.shapes import Scene

from tieline.access.roles import Role
from tieline.app import Tieline, running
from tieline.cli.progress import working
from tieline.cli.server import quiet_server
from tieline.flows.members import invite_member
from tieline.flows.organizations import create_organization
from tieline.flows.parts import Parts
from tieline.flows.sign_in import sign_in_by_link
from tieline.settings import read_settings

HOST = "localhost"
"""By name, for passkeys belong to a name; the port is 127.0.0.1's."""


@dataclass
class House:
    """A Tieline that listens at `url`; `scene` names what is in its furnished organization."""

    url: str
    tieline: Tieline
    sandbox_url: str
    scene: Scene = field(default_factory=lambda: Scene("", "", {}))

    @property
    def parts(self) -> Parts:
        """Its parts, for flows to be called beside the browser."""
        return self.tieline.parts

    async def new_organization(self, name: str = "Larkfield Instruments") -> str:
        """The id of an organization with nothing in it."""
        return (await create_organization(self.parts, slug=f"org-{uuid4().hex[:12]}", name=name)).id

    async def invite(self, org_id: str, role: Role, name: str | None = None) -> str:
        """The one-time link by which a new member of an organization signs in."""
        return (await self._invited(org_id, role, name)).link.url(self.url)

    async def member(self, org_id: str, role: Role, name: str | None = None) -> str:
        """The session cookie of a new member of an organization."""
        invited = await self._invited(org_id, role, name)
        return (await sign_in_by_link(self.parts, invited.link.token, user_agent="A browser")).cookie

    async def _invited(self, org_id: str, role: Role, name: str | None) -> Any:
        email = f"{role}-{uuid4().hex[:8]}@larkfield.example"
        return await invite_member(self.parts, org_id, email=email, name=name or f"The {role}", role=role)

    def working(self) -> AbstractAsyncContextManager[None]:
        """While the block runs, a worker carries out what is due: `async with house.working(): …`."""
        return working(self.tieline)


@asynccontextmanager
async def opened(database_url: str | None, folder: Path, sandbox_url: str, **settings: Any) -> AsyncIterator[House]:
    """Open a house over a migrated database, or one of its own; it keeps its key ring in a folder."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        given = {
            "database_url": database_url, "data_dir": folder, "public_url": url,
            "allow_private_addresses": "127.0.0.1", "heartbeat_seconds": 2, **settings,
        }  # fmt: skip
        async with running(read_settings(**given)) as tieline, _serving(tieline, listener):
            yield House(url, tieline, sandbox_url)


@asynccontextmanager
async def _serving(tieline: Tieline, listener: socket.socket) -> AsyncIterator[None]:
    server = quiet_server(tieline.api())
    server.config.timeout_graceful_shutdown = 1
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            break
    try:
        yield
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await task
