"""`tieline connections`: the connected accounts and what can be done with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Literal

import click

from tieline.cli.counting import counting
from tieline.cli.exits import RUN_FAILED
from tieline.cli.given import read_credential, read_options
from tieline.cli.listing import none_of, page, paged
from tieline.cli.mappings import rejected, try_
from tieline.cli.moment import LATER
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
    ("owner", "owner"),
    ("since", at("created_at")),
]
_IMPORTED: Columns = [
    ("row", "row"),
    ("status", "status"),
    ("provider", "provider"),
    ("account", "account"),
    ("connection", "connection_id"),
    ("why", "reason.message"),
]
_VERSIONS: Columns = [
    ("slot", "slot"),
    ("version", "version"),
    ("in force", "in_force"),
    ("fingerprint", "fingerprint"),
    ("given", at("created_at")),
    ("by", "created_by"),
    ("refreshed", at("refreshed_at")),
    ("ends", at("expires_at")),
]
_DAYS: Columns = [
    ("day", "day"),
    ("status", "status"),
    ("runs", "runs"),
    ("records", "records"),
    ("seconds", "seconds"),
]
_STATUS = click.Choice(
    ["active", "degraded", "error", "expired", "needs_reconnect", "paused", "suspended", "disconnected"]
)
_HEALTH = click.Choice(["works", "needs_person", "tries_again", "stopped", "gone"])


@click.group("connections", cls=NounGroup)
def command() -> None:
    """The connected accounts."""


command.add_command(rejected)
command.add_command(try_)


@command.command("list")
@click.option("--provider", help="Only of this provider.")
@click.option("--status", type=_STATUS, help="Only in this state; `disconnected` shows those that ended.")
@click.option("--health", type=_HEALTH, help="Only those whose state comes to this.")
@click.option("--owner", metavar="EMAIL|nobody", help="Only those that this member looks after, or that nobody does.")
@paged
@opened
async def list_(
    here: Opened,
    provider: str | None,
    status: str | None,
    health: str | None,
    owner: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List the connections."""
    from tieline.flows.states import HEALTH
    from tieline.flows.views import connection_row, listing
    from tieline.store.connections import NOBODY, list_connections

    statuses = HEALTH[health] if health else ()
    owner_id = await _member_id(here, owner) if owner and owner != NOBODY else owner
    async with here.work() as work:
        found = await list_connections(
            work, page(limit, cursor), provider=provider, status=status, statuses=statuses, owner=owner_id
        )
    told = "Nothing is connected: `tieline providers` lists what can be, `tieline connect` does it."
    none = none_of(told, provider, status, health, owner)
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
    from tieline.flows.pauses import pause as act

    await _act(here, connection, act, "Paused")


@command.command("resume")
@click.argument("connection")
@opened
async def resume(here: Opened, connection: str) -> None:
    """Let a paused connection run again, at once."""
    from tieline.flows.pauses import resume as act

    await _act(here, connection, act, "Resumed")


@command.command("disconnect")
@click.argument("connection")
@click.option("--yes", is_flag=True, help="Do not ask.")
@opened
async def disconnect(here: Opened, connection: str, yes: bool) -> None:
    """Revoke and destroy the credentials and stop everything; what was read stays as history."""
    from tieline.flows.disconnect import disconnect as act
    from tieline.flows.views import disconnected_row

    if not yes:
        click.confirm(f"Destroy the credentials of {connection}?", abort=True, err=True)
    gone = await act(here.parts, here.org.id, connection)
    if here.session.json:
        show_json(disconnected_row(gone))
        return
    say(f"Disconnected: {gone.connection.name}. Its credentials are destroyed; what was read stays.")
    if gone.revoked:
        say("The provider was told to forget it.")
    if gone.to_revoke:
        say("The provider could not be told yet; `tieline serve` or `tieline worker` tries again for a day.")
    if gone.remains:
        say(f"What remains to be done: {gone.remains}")


@command.command("rotate")
@click.argument("connection")
@click.option("--credential", "credentials", multiple=True, metavar="NAME=-|@FILE", help="As for `tieline connect`.")
@click.option("--by", metavar="SLOT", help="The way to authenticate, if it is to be another than now.")
@click.option("--expires", type=LATER, help="When the credential ends, to be warned before.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Set an option; the others stay.")
@opened
async def rotate(
    here: Opened,
    connection: str,
    credentials: tuple[str, ...],
    by: str | None,
    expires: datetime | None,
    options: tuple[str, ...],
) -> None:
    """Put a new credential for the same account in force; this also reconnects."""
    from tieline.flows.connect import given_way, replace_credential
    from tieline.store.connections import get_connection

    async with here.work() as work:
        standing = await get_connection(work, connection)
    provider = here.parts.catalog.provider(standing.provider)
    auth = given_way(provider, by or standing.auth)
    given = read_credential(auth, credentials)
    chosen = read_options(provider, options, standing.options) if options else None
    changed = await replace_credential(
        here.parts, here.org.id, connection, given, by=auth.slot, expires_at=expires, options=chosen
    )
    _told(here, changed, "Its new credential is in force")


