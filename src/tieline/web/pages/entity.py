"""One entity: its fields and links, what checks say of it and why, and what it was before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from tieline.flows.views import entity_row, evidence_row, finding_row, moment
from tieline.ids import entity_uuid, from_uuid, to_uuid
from tieline.sdk.checks import Check
from tieline.sdk.entities import KINDS, links_of
from tieline.store import entities as store
from tieline.store.connections import get_connection
from tieline.store.db import Work
from tieline.store.entities import StoredEntity
from tieline.store.evidence import Evidence, list_evidence
from tieline.store.findings import Finding, list_findings
from tieline.store.listing import Paging
from tieline.web.data import pairs, plain, pretty
from tieline.web.history import look_back
from tieline.web.listing import MAX_ROWS
from tieline.web.names import names_of, own_name, provider_name
from tieline.web.page import AnyPage, ApiCall, Page
from tieline.web.route import ConsoleRoute

router = APIRouter(route_class=ConsoleRoute)

_LINKS_SHOWN = 20  # of each kind that links to an entity
MOST_COUNTED = 1_000
"""Of one kind that links to an entity: a group may hold everybody."""
_STATEMENTS = 200  # enough for the newest of each check


@dataclass(frozen=True)
class Linked:
    """An entity at the other end of a link; `via` is what stands between, such as a membership."""

    id: str
    name: str
    via: str | None = None


@dataclass(frozen=True)
class Inward:
    """The entities of one kind that link to this one by one field, the first of them by name; `more` than were counted."""

    kind: str
    field: str
    count: int
    shown: list[Linked]
    more: bool = False


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


@router.get("/entities/{entity_id}")
async def show_entity(page: AnyPage, entity_id: str) -> Response:
    """Show one entity."""
    async with page.parts.db.work(page.org_id) as work:
        entity, raw = await store.get_entity(work, entity_id)
        connection = await get_connection(work, entity.connection_id)
        out, inward = await _links_out(work, entity), await _links_in(work, entity)
        found = (await list_findings(work, Paging(limit=MAX_ROWS), entity_id=entity.id)).items
        stated = (await list_evidence(work, Paging(limit=_STATEMENTS), entity_id=entity.id)).items
        history = await look_back(page, work, entity)
    return page.show(
        "pages/entity.html",
        title=own_name(entity.data) or " · ".join(one.name for one in out.values()) or entity.external_id,
        api=ApiCall(f"/v1/entities/{entity.id}"),
        one=entity_row(entity),
        provider=provider_name(page, entity.provider),
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
        history=history,
    )


async def _links_out(work: Work, entity: StoredEntity) -> dict[str, Linked]:
    """What the entity's own fields lead to, by field; only what is still there."""
    held = await store.links_from(work, [to_uuid(entity.id, "ent")])
    names = await names_of(work, entity.connection_id, [target for _, _, target in held])
    return {field: Linked(from_uuid("ent", at), names[at]) for field, _, at in held if at in names}


async def _links_in(work: Work, entity: StoredEntity) -> list[Inward]:
    """What leads to the entity. Of what only joins two, such as a membership, the other end is named."""
    here, connection = to_uuid(entity.id, "ent"), to_uuid(entity.connection_id, "conn")
    pointing = [
        (kind, field) for kind, one in KINDS.items() for field, to in links_of(one).items() if to == entity.kind
    ]
    found = []
    for kind, field in pointing:
        found_here = await store.linking_to(work, [here], kind=kind, field=field, most=MOST_COUNTED + 1)
        rows = [data for _, data in found_here]
        ends = {
            place: entity_uuid(connection, to, data[other])
            for place, data in enumerate(rows[:_LINKS_SHOWN])
            for other, to in links_of(KINDS[kind]).items()
            if other != field and data.get(other)
        }
        names = await names_of(work, entity.connection_id, list(ends.values()))
        shown = [
            _linked(connection, kind, data, ends.get(place), names) for place, data in enumerate(rows[:_LINKS_SHOWN])
        ]
        if shown:
            found.append(Inward(kind, field, min(len(rows), MOST_COUNTED), shown, more=len(rows) > MOST_COUNTED))
    return found


def _linked(
    connection: UUID, kind: str, data: Mapping[str, Any], end: UUID | None, names: Mapping[UUID, str]
) -> Linked:
    itself = from_uuid("ent", entity_uuid(connection, kind, data["external_id"]))
    if end is not None and end in names:
        return Linked(from_uuid("ent", end), names[end], itself)
    return Linked(itself, own_name(data) or data.get("type") or data["external_id"])


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
