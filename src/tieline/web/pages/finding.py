"""One finding: why it is one, what to do, whose it is, what happened to it, and what is next to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.errors import Invalid
from tieline.flows import findings as flow
from tieline.flows.explain import explain
from tieline.flows.views import evidence_row, finding_event_row, finding_row
from tieline.store import findings as store
from tieline.store.connections import NOBODY, get_connection
from tieline.store.db import Work
from tieline.store.entities import get_entity
from tieline.store.evidence import list_evidence
from tieline.store.findings import Finding
from tieline.store.listing import Paging
from tieline.web.choices import find_check, names_of_members
from tieline.web.data import plain
from tieline.web.forms import errors_of
from tieline.web.page import AnyPage, ApiCall, MemberPage, Page
from tieline.web.pages.findings import read_mute
from tieline.web.route import ConsoleRoute

router = APIRouter(route_class=ConsoleRoute)

_NEIGHBOURS = 5
_STATEMENTS = 3


@router.get("/findings/{finding_id}")
async def show_finding(page: AnyPage, finding_id: str) -> Response:
    """Show one finding: why, the fix, and what happened to it."""
    return await _show(page, finding_id)


@router.post("/findings/{finding_id}/mute")
async def mute_finding(page: MemberPage, finding_id: str) -> Response:
    """Silence a finding, until the end of a day or for good."""
    try:
        await flow.mute(page.parts, page.org_id, finding_id, **read_mute(page), actor=page.caller.actor)
    except Invalid as error:
        given = {name: page.form.get(name).strip() for name in ("reason", "until")}
        return await _show(page, finding_id, status=error.status, problems=errors_of(error), given=given)
    return page.go(f"/findings/{finding_id}", "The finding is muted. It stays in the list, and says nothing.")


@router.post("/findings/{finding_id}/unmute")
async def unmute_finding(page: MemberPage, finding_id: str) -> Response:
    """Let a muted finding speak again."""
    await flow.unmute(page.parts, page.org_id, finding_id, actor=page.caller.actor)
    return page.go(f"/findings/{finding_id}", "The finding is open again.")


@router.post("/findings/{finding_id}/assign")
async def assign_finding(page: MemberPage, finding_id: str) -> Response:
    """Give a finding to a member, or to nobody."""
    to = page.form.get("to") or NOBODY
    await flow.assign(page.parts, page.org_id, finding_id, owner=to, actor=page.caller.actor)
    return page.go(
        f"/findings/{finding_id}", "The finding is nobody's now." if to == NOBODY else "The finding is assigned."
    )


async def _show(
    page: Page,
    finding_id: str,
    *,
    status: int = 200,
    problems: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
) -> Response:
    async with page.parts.db.work(page.org_id) as work:
        finding = await store.get_finding(work, finding_id)
        events = [finding_event_row(one) for one in await store.list_events(work, finding_id)]
        entity, _ = await get_entity(work, finding.entity_id)
        about: dict[str, Any] = {
            "connection": await get_connection(work, finding.connection_id),
            "people": await names_of_members(work),
            "statements": await _statements(work, finding),
            "same_entity": await _others(work, finding, entity_id=finding.entity_id),
            "same_check": await _others(work, finding, check_id=finding.check_id, status="open"),
        }
    check = find_check(page, finding.check_id)
    reasons = explain(check, finding.kind, finding.values, entity.data, at=page.now)
    place = entity.data.get("url")
    return page.show(
        "pages/finding.html",
        status=status,
        title=finding.title,
        row=finding_row(finding),
        reasons=[(one, plain(one.was), plain(one.now)) for one in reasons],
        check=check,
        place=place if isinstance(place, str) and place.startswith("https://") else None,
        provider=page.parts.catalog.providers.get(finding.provider),
        removed_at=entity.removed_at,
        events=events[::-1],
        problems=problems or {},
        given=given or {},
        today=page.now.date().isoformat(),
        api=ApiCall(f"/v1/findings/{finding_id}"),
        **about,
    )


async def _statements(work: Work, finding: Finding) -> list[dict[str, Any]]:
    """The newest statements of the check about the entity."""
    page = await list_evidence(work, Paging(limit=_STATEMENTS), entity_id=finding.entity_id, check_id=finding.check_id)
    return [evidence_row(one) for one in page.items]


async def _others(work: Work, finding: Finding, **wanted: str) -> list[dict[str, Any]]:
    """The newest findings besides this one that have something in common with it."""
    found = (await store.list_findings(work, Paging(limit=_NEIGHBOURS + 1), **wanted)).items
    return [finding_row(one) for one in found if one.id != finding.id][:_NEIGHBOURS]
