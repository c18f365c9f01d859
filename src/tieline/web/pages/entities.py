"""Entities: what was read, normalised; for one of them also what it is linked with, what checks say of it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from tieline.flows.views import JsonRow, entity_row, evidence_row, finding_row, listing, moment
from tieline.ids import entity_uuid, from_uuid, to_uuid
from tieline.sdk.checks import Check
from tieline.sdk.entities import KINDS, links_of
from tieline.store import entities as store
from tieline.store.connections import get_connection, list_connections
from tieline.store.db import Work
from tieline.store.entities import StoredEntity
from tieline.store.evidence import Evidence, list_evidence
from tieline.store.findings import Finding, list_findings
from tieline.store.listing import Paging
from tieline.web.data import pairs, plain, pretty
from tieline.web.listing import MAX_ROWS, Column, Filter, show_list
from tieline.web.page import AnyPage, ApiCall, Page
from tieline.web.route import ConsoleRoute

router = APIRouter(route_class=ConsoleRoute)

_GONE = (("true", "No longer seen"),)
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
_NAMES = ("email", "display_name", "name", "title", "username")
_LINKS_SHOWN = 20  # of each kind that links to an entity
_STATEMENTS = 200  # enough for the newest of each check


@dataclass(frozen=True)
class Linked:
    """An entity at the other end of a link; `via` is what stands between, such as a membership."""

    id: str
    name: str
    via: str | None = None


@dataclass(frozen=True)
class Inward:
    """The entities of one kind that link to this one by one field, the first of them by name."""

    kind: str
    field: str
    count: int
    shown: list[Linked]


@dataclass(frozen=True)
class Answered:
    """What one check says of an entity, the values that decided, and since when."""

    check: str
    title: str
    outcome: str
    values: list[tuple[str, str]]
    severity: str | None
    fix: str | None
    at: str | None


@router.get("/entities")
async def show_entities(page: AnyPage) -> Response:
    """List entities."""
    wanted = page.request.query_params.get("connection_id", "").strip()
    async with page.parts.db.work(page.org_id) as work:
        found = await list_connections(work, Paging(limit=MAX_ROWS))
        counts = await store.count_by_kind(work, wanted or None)
    names = {one.id: one.name for one in found.items}
    chosen = {wanted: wanted} | names if wanted and wanted not in names else names
    providers = sorted({one.provider for one in found.items})
    filters = (
        Filter("kind", "Kind", [(one, one) for one in KINDS], hidden=True),
        Filter("search", "Name, e-mail or id"),
        Filter("connection_id", "Connection", list(chosen.items())),
        Filter("provider", "Provider", [(one, _provider(page, one)) for one in providers]),
        Filter("status", "State"),
        Filter("removed", "Presence", _GONE, hidden=True),
    )

    async def fetch(values: Mapping[str, str | None], paging: Paging) -> JsonRow:
        asked: dict[str, Any] = {**values, "removed": values["removed"] is not None}
        async with page.parts.db.work(page.org_id) as work:
            found = await store.list_entities(work, paging, **asked)
            names = await _name_all(work, found.items)
        return listing(found, lambda one: _row(one, names[one.id]))

    return await show_list(
        page,
        "pages/entities.html",
        title="Entities",
        filters=filters,
        columns=_COLUMNS,
        fetch=fetch,
        api="/v1/entities",
        kinds=[(kind, counts[kind]) for kind in KINDS if kind in counts],
        total=sum(counts.values()),
        names=names,
        provider_of=lambda slug: _provider(page, slug),
    )


@router.get("/entities/{entity_id}")
async def show_entity(page: AnyPage, entity_id: str) -> Response:
    """Show one entity."""
    async with page.parts.db.work(page.org_id) as work:
        entity, raw = await store.get_entity(work, entity_id)
        connection = await get_connection(work, entity.connection_id)
        out, inward = await _links_out(work, entity), await _links_in(work, entity)
        found = (await list_findings(work, Paging(limit=MAX_ROWS), entity_id=entity.id)).items
        stated = (await list_evidence(work, Paging(limit=_STATEMENTS), entity_id=entity.id)).items
    return page.show(
        "pages/entity.html",
        title=_own_name(entity.data) or " · ".join(one.name for one in out.values()) or entity.external_id,
        api=ApiCall(f"/v1/entities/{entity.id}"),
        one=entity_row(entity),
        provider=_provider(page, entity.provider),
        connection=connection,
        fields=[(name, entity.data.get(name)) for name in KINDS[entity.kind].model_fields if name != "external_id"],
        plain=plain,
        out=out,
        inward=inward,
        answers=_answers(page, entity, found, stated),
        found=[finding_row(one) for one in found],
        stated=[evidence_row(one) for one in stated[:10]],
        more=len(stated) > 10,
        raw=pretty(raw),
    )


async def _links_out(work: Work, entity: StoredEntity) -> dict[str, Linked]:
    """What the entity's own fields lead to, by field; only what is still there."""
    held = await store.links_from(work, [to_uuid(entity.id, "ent")])
    names = await _names_of(work, entity.connection_id, [target for _, _, target in held])
    return {field: Linked(from_uuid("ent", at), names[at]) for field, _, at in held if at in names}


