"""`tieline connect-sessions`: links by which a person connects an account of theirs in the browser."""

from __future__ import annotations

from typing import Any

import click

from tieline.cli.given import split_pairs
from tieline.cli.listing import page, paged
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing, show_row, warn

_COLUMNS: Columns = [
    ("id", "id"),
    ("status", "status"),
    ("provider", "provider"),
    ("connection", "connection_id"),
    ("made", at("created_at")),
    ("until", at("expires_at")),
]


@click.group("connect-sessions", cls=NounGroup)
def command() -> None:
    """Links by which a person connects an account; each opens once, within 30 minutes."""


@command.command("list")
@paged
@opened
async def list_(here: Opened, limit: int, cursor: str | None) -> None:
    """List the sessions of the last week, newest first."""
    from tieline.flows.connect_sessions import session_row
    from tieline.flows.views import listing
    from tieline.store.connect_sessions import list_sessions

    async with here.work() as work:
        found = await list_sessions(work, page(limit, cursor))
    now = here.parts.clock.now()
    rows = listing(found, lambda one: session_row(one, now=now))
    show_listing(rows, _COLUMNS, json=here.session.json, none="There are none: `tieline connect-sessions create`.")


@command.command("create")
@click.option("--provider", "providers", multiple=True, metavar="SLUG", help="One to choose from; without any, all.")
@click.option(
    "--origin", "origins", multiple=True, metavar="ORIGIN", help="A site that may frame it: https://app.example."
)
@click.option("--locale", type=click.Choice(["en", "de"]), help="Its language, if not the browser's.")
@click.option(
    "--theme", type=click.Choice(["auto", "light", "dark"]), default="auto", show_default=True, help="Its look."
)
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="To begin with, for one provider.")
@click.option("--connection", help="A connection that is to get a new credential.")
@click.option("--return-to", help="Where its last link leads.")
@opened
async def create(
    here: Opened,
    providers: tuple[str, ...],
    origins: tuple[str, ...],
    locale: Any,
    theme: Any,
    options: tuple[str, ...],
    connection: str | None,
    return_to: str | None,
) -> None:
    """Make a session and show its address: this once, and never again."""
    from tieline.flows.connect_sessions import Offer, create_session, session_row

    given = split_pairs("--option", options)
    offer = Offer(providers, origins, locale, theme, given, connection, return_to)
    made = await create_session(here.parts, here.org.id, offer)
    if here.session.json:
        row = session_row(made.session, now=here.parts.clock.now())
        show_json(row | {"token": made.token, "url": made.url})
        return
    say(made.url)
    warn(f"It opens once, within 30 minutes. How it stands: `tieline connect-sessions show {made.session.id}`.")


@command.command("show")
@click.argument("session")
@opened
async def show(here: Opened, session: str) -> None:
    """Show how a session stands, and the connection that came of it."""
    from tieline.flows.connect_sessions import session_row
    from tieline.store.connect_sessions import get_session

    async with here.work() as work:
        found = await get_session(work, session)
    show_row(session_row(found, now=here.parts.clock.now()), json=here.session.json)


@command.command("cancel")
@click.argument("session")
@opened
async def cancel(here: Opened, session: str) -> None:
    """End a session that is not over."""
    from tieline.flows.connect_sessions import cancel_session, session_row

    ended = await cancel_session(here.parts, here.org.id, session)
    if here.session.json:
        show_json(session_row(ended, now=here.parts.clock.now()))
    else:
        say(f"Cancelled {ended.id}.")
