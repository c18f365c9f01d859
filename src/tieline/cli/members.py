"""`tieline members`: the people who may sign in to the console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline.cli.listing import page, paged
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing, warn

if TYPE_CHECKING:
    from tieline.flows.members import Invited

_COLUMNS: Columns = [
    ("id", "id"),
    ("e-mail", "email"),
    ("name", "name"),
    ("role", "role"),
    ("status", "status"),
    ("last here", at("last_seen_at")),
]
_ROLES = click.Choice(["auditor", "member", "admin", "owner", "operator"])


@click.group("members", cls=NounGroup)
def command() -> None:
    """The people who may sign in to the console. Tieline sends no mail: hand over the links that it shows."""


@command.command("list")
@paged
@opened
async def list_(here: Opened, limit: int, cursor: str | None) -> None:
    """List the members."""
    from tieline.flows.views import listing, member_row
    from tieline.store.members import list_members

    async with here.work() as work:
        rows = listing(await list_members(work, page(limit, cursor)), member_row)
    show_listing(rows, _COLUMNS, json=here.session.json, none="There are none: `tieline members invite` makes one.")


@command.command("invite")
@click.argument("email")
@click.option("--name", default="", help="What to call them.")
@click.option("--role", type=_ROLES, default="member", show_default=True, help="How far they reach.")
@opened
async def invite(here: Opened, email: str, name: str, role: Any) -> None:
    """Make somebody a member, and show the link to hand over."""
    from tieline.flows.members import invite_member

    _show(here, await invite_member(here.parts, here.org.id, email=email, name=name, role=role))


@command.command("link")
@click.argument("email")
@opened
async def link(here: Opened, email: str) -> None:
    """Make a new link for a member, named by address or id; links made before stop working."""
    from tieline.flows.members import find_present, make_member_link

    member = await find_present(here.parts, here.org.id, email)
    _show(here, await make_member_link(here.parts, here.org.id, member.id))


@command.command("remove")
@click.argument("email")
@click.option("--heir", metavar="EMAIL", help="Who looks after their connections from now on; nobody if left out.")
@opened
async def remove(here: Opened, email: str, heir: str | None) -> None:
    """Let a member, named by address or id, in no more, and end their sessions."""
    from tieline.flows.members import find_present, remove_member, removed_row

    member = await find_present(here.parts, here.org.id, email)
    follows = await find_present(here.parts, here.org.id, heir) if heir else None
    removed = await remove_member(here.parts, here.org.id, member.id, heir=follows.id if follows else None)
    if here.session.json:
        show_json(removed_row(removed))
        return
    say(f"Removed {removed.member.email} ({removed.member.id}).")
    if removed.connections:
        say(f"Connections that {f'went to {heir}' if heir else 'have no owner now'}: {removed.connections}.")


def _show(here: Opened, invited: Invited) -> None:
    from tieline.flows.views import member_row, moment

    url, until = invited.link.url(here.parts.public_url), moment(invited.link.expires_at)
    if here.session.json:
        show_json(member_row(invited.member) | {"url": url, "link_expires_at": until})
        return
    say(url)
    warn(f"This link works once, for {invited.member.email} ({invited.member.role} of {here.org.slug}), until {until}.")
