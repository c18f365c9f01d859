"""Entities: what was read, normalised, merged over connections and providers, with how many there are of each sort."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from tieline.flows.views import JsonRow, entity_row, listing
from tieline.ids import entity_uuid, to_uuid
from tieline.sdk.entities import KINDS, links_of
from tieline.store.connections import list_connections
from tieline.store.db import Work
from tieline.store.entities import StoredEntity
from tieline.store.entity_counts import count_by
from tieline.store.entity_lists import LOOKED_THROUGH, list_entities
from tieline.store.listing import Paging
from tieline.web.listing import MAX_ROWS, PAGE_SIZE, Column, Filter, read_asked, show_list
from tieline.web.names import names_of, own_name, provider_name
from tieline.web.page import AnyPage, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import word

router = APIRouter(route_class=ConsoleRoute)

_GONE = (("true", "No longer seen"),)
_VERDICTS = {"fail": "A check fails", "unknown": "Something is unknown", "pass": "All pass", "none": "No check applies"}
_FACETS = (
    ("provider", "Provider"),
    ("connection_id", "Connection"),
    ("status", "State"),
    ("verdict", "What checks say"),
)
_SHOWN = 6  # choices of a facet; the rest unfold
_FILTERS = (
    Filter("search", "Name, e-mail or id"),
    Filter("kind", "Kind", [(one, one) for one in KINDS], hidden=True),
    *(Filter(name, label, hidden=True) for name, label in _FACETS[:3]),
    Filter("verdict", "What checks say", list(_VERDICTS.items()), hidden=True),
    Filter("removed", "Presence", _GONE, hidden=True),
)
_COLUMNS = (
    Column("id", "id"),
    Column("kind", "kind"),
    Column("name", "name"),
    Column("external id", "external_id"),
    Column("provider", "provider"),
    Column("connection", "connection_id"),
    Column("state", "status"),
    Column("first seen", "first_seen_at"),
    Column("changed", "changed_at"),
    Column("no longer seen", "removed_at"),
    Column("answers", "answers"),
    Column("fields", "data"),
)


@dataclass(frozen=True)
class Choice:
    """One value of a facet, and how many entities there are with it."""

    value: str
    label: str
    count: int
    chosen: bool


@dataclass(frozen=True)
class Facet:
    """What a list can be narrowed by: the choices that are most, and the others."""

    name: str
    label: str
    first: list[Choice]
    others: list[Choice]
    chosen: bool


@router.get("/entities")
async def show_entities(page: AnyPage) -> Response:
    """List entities."""
    asked = read_asked(page.request.query_params, _FILTERS)
    async with page.parts.db.work(page.org_id) as work:
        found = await list_connections(work, Paging(limit=MAX_ROWS))
        names = {one.id: one.name for one in found.items}
        facets = [] if asked.as_csv else await _facets(page, work, asked.values, names)
        counts = await count_by(work, "kind", _counted(asked.values))

    async def fetch(values: Mapping[str, str | None], paging: Paging) -> JsonRow:
        asked: dict[str, Any] = {**values, "removed": values["removed"] is not None}
        async with page.parts.db.work(page.org_id) as work:
            found = await list_entities(work, paging, **asked)
            names = await _name_all(work, found.items)
        return listing(found, lambda one: _row(one, names[one.id]))

    return await show_list(
        page,
        "pages/entities.html",
        title="Entities",
        filters=_FILTERS,
        columns=_COLUMNS,
        fetch=fetch,
        api="/v1/entities",
        kinds=[(kind, counts[kind]) for kind in KINDS if kind in counts],
        total=sum(counts.values()),
        looked_through=LOOKED_THROUGH,
        page_size=PAGE_SIZE,
        names=names,
        facets=facets,
        provider_of=lambda slug: provider_name(page, slug),
    )


async def _facets(page: Page, work: Work, values: Mapping[str, str | None], names: Mapping[str, str]) -> list[Facet]:
    """What the list can be narrowed by, each with how many there would be; of what is searched or gone nothing is counted."""
    if values["search"] or values["removed"]:
        return []
    told: dict[str, Callable[[str], str]] = {
        "provider": lambda slug: provider_name(page, slug),
        "connection_id": lambda one: names.get(one, "Disconnected"),
        "status": word,
        "verdict": lambda one: _VERDICTS[one],
    }
    found = []
    for name, label in _FACETS:
        counts = await count_by(work, name, _counted(values))
        chosen = values[name]
        choices = [Choice(one, told[name](one), count, one == chosen) for one, count in counts.items()]
        if len(choices) > 1 or chosen:
            found.append(Facet(name, label, choices[:_SHOWN], choices[_SHOWN:], chosen is not None))
    return found


def _counted(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """The filters that counts know of."""
    return {name: values[name] for name in ("kind", "connection_id", "provider", "status", "verdict")}


def _row(entity: StoredEntity, name: str) -> JsonRow:
    """An entity for the list: with its name, and how many of its answers are of each outcome."""
    row = entity_row(entity)
    outcomes = list(row["answers"].values())
    told = [(outcome, outcomes.count(outcome)) for outcome in ("fail", "unknown", "pass") if outcome in outcomes]
    return row | {"name": name, "told": told}


async def _name_all(work: Work, found: list[StoredEntity]) -> dict[str, str]:
    """A name for each: its own, or of what has none, such as a membership, the names of those that it joins."""
    ends: dict[str, dict[str, list[UUID]]] = {}
    for one in found:
        if not own_name(one.data):
            ends.setdefault(one.connection_id, {})[one.id] = _ends_of(one)
    names: dict[UUID, str] = {}
    for connection_id, those in ends.items():
        names |= await names_of(work, connection_id, list({end for each in those.values() for end in each}))
    joined = {
        entity_id: " · ".join(names[end] for end in each if end in names)
        for those in ends.values()
        for entity_id, each in those.items()
    }
    return {one.id: own_name(one.data) or joined[one.id] or one.external_id for one in found}


def _ends_of(entity: StoredEntity) -> list[UUID]:
    """The ids of what its fields lead to."""
    connection, data = to_uuid(entity.connection_id, "conn"), entity.data
    fields = links_of(KINDS[entity.kind]).items()
    return [entity_uuid(connection, to, data[name]) for name, to in fields if data.get(name)]
