"""`tieline sync`: read connections now, and wait for it if asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from tieline.cli import exits
from tieline.cli.session import Command, Opened, opened
from tieline.cli.show import plain, say, show_json, warn
from tieline.errors import RequestError

if TYPE_CHECKING:
    from tieline.cli.progress import Outcome
    from tieline.store.connections import Connection
    from tieline.store.runs import Run


@click.command("sync", cls=Command)
@click.argument("connection", required=False)
@click.option("--all", "every", is_flag=True, help="All connections that can run.")
@click.option("--operation", help="One operation only, such as `users`.")
@click.option("--wait", is_flag=True, help="Run it in this process too, and show the progress until it has ended.")
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=90,
    show_default=True,
    metavar="SECONDS",
    help="With --wait: how long to wait on while the provider makes all runs wait.",
)
@opened
async def command(
    here: Opened, connection: str | None, every: bool, operation: str | None, wait: bool, patience: int
) -> int | None:
    """Read a connection now, or all of them.

    Without --wait the runs are queued for a running server or worker. With it this process helps to carry them out. Ctrl-C ends
    the waiting, not the runs.
    """
    if every == bool(connection):
        raise click.UsageError("Name a connection, or give --all")
    chosen = await _choose(here, connection)
    runs = await _request(here, chosen, operation, tolerant=every)
    if not wait:
        _tell_queued(here, runs)
        return None
    names = {one.id: plain(one.name) for one in chosen}
    try:
        outcome = await _wait(here, runs, names, timedelta(seconds=patience))
    except asyncio.CancelledError:
        warn(
            "The runs go on where they stand: `tieline sync … --wait` or a running `tieline serve` takes them up again."
        )
        raise
    return _tell_outcome(here, outcome, names)


async def _choose(here: Opened, connection: str | None) -> list[Connection]:
    """The connection named, or all that can run; those that cannot are told."""
    from tieline.flows.states import RUNNABLE
    from tieline.store.connections import get_connection, list_connections
    from tieline.store.listing import Paging

    async with here.work() as work:
        if connection:
            return [await get_connection(work, connection)]
        found = (await list_connections(work, Paging(limit=5000))).items
    for one in found:
        if one.status not in RUNNABLE:
            warn(f"{plain(one.name)} is {one.status} and is left out.")
    return [one for one in found if one.status in RUNNABLE]


async def _request(
    here: Opened, connections: Sequence[Connection], operation: str | None, *, tolerant: bool
) -> list[Run]:
    """The runs asked for; if `tolerant`, a connection that refuses is told and left out, unless all of them do."""
    from tieline.flows.sync import request_sync

    found: list[Run] = []
    refusal: RequestError | None = None
    for one in connections:
        try:
            found += await request_sync(here.parts, here.org.id, one.id, operation=operation, cause="manual")
        except RequestError as error:
            if not tolerant:
                raise
            warn(f"{plain(one.name)} is left out: {plain(error.message)}.")
            refusal = error
    if refusal and not found:
        raise refusal
    return found


async def _wait(here: Opened, runs: Sequence[Run], names: dict[str, str], patience: timedelta) -> Outcome:
    from tieline.cli.progress import make_display, watch, working

    here.session.start_log("error")  # how runs end is shown
    display = make_display(names, err=here.session.json)
    async with working(here.tieline):
        return await watch(here.parts, here.org.id, runs, display, patience=patience)


def _tell_queued(here: Opened, runs: Sequence[Run]) -> None:
    from tieline.flows.views import run_row

    if here.session.json:
        show_json({"items": [run_row(one) for one in runs], "next": None})
        return
    for one in runs:
        say(f"{one.id}  {one.operation}: {one.status}")
    say("A running `tieline serve` or `tieline worker` carries them out; --wait does it here.")


def _tell_outcome(here: Opened, outcome: Outcome, names: dict[str, str]) -> int:
    from tieline.cli.progress import explain
    from tieline.flows.views import run_row

    if here.session.json:
        show_json({"items": [run_row(one.run) for one in outcome.runs], "next": None})
    elif not outcome.runs:
        say("There was nothing to run.")
    for one in outcome.runs:
        if told := explain(one, names):
            warn(plain(told))
    if outcome.code == exits.STILL_WAITING:
        warn("→ Run it again later, or keep `tieline serve` running; more patience: --patience SECONDS.")
    return outcome.code
