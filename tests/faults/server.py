"""`tieline serve` in a process of its own, on a socket that the test holds as systemd would.

Such processes are forked from one that has imported everything already: they start in a moment, and are told to stop as any other.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

PRELOAD = [
    "tieline.app",
    "tieline.cli",
    "tieline.cli.serve",
    "tieline.cli.server",
    "tieline.api.app",
    "tieline.web.app",
    "tieline.connect.app",
]
PRELOAD += [
    "tieline.engine",
    "tieline.flows.sync",
    "tieline.catalog",
    "tieline.settings",
    "uvicorn",
    "uvicorn.lifespan.on",
]


@dataclass
class Serving:
    """A server under way."""

    process: BaseProcess
    said: Path

    async def until(self, text: str) -> None:
        """Wait until it has said this."""
        async with asyncio.timeout(60):
            while not (self.said.exists() and text in self.said.read_text()):
                assert self.process.is_alive(), self.said.read_text()
                await asyncio.sleep(0.05)

    async def stop(self) -> int | None:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        await asyncio.to_thread(self.process.join, 60)
        return self.process.exitcode


def start(listener: socket.socket | None, said: Path, environment: dict[str, str], *arguments: str) -> Serving:
    """Start a `tieline` command; with a listener, handed over."""
    forking = get_context("forkserver")
    forking.set_forkserver_preload(PRELOAD)
    said.unlink(missing_ok=True)  # what one before it has said
    process = forking.Process(target=carry_out, args=(listener, str(said), environment, arguments), daemon=True)
    process.start()
    return Serving(process, said)


def carry_out(
    listener: socket.socket | None, said: str, environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    """Be the command."""
    os.environ.clear()
    os.environ.update(environment)
    written = os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)
    for descriptor in (1, 2):
        os.dup2(written, descriptor)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False, buffering=1) for number in (1, 2))  # noqa: SIM115
    if listener:
        os.dup2(listener.fileno(), 3)
        os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    from tieline.app import main

    sys.argv = ["tieline", *arguments]
    main()
