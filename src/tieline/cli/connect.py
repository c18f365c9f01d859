"""`tieline connect`: from an account's credential to a live connection."""

from __future__ import annotations

import click

from tieline.cli.given import read_credential, read_options
from tieline.cli.session import Command, Opened, current, opened
from tieline.cli.show import say, show_json


@click.command("connect", cls=Command)
@click.argument("provider")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="A choice that is no secret.")
@click.option(
    "--credential",
    "credentials",
    multiple=True,
    metavar="NAME=-|@FILE",
    help="A field of the credential: from standard input (several: a line each) or a file.",
)
@click.option("--name", help="What to call the connection.")
def command(provider: str, options: tuple[str, ...], credentials: tuple[str, ...], name: str | None) -> None:
    """Connect an account: its credential is tried, sealed and saved, and its first syncs are queued.

    `tieline providers show PROVIDER` says which options and credential fields there are. On a terminal, those that are
    missing are asked for.
    """
    from tieline.catalog import load_catalog
    from tieline.flows.connect import Attempt

    current().start_log()
    declared = load_catalog().provider(provider)
    chosen = read_options(declared, options)
    attempt = Attempt(provider, chosen, read_credential(declared, credentials), name)
    _connect(attempt)


@opened
async def _connect(here: Opened, attempt: object) -> None:
    from tieline.flows.connect import Attempt, connect
    from tieline.flows.views import connection_row

    if not isinstance(attempt, Attempt):
        raise TypeError("not an attempt")
    connection = await connect(here.parts, here.org.id, attempt)
    if here.session.json:
        show_json(connection_row(connection))
        return
    say(f"Connected {connection.name} as {connection.id}.")
    if connection.missing_scopes:
        say(f"The credential lacks {', '.join(connection.missing_scopes)}; what needs them cannot be read.")
    say(f"Its first syncs are queued: `tieline sync {connection.id} --wait` runs them here, `tieline serve` anywhere.")
