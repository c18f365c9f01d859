"""`tieline runs`: what ran, what became of it, and what can be done about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from tieline.cli.listing import none_of, page, paged
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing, show_row

if TYPE_CHECKING:
    from tieline.flows.parts import Parts
    from tieline.store.runs import Run

_STATUSES = ("queued", "running", "succeeded", "partial", "failed", "cancelled", "held")
_COLUMNS: Columns = [
    ("id", "id"),
    ("provider", "provider"),
    ("operation", "operation"),
    ("status", lambda row: "waiting" if row["resume_at"] and row["status"] == "queued" else row["status"]),
    ("began", at("started_at")),
    ("records", "counts.records"),
    ("created", "counts.created"),
    ("changed", "counts.changed"),
    ("rejected", "counts.rejected"),
    ("why", "reason.message"),
]


@click.group("runs", cls=NounGroup)
def command() -> None:
    """What ran and what became of it."""


@command.command("list")
@click.option("--connection", help="Only of this connection.")
@click.option("--operation", help="Only of this operation.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only with this status; a run that waits is queued.")
@paged
@opened
async def list_(
    here: Opened, connection: str | None, operation: str | None, status: str | None, limit: int, cursor: str | None
) -> None:
    """List the runs, newest first."""
    from tieline.flows.views import listing, run_row
    from tieline.store.runs import list_runs

    async with here.work() as work:
        found = await list_runs(work, page(limit, cursor), connection_id=connection, operation=operation, status=status)
    none = none_of("Nothing has run yet.", connection, operation, status)
    show_listing(listing(found, run_row), _COLUMNS, json=here.session.json, none=none)


@command.command("show")
@click.argument("run")
@opened
async def show(here: Opened, run: str) -> None:
    """Show a run: its counts, and how it ended."""
    from tieline.flows.views import run_row
    from tieline.store.runs import get_run

    async with here.work() as work:
        found = await get_run(work, run)
    show_row(run_row(found), json=here.session.json)


@command.command("rejections")
@click.argument("run")
@paged
@opened
async def rejections(here: Opened, run: str, limit: int, cursor: str | None) -> None:
    """Show samples of the records that no entity could be made from, with the reason."""
    from tieline.flows.views import listing, rejection_row
    from tieline.store.runs import get_run, list_rejections

    async with here.work() as work:
        await get_run(work, run)
        found = await list_rejections(work, run, page(limit, cursor))
    columns: Columns = [("kind", "kind"), ("field", "field"), ("reason", "reason"), ("record", "record")]
    show_listing(listing(found, rejection_row), columns, json=here.session.json, none="It rejected no record.")


@command.command("cancel")
@click.argument("run")
@opened
async def cancel(here: Opened, run: str) -> None:
    """End a run before its next page; what it has read stays."""
    from tieline.flows.runs import cancel_run

    await _act(here, run, cancel_run, "It ends before its next page")


@command.command("retry")
@click.argument("run")
@opened
async def retry(here: Opened, run: str) -> None:
    """Run the operation of a finished run again."""
    from tieline.flows.runs import retry_run

    await _act(here, run, retry_run, "Queued")


@command.command("release")
@click.argument("run")
@opened
async def release(here: Opened, run: str) -> None:
    """Let a held run remove what it no longer saw: the brake had stopped it because that was so much."""
    from tieline.flows.runs import release_held

    await _act(here, run, release_held, "Released")


async def _act(here: Opened, run: str, act: Callable[[Parts, str, str], Awaitable[Run]], done: str) -> None:
    from tieline.flows.views import run_row

    changed = await act(here.parts, here.org.id, run)
    if here.session.json:
        show_json(run_row(changed))
    else:
        say(f"{done}: {changed.operation}, {changed.id} ({changed.status})")
