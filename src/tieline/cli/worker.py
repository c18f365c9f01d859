"""`tieline worker`: the workers alone."""

from __future__ import annotations

import asyncio

import click

from tieline.cli.serve import work
from tieline.cli.session import Command, current


@click.command("worker", cls=Command)
def command() -> None:
    """Carry out what is due, beside any number of other processes, until SIGTERM or Ctrl-C."""
    asyncio.run(work(current()))
