"""`tieline connect`: from an account's credential, or from a person who signs in at the provider, to a live connection."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tieline.cli.exits import FAILED
from tieline.cli.given import read_credential, read_options, split_pairs
from tieline.cli.moment import LATER
from tieline.cli.session import Command, Opened, current, opened
from tieline.cli.show import plain, say, show_json, show_problem, warn

if TYPE_CHECKING:
    from tieline.flows.authorize import Wish
    from tieline.flows.connect import Attempt as Given
    from tieline.sdk.auth import Auth
    from tieline.sdk.provider import Provider
    from tieline.store.attempts import Attempt
    from tieline.store.connections import Connection

LOOK_EVERY = 0.5
"""Seconds between two looks at an attempt that is waited for."""


@click.command("connect", cls=Command)
@click.argument("provider")
@click.option("--by", metavar="SLOT", help="The way to authenticate, if not the recommended one.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="A choice that is no secret.")
@click.option(
    "--credential",
    "credentials",
    multiple=True,
    metavar="NAME=-|@FILE",
    help="A field of the credential: from standard input (several: a line each) or a file.",
)
@click.option("--expires", type=LATER, help="When the credential ends, to be warned before.")
@click.option("--name", help="What to call the connection.")
@click.option("--connection", help="Sign in for this connection, in place of a new one.")
@click.option("--open", "opens", is_flag=True, help="Open the address to sign in at in the browser of this machine.")
def command(
    provider: str,
    by: str | None,
    options: tuple[str, ...],
    credentials: tuple[str, ...],
    expires: datetime | None,
    name: str | None,
    connection: str | None,
    opens: bool,
) -> None:
    """Connect an account: its credential is tried, sealed and saved, and its first syncs are queued.

    `tieline providers show PROVIDER` says which ways, options and credential fields there are. On a terminal, those that are
    missing are asked for. On a way that goes through the provider's own pages, an address to open is shown and its outcome awaited.
    """
    from tieline.catalog import load_catalog
    from tieline.flows.authorize import Wish
    from tieline.flows.connect import Attempt
    from tieline.sdk.auth import Redirects

    current().start_log()
    declared = load_catalog().provider(provider)
    auth = _way(declared, by, credentials)
    if isinstance(auth, Redirects):
        if credentials or expires:
            raise click.UsageError(f"By {auth.slot} one signs in at {declared.name}; there is no credential to give")
        chosen = split_pairs("--option", options) if connection else read_options(declared, options)
        _sign_in(Wish(provider, auth.slot, chosen, name, connection), opens=opens)
        return
    if connection:
        raise click.UsageError("Give a connection its new credential by `tieline connections rotate`")
    chosen = read_options(declared, options)
    _connect(Attempt(provider, chosen, read_credential(auth, credentials), name, auth.slot, expires))


def _way(provider: Provider[Any], by: str | None, credentials: tuple[str, ...]) -> Auth:
    """The way that was asked for; else the recommended one, or the first for which a credential is given."""
    from tieline.flows.connect import given_way
    from tieline.sdk.auth import Redirects

    if by:
        return provider.mode(by)
    recommended = provider.mode()
    return given_way(provider, None) if credentials or not isinstance(recommended, Redirects) else recommended


@opened
async def _connect(here: Opened, given: Given) -> None:
    from tieline.flows.connect import connect

    _tell(here, await connect(here.parts, here.org.id, given))


@opened
async def _sign_in(here: Opened, wish: Wish, *, opens: bool) -> int | None:
    """Show the address, and wait until somebody has been there and back."""
    from tieline.cli.answering import answering
    from tieline.flows.authorize import begin
    from tieline.store.connections import get_connection

    begun = await begin(here.parts, here.org.id, wish)
    async with answering(here.tieline):
        warn(f"Open this address, within ten minutes, in the browser to sign in with:\n\n  {begun.url}\n")
        if opens:
            click.launch(begun.url)
        attempt = await _outcome(here, begun.attempt.id)
    if attempt.connected_id is None:
        told = attempt.error_message or "Nobody came back from the provider in time"
        slug = attempt.error_slug or "sign-in-expired"
        show_problem(slug, told, "Begin again.", json=here.session.json)
        return FAILED
    async with here.work() as work:
        connection = await get_connection(work, attempt.connected_id)
    _tell(here, connection)
    return None


async def _outcome(here: Opened, attempt_id: str) -> Attempt:
    """The attempt, once it has ended or its time is up."""
    from tieline.store.attempts import get_attempt

    while True:
        async with here.work() as work:
            attempt = await get_attempt(work, attempt_id)
        if attempt.status_at(here.parts.clock.now()) not in ("pending", "validating"):
            return attempt
        await asyncio.sleep(LOOK_EVERY)


def _tell(here: Opened, connection: Connection) -> None:
    from tieline.flows.views import connection_row

    if here.session.json:
        show_json(connection_row(connection))
        return
    say(f"Connected {plain(connection.name)} as {connection.id}.")
    if connection.missing_scopes:
        say(f"The credential lacks {', '.join(connection.missing_scopes)}; what needs them cannot be read.")
    for remark in connection.remarks:
        say(plain(remark))
    say(f"Its first syncs are queued: `tieline sync {connection.id} --wait` runs them here, `tieline serve` anywhere.")
