"""`tieline connections`: the connected accounts and what can be done with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from tieline.cli.given import read_credential, read_options
from tieline.cli.listing import page, paged
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing, show_row

if TYPE_CHECKING:
    from tieline.flows.parts import Parts
    from tieline.store.connections import Connection

_COLUMNS: Columns = [
    ("id", "id"),
    ("provider", "provider"),
    ("name", "name"),
    ("status", "status"),
    ("why", "reason.message"),
    ("since", at("created_at")),
]


@click.group("connections", cls=NounGroup)
def command() -> None:
    """The connected accounts."""


@command.command("list")
@click.option("--provider", help="Only of this provider.")
@click.option("--status", help="Only in this state; `disconnected` shows those that ended.")
@paged
@opened
async def list_(here: Opened, provider: str | None, status: str | None, limit: int, cursor: str | None) -> None:
    """List the connections."""
    from tieline.flows.views import connection_row, listing
    from tieline.store.connections import list_connections

    async with here.work() as work:
        found = await list_connections(work, page(limit, cursor), provider=provider, status=status)
    none = "Nothing is connected: `tieline providers` lists what can be, `tieline connect` does it."
    show_listing(listing(found, connection_row), _COLUMNS, json=here.session.json, none=none)


@command.command("show")
@click.argument("connection")
@opened
async def show(here: Opened, connection: str) -> None:
    """Show a connection, and how its operations are planned."""
    from tieline.flows.views import connection_row, schedule_row
    from tieline.store.connections import get_connection
    from tieline.store.schedules import list_schedules

    async with here.work() as work:
        row = connection_row(await get_connection(work, connection))
        row["schedules"] = [schedule_row(one) for one in await list_schedules(work, connection)]
    show_row(row, json=here.session.json)


@command.command("test")
@click.argument("connection")
@opened
async def test(here: Opened, connection: str) -> None:
    """Try the stored credential, and put the connection into the state that this shows."""
    from tieline.flows.connect import test_connection

    await _act(here, connection, test_connection, "It works")


@command.command("pause")
@click.argument("connection")
@opened
async def pause(here: Opened, connection: str) -> None:
    """Stop all runs of a connection until it is resumed."""
    from tieline.flows.connect import pause as act

    await _act(here, connection, act, "Paused")


@command.command("resume")
@click.argument("connection")
@opened
async def resume(here: Opened, connection: str) -> None:
    """Let a paused connection run again, at once."""
    from tieline.flows.connect import resume as act

    await _act(here, connection, act, "Resumed")


@command.command("disconnect")
@click.argument("connection")
@click.option("--yes", is_flag=True, help="Do not ask.")
@opened
async def disconnect(here: Opened, connection: str, yes: bool) -> None:
    """Destroy the credential and stop everything; what was read stays as history."""
    from tieline.flows.connect import disconnect as act

    if not yes:
        click.confirm(f"Destroy the credential of {connection}?", abort=True, err=True)
    await _act(here, connection, act, "Disconnected")


@command.command("rotate")
@click.argument("connection")
@click.option("--credential", "credentials", multiple=True, metavar="NAME=-|@FILE", help="As for `tieline connect`.")
@opened
async def rotate(here: Opened, connection: str, credentials: tuple[str, ...]) -> None:
    """Put a new credential for the same account in force; this also reconnects."""
    from tieline.flows.connect import replace_credential
    from tieline.store.connections import get_connection

    async with here.work() as work:
        standing = await get_connection(work, connection)
    given = read_credential(here.parts.catalog.provider(standing.provider), credentials)
    _told(here, await replace_credential(here.parts, here.org.id, connection, given), "Its new credential is in force")


@command.command("configure")
@click.argument("connection")
@click.option("--name", help="A new name.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Set an option; the others stay.")
@opened
async def configure(here: Opened, connection: str, name: str | None, options: tuple[str, ...]) -> None:
    """Change a connection's name or options; the options must open the same account."""
    from tieline.flows.connect import reconfigure
    from tieline.store.connections import get_connection

    async with here.work() as work:
        standing = await get_connection(work, connection)
    provider = here.parts.catalog.provider(standing.provider)
    chosen = read_options(provider, options, standing.options) if options else None
    _told(here, await reconfigure(here.parts, here.org.id, connection, name=name, options=chosen), "Changed")


Act = Callable[["Parts", str, str], Awaitable["Connection"]]


async def _act(here: Opened, connection: str, act: Act, done: str) -> None:
    _told(here, await act(here.parts, here.org.id, connection), done)


def _told(here: Opened, connection: Connection, done: str) -> None:
    from tieline.flows.views import connection_row

    if here.session.json:
        show_json(connection_row(connection))
    else:
        say(f"{done}: {connection.name} is {connection.status}.")
