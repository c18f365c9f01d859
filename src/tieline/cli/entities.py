"""`tieline entities`: what was read, normalised."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from tieline.cli.listing import page, paged
from tieline.cli.moment import EARLIER
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, plain, say, show_json, show_listing, show_row

_NAMES = ("email", "name", "display_name", "title")


def _label(row: Mapping[str, Any]) -> Any:
    return next((row["data"][name] for name in _NAMES if row["data"].get(name)), None)


def _failing(row: Mapping[str, Any]) -> str:
    return ", ".join(check for check, answer in (row["answers"] or {}).items() if answer == "fail")


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


def _changes(row: Mapping[str, Any]) -> str:
    if row["changes"] is None:
        return "what it was before is no longer kept"
    return ", ".join(f"{one['field']}: {_told(one['before'])} → {_told(one['after'])}" for one in row["changes"])


def _told(value: Any) -> str:
    return "not told" if value is None else plain(value)


_VERSION_COLUMNS: Columns = [
    ("since", at("since")),
    ("until", at("until")),
    ("what", "what"),
    ("status", "status"),
    ("changes", _changes),
    ("run", "run_id"),
]
_CHANGE_COLUMNS: Columns = [
    ("field", "field"),
    ("before", lambda row: _told(row["before"])),
    ("after", lambda row: _told(row["after"])),
]

as_of = click.option(
    "--as-of",
    "as_of",
    type=EARLIER,
    metavar="WHEN",
    help="As of then: 2026-01-31, 2026-01-31T12:00, or 30d for so long ago.",
)


@click.group("entities", cls=NounGroup)
def command() -> None:
    """What was read, normalised."""


@command.command("list")
@click.option("--kind", help="Only of this kind: account, group, membership, device, repository …")
@click.option("--connection", help="Only of this connection.")
@click.option("--provider", help="Only of this provider.")
@click.option("--status", help="Only with this status.")
@click.option(
    "--verdict",
    type=click.Choice(["fail", "unknown", "pass", "none"]),
    help="Only those of whose standing answers this is the worst.",
)
@click.option("--search", metavar="TEXT", help="Only with this in a name or as external id.")
@click.option("--removed", is_flag=True, help="Those that are gone instead.")
@as_of
@paged
@opened
async def list_(
    here: Opened,
    kind: str | None,
    connection: str | None,
    provider: str | None,
    status: str | None,
    verdict: str | None,
    search: str | None,
    removed: bool,
    as_of: datetime | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List the entities, as they are or as they were."""
    from tieline.flows.history import list_as_of, past_row
    from tieline.flows.views import entity_row, listing
    from tieline.store.entity_lists import list_entities

    wanted: dict[str, Any] = {"kind": kind, "provider": provider, "status": status, "search": search}
    wanted |= {"connection_id": connection, "verdict": verdict, "removed": removed}
    async with here.work() as work:
        if as_of:
            past = await list_as_of(work, page(limit, cursor), as_of, now=here.parts.clock.now(), **wanted)
            rows = listing(past, past_row)
        else:
            rows = listing(await list_entities(work, page(limit, cursor), **wanted), entity_row)
    show_listing(rows, _COLUMNS, json=here.session.json)


@command.command("show")
@click.argument("entity")
@as_of
@opened
async def show(here: Opened, entity: str, as_of: datetime | None) -> None:
    """Show an entity and the record that it came from, or what it was at a time."""
    from tieline.flows.history import past_row, see_past
    from tieline.flows.views import entity_detail
    from tieline.store.entities import get_entity

    async with here.work() as work:
        if as_of:
            row = past_row(await see_past(work, entity, as_of, now=here.parts.clock.now()))
        else:
            row = entity_detail(*await get_entity(work, entity))
    show_row(row, json=here.session.json)


@command.command("history")
@click.argument("entity")
@paged
@opened
async def history(here: Opened, entity: str, limit: int, cursor: str | None) -> None:
    """List what an entity was, newest first: when, what changed and by which run."""
    from tieline.flows.history import list_versions, version_row
    from tieline.flows.views import listing

    async with here.work() as work:
        found = await list_versions(work, entity, page(limit, cursor))
    show_listing(listing(found, version_row), _VERSION_COLUMNS, json=here.session.json)


@command.command("diff")
@click.argument("entity")
@click.option("--since", type=EARLIER, metavar="WHEN", help="The first time; when it was first read, if left out.")
@click.option("--until", type=EARLIER, metavar="WHEN", help="The second time; now, if left out.")
@opened
async def diff(here: Opened, entity: str, since: datetime | None, until: datetime | None) -> None:
    """Compare what an entity was at two times."""
    from tieline.flows.history import compare_times, difference_row

    async with here.work() as work:
        found = await compare_times(work, entity, since, until, now=here.parts.clock.now())
    row = difference_row(found)
    if here.session.json:
        show_json(row)
        return
    before, after = found.presence
    if before != after:
        say(f"{before} then, {after} later")
    show_listing({"items": row["changes"], "next": None}, _CHANGE_COLUMNS, json=False, none="No field differs.")