@command.command("roll-back")
@click.argument("connection")
@opened
async def roll_back(here: Opened, connection: str) -> None:
    """Put the credential before the present one in force again, after a test call with it."""
    from tieline.flows.connect import roll_back as act

    await _act(here, connection, act, "Its former credential is in force again")


@command.command("switch")
@click.argument("connection")
@click.option("--by", metavar="SLOT", required=True, help="The way to go on with.")
@opened
async def switch(here: Opened, connection: str, by: str) -> None:
    """Go on by another way whose credential the connection holds already."""
    from tieline.flows.connect import switch_way

    _told(here, await switch_way(here.parts, here.org.id, connection, by), f"It goes on by {by}")


@command.command("credentials")
@click.argument("connection")
@opened
async def credentials(here: Opened, connection: str) -> None:
    """List the credentials that a connection holds, never what is in them."""
    from tieline.flows.views import credential_row
    from tieline.store.connections import get_connection
    from tieline.store.credentials import list_credentials

    async with here.work() as work:
        await get_connection(work, connection)
        kept = await list_credentials(work, connection)
    rows = {"items": [credential_row(one) for one in kept], "next": None}
    show_listing(rows, _VERSIONS, json=here.session.json, none="It holds none.")


@command.command("configure")
@click.argument("connection")
@click.option("--name", help="A new name.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Set an option; the others stay.")
@click.option("--owner", metavar="EMAIL|nobody", help="The member who is to look after it.")
@opened
async def configure(
    here: Opened, connection: str, name: str | None, options: tuple[str, ...], owner: str | None
) -> None:
    """Change a connection's name, options or owner; the options must open the same account."""
    from tieline.flows.reconfigure import reconfigure
    from tieline.store.connections import NOBODY, get_connection

    async with here.work() as work:
        standing = await get_connection(work, connection)
    chosen = None
    if options:
        chosen = read_options(here.parts.catalog.provider(standing.provider), options, standing.options)
    owner_id = "" if owner == NOBODY else await _member_id(here, owner) if owner else None
    changed = await reconfigure(here.parts, here.org.id, connection, name=name, options=chosen, owner=owner_id)
    _told(here, changed, "Changed")


@command.command("schedule")
@click.argument("connection")
@click.argument("operation")
@click.option("--every", metavar="PERIOD", help="How often to read it, from 5m to 30d; `default` as the provider says.")
@click.option("--on/--off", "enabled", default=None, help="Whether to read it at all.")
@opened
async def schedule(here: Opened, connection: str, operation: str, every: str | None, enabled: bool | None) -> None:
    """Change how often an operation of a connection is read, or switch it off and on."""
    from tieline.flows.timetables import change_timetable
    from tieline.flows.views import schedule_row

    period = "" if every == "default" else every
    changed = await change_timetable(here.parts, here.org.id, connection, operation, enabled=enabled, every=period)
    show_row(schedule_row(changed), json=here.session.json)


@command.command("days")
@click.argument("connection")
@click.option("--operation", help="Only runs of this operation.")
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How many, today included.")
@opened
async def days(here: Opened, connection: str, operation: str | None, days: int) -> None:
    """Count the runs of a connection by day and how they ended."""
    from tieline.flows.run_days import read_days

    found = await read_days(here.parts, here.org.id, connection, days=days, operation=operation)
    show_listing(found, _DAYS, json=here.session.json, none="It was not read in these days.")


@command.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--format", "format_", type=click.Choice(["csv", "json"]), help="By default told by the file's name.")
@click.option("--dry-run", is_flag=True, help="Only try whether each could be connected; nothing is saved.")
@opened
async def import_(here: Opened, file: BinaryIO, format_: str | None, dry_run: bool) -> int:
    """Connect every account of a CSV or JSON file (`-` is standard input), each row on its own, and report on each.

    CSV has the headings provider, name, by, expires_at, options.NAME and credential.NAME; JSON is a list of objects with the same.
    """
    from tieline.flows.imports import MAX_BYTES, import_rows, read_rows
    from tieline.flows.views import imported_row

    rows = read_rows(file.read(MAX_BYTES + 1), _format(str(file.name), format_))
    with counting(len(rows), "Trying" if dry_run else "Connecting") as step:
        report = await import_rows(here.parts, here.org.id, rows, dry_run=dry_run, told=lambda _: step())
    told = [imported_row(one) for one in report]
    show_listing({"items": told, "next": None}, _IMPORTED, json=here.session.json)
    return RUN_FAILED if any(one.status == "refused" for one in report) else 0


def _format(name: str, given: str | None) -> Literal["csv", "json"]:
    return "json" if (given or name.rpartition(".")[2].lower()) == "json" else "csv"


async def _member_id(here: Opened, email_or_id: str) -> str:
    from tieline.flows.members import find_present

    return (await find_present(here.parts, here.org.id, email_or_id)).id


Act = Callable[["Parts", str, str], Awaitable["Connection"]]


async def _act(here: Opened, connection: str, act: Act, done: str) -> None:
    _told(here, await act(here.parts, here.org.id, connection), done)


def _told(here: Opened, connection: Connection, done: str) -> None:
    from tieline.flows.views import connection_row

    if here.session.json:
        show_json(connection_row(connection))
    else:
        say(f"{done}: {connection.name} is {connection.status}.")
