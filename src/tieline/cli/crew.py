"""A crew: several worker processes under one parent, which begins one anew when it dies and stops them together.

A child is told to stop by a signal, and stops by itself when its standard input ends: it does not outlive a parent that is killed.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tieline.errors import SetupError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long is waited, in seconds, and how often it is tried.

    A child that ends within `early` of its start ended at once; after `most` of these in a row, in one place of the crew, it is given
    up. Between its starts are pauses, the first one doubled each time up to the longest. `grace` is how long children may take to stop:
    longer than their running jobs may.
    """

    early: float = 20.0
    most: int = 5
    first_pause: float = 0.5
    longest_pause: float = 30.0
    grace: float = 30.0


async def work_together(
    commands: Sequence[Sequence[str]], *, until: asyncio.Event, patience: Patience | None = None
) -> None:
    """Keep a child at work by each of these commands until told to stop, then wait for all.

    Raises `SetupError` if a child ends at once again and again; the others are stopped then too.
    """
    patience = patience or Patience()
    stop = asyncio.Event()
    places = [asyncio.create_task(_keep_filled(command, stop, patience)) for command in commands]
    told = asyncio.create_task(until.wait())
    try:
        await asyncio.wait([told, *places], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        told.cancel()
        ended = await asyncio.gather(*places, return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException):
            raise error


async def _keep_filled(command: Sequence[str], stop: asyncio.Event, patience: Patience) -> None:
    """One place of the crew: a child, and after it the next."""
    loop = asyncio.get_running_loop()
    early = 0
    while not stop.is_set():
        began = loop.time()
        child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=DEVNULL, start_new_session=True)
        if await _ends_before(stop, child, patience.grace):
            return
        early = early + 1 if loop.time() - began < patience.early else 0
        how = _tell(child)
        if early >= patience.most:
            raise SetupError(
                f"A worker process ended at once, {early} times in a row: {how}",
                advice="What it wrote on standard error says why; `tieline doctor` looks for what is wrong.",
            )
        pause = min(patience.first_pause * 2 ** max(early - 1, 0), patience.longest_pause)
        logger.warning("A worker process ended, and is begun anew", extra={"ended": how, "pause": pause})
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await stop.wait()


async def _ends_before(stop: asyncio.Event, child: Process, grace: float) -> bool:
    """Wait for a child's end; stop it if told to, and say whether that was so."""
    ended, told = asyncio.create_task(child.wait()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            return False
        with suppress(ProcessLookupError):
            child.terminate()
        await asyncio.wait([ended], timeout=grace)
        if not ended.done():
            logger.warning("A worker process did not stop, and is killed")
        return True
    finally:
        told.cancel()
        if not ended.done():
            with suppress(ProcessLookupError):
                child.kill()
        await ended


def _tell(child: Process) -> str:
    """How it ended."""
    code = child.returncode or 0
    if code < 0 and sys.platform != "win32":
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