async def _links_in(work: Work, entity: StoredEntity) -> list[Inward]:
    """What leads to the entity. Of what only joins two, such as a membership, the other end is named."""
    here, connection = to_uuid(entity.id, "ent"), to_uuid(entity.connection_id, "conn")
    pointing = [
        (kind, field) for kind, one in KINDS.items() for field, to in links_of(one).items() if to == entity.kind
    ]
    found = []
    for kind, field in pointing:
        rows = [data for _, data in await store.linking_to(work, [here], kind=kind, field=field)]
        ends = {
            place: entity_uuid(connection, to, data[other])
            for place, data in enumerate(rows[:_LINKS_SHOWN])
            for other, to in links_of(KINDS[kind]).items()
            if other != field and data.get(other)
        }
        names = await _names_of(work, entity.connection_id, list(ends.values()))
        shown = [
            _linked(connection, kind, data, ends.get(place), names) for place, data in enumerate(rows[:_LINKS_SHOWN])
        ]
        if shown:
            found.append(Inward(kind, field, len(rows), shown))
    return found


def _linked(
    connection: UUID, kind: str, data: Mapping[str, Any], end: UUID | None, names: Mapping[UUID, str]
) -> Linked:
    itself = from_uuid("ent", entity_uuid(connection, kind, data["external_id"]))
    if end is not None and end in names:
        return Linked(from_uuid("ent", end), names[end], itself)
    return Linked(itself, _own_name(data) or data.get("type") or data["external_id"])


async def _names_of(work: Work, connection_id: str, ids: list[UUID]) -> dict[UUID, str]:
    """The names of those that are present."""
    if not ids:
        return {}
    found = await store.read_present(work, connection_id=connection_id, ids=ids)
    return {to_uuid(one.id, "ent"): _own_name(one.data) or one.external_id for one in found}


def _answers(page: Page, entity: StoredEntity, found: list[Finding], stated: list[Evidence]) -> list[Answered]:
    """The standing answers, those that want something done first."""
    checks = {one.id: one for one in page.parts.catalog.checks_for(entity.provider, entity.kind)}
    failing = {one.check_id: one for one in found if one.status != "resolved"}
    newest: dict[str, Evidence] = {}
    for one in stated:
        newest.setdefault(one.check_id, one)
    answers = [
        _answered(check, outcome, checks.get(check), failing.get(check), newest.get(check))
        for check, (outcome, _) in entity.outcomes.items()
    ]
    return sorted(answers, key=lambda one: (("fail", "unknown", "pass").index(one.outcome), one.title))


def _answered(
    check_id: str, outcome: str, check: Check | None, finding: Finding | None, stated: Evidence | None
) -> Answered:
    """An answer. An unknown one was decided by nothing, so what an older one rested on is not shown with it."""
    content = stated.content if stated else {}
    values = (finding.values if finding else content.get("values") or {}) if outcome != "unknown" else {}
    return Answered(
        check_id,
        check.title if check else content.get("check", {}).get("title", check_id),
        outcome,
        pairs(values),
        check.severity if check else None,
        check.fix if check and outcome == "fail" else None,
        moment(stated.observed_at) if stated and outcome != "unknown" else None,
    )


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
        if not _own_name(one.data):
            ends.setdefault(one.connection_id, {})[one.id] = _ends_of(one)
    names: dict[UUID, str] = {}
    for connection_id, those in ends.items():
        names |= await _names_of(work, connection_id, list({end for each in those.values() for end in each}))
    joined = {
        entity_id: " · ".join(names[end] for end in each if end in names)
        for those in ends.values()
        for entity_id, each in those.items()
    }
    return {one.id: _own_name(one.data) or joined[one.id] or one.external_id for one in found}


def _ends_of(entity: StoredEntity) -> list[UUID]:
    """The ids of what its fields lead to."""
    connection, data = to_uuid(entity.connection_id, "conn"), entity.data
    fields = links_of(KINDS[entity.kind]).items()
    return [entity_uuid(connection, to, data[name]) for name, to in fields if data.get(name)]


def _own_name(data: Mapping[str, Any]) -> str | None:
    """The name that a person knows it by, if it has one."""
    return next((str(data[name]) for name in _NAMES if data.get(name)), None)


def _provider(page: Page, slug: str) -> str:
    found = page.parts.catalog.providers.get(slug)
    return found.name if found else slug
