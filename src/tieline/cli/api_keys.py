"""`tieline api-keys`: keys for the REST API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from tieline.cli.listing import page, paged
from tieline.cli.moment import LATER
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing, warn

_COLUMNS: Columns = [
    ("id", "id"),
    ("name", "name"),
    ("role", "role"),
    ("status", "status"),
    ("begins with", lambda row: f"tl_{row['prefix']}_"),
    ("expires", at("expires_at")),
    ("last used", at("last_used_at")),
]


@click.group("api-keys", cls=NounGroup)
def command() -> None:
    """Keys for the REST API, sent as X-API-Key."""


@command.command("list")
@paged
@opened
async def list_(here: Opened, limit: int, cursor: str | None) -> None:
    """List the keys, revoked ones too."""
    from tieline.flows.views import api_key_row, listing
    from tieline.store.api_keys import list_api_keys

    async with here.work() as work:
        found = await list_api_keys(work, page(limit, cursor))
    now = here.parts.clock.now()
    rows = listing(found, lambda one: api_key_row(one, now=now))
    show_listing(rows, _COLUMNS, json=here.session.json, none="There are none: `tieline api-keys create` makes one.")


@command.command("create")
@click.option("--name", default="cli", show_default=True, help="What it is for.")
@click.option(
    "--role",
    type=click.Choice(["auditor", "member", "admin", "owner", "operator"]),
    default="admin",
    show_default=True,
    help="How far it reaches.",
)
@click.option("--expires", type=LATER, help="When it ends: a date, a time, or 90d. Without it, never.")
@opened
async def create(here: Opened, name: str, role: Any, expires: datetime | None) -> None:
    """Make a key and show it: this once, and never again."""
    from tieline.flows.api_keys import create_api_key
    from tieline.flows.views import api_key_row

    pepper = here.tieline.ring.api_key_pepper
    made = await create_api_key(here.parts, here.org.id, pepper, name=name, role=role, expires_at=expires)
    if here.session.json:
        show_json(api_key_row(made.row, now=here.parts.clock.now()) | {"key": made.plain})
        return
    say(made.plain)
    warn(f"This is the only time that it is shown ({made.row.role} of {here.org.slug}). Send it as X-API-Key.")


@command.command("revoke")
@click.argument("key")
@opened
async def revoke(here: Opened, key: str) -> None:
    """Make a key useless at once."""
    from tieline.flows.api_keys import revoke_api_key
    from tieline.flows.views import api_key_row

    revoked = await revoke_api_key(here.parts, here.org.id, key)
    if here.session.json:
        show_json(api_key_row(revoked, now=here.parts.clock.now()))
    else:
        say(f"Revoked {revoked.name} ({revoked.id}).")
