"""`tieline worker`: the workers alone, in one process or several."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import suppress
from typing import Any

import click

from tieline.cli.serve import metrics_port, on_signal, read, work
from tieline.cli.session import Command, Session, current
from tieline.cli.show import say


@click.command("worker", cls=Command)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="So many worker processes under this one, about one a core; one that dies is begun anew.",
)
@metrics_port
@click.option("--until-stdin-ends", is_flag=True, hidden=True, help="As a child of another worker.")
def command(processes: int, metrics_port: int | None, until_stdin_ends: bool) -> None:
    """Carry out what is due, beside any number of other processes, until SIGTERM or Ctrl-C."""
    session = current()
    settings = read(session, metrics_port)
    if processes > 1:
        asyncio.run(supervise(session, settings, processes))
        return
    asyncio.run(_work(session, settings, until_stdin_ends=until_stdin_ends))


async def supervise(session: Session, settings: Any, processes: int) -> None:
    """Keep so many worker processes at work until a signal says to stop.

    Tieline is opened here too: what is wrong with the settings is told once, the tables are there before the children look for them, and
    an embedded database stays while they come and go. Each child shows its metrics on a port of its own, one after the other.
    """
    from tieline.cli.crew import work_together

    stop = asyncio.Event()
    async with session.open(settings):
        with on_signal(lambda _: stop.set()):
            say(f"{processes} worker processes; nothing is listened on by this one. Ctrl-C ends them.")
            level = ["--log-level", session.log_level] if session.log_level else []
            child = [sys.executable, "-m", "tieline", "worker", "--until-stdin-ends", *level]
            ports = [_metrics_of(settings.metrics_port, place) for place in range(processes)]
            await work_together([[*child, *port] for port in ports], until=stop)


def _metrics_of(first: int | None, place: int) -> list[str]:
    return [] if first is None else ["--metrics-port", str(first and first + place)]


async def _work(session: Session, settings: Any, *, until_stdin_ends: bool) -> None:
    stop = asyncio.Event()
    if until_stdin_ends:
        loop = asyncio.get_running_loop()
        threading.Thread(target=_tell_when_stdin_ends, args=(loop, stop), daemon=True).start()
    await work(session, settings, stop)


def _tell_when_stdin_ends(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 1024):
        pass
    with suppress(RuntimeError):  # it has stopped already
        loop.call_soon_threadsafe(stop.set)
