"""`tieline entities`: what was read, normalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tieline.cli.listing import page, paged
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, show_listing, show_row

_NAMES = ("email", "name", "display_name", "title")


def _label(row: Mapping[str, Any]) -> Any:
    return next((row["data"][name] for name in _NAMES if row["data"].get(name)), None)


def _failing(row: Mapping[str, Any]) -> str:
    return ", ".join(check for check, answer in row["answers"].items() if answer == "fail")


_COLUMNS: Columns = [
    ("id", "id"),
    ("provider", "provider"),
    ("kind", "kind"),
    ("external id", "external_id"),
    ("name", _label),
    ("status", "status"),
    ("fails", _failing),
    ("changed", at("changed_at")),
]


@click.group("entities", cls=NounGroup)
def command() -> None:
    """What was read, normalised."""


@command.command("list")
@click.option("--kind", help="Only of this kind: account, group, membership, device, repository …")
@click.option("--connection", help="Only of this connection.")
@click.option("--provider", help="Only of this provider.")
@click.option("--status", help="Only with this status.")
@click.option("--search", metavar="TEXT", help="Only with this in a name or as external id.")
@click.option("--removed", is_flag=True, help="Those that are gone instead.")
@paged
@opened
async def list_(
    here: Opened,
    kind: str | None,
    connection: str | None,
    provider: str | None,
    status: str | None,
    search: str | None,
    removed: bool,
    limit: int,
    cursor: str | None,
) -> None:
    """List the entities."""
    from tieline.flows.views import entity_row, listing
    from tieline.store.entities import list_entities

    wanted: dict[str, Any] = {"kind": kind, "provider": provider, "status": status, "search": search}
    async with here.work() as work:
        found = await list_entities(work, page(limit, cursor), connection_id=connection, removed=removed, **wanted)
    show_listing(listing(found, entity_row), _COLUMNS, json=here.session.json)


@command.command("show")
@click.argument("entity")
@opened
async def show(here: Opened, entity: str) -> None:
    """Show an entity, and the record that it came from."""
    from tieline.flows.views import entity_detail
    from tieline.store.entities import get_entity

    async with here.work() as work:
        show_row(entity_detail(*await get_entity(work, entity)), json=here.session.json)
