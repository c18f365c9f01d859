"""Controls: where each requirement of a framework stands, what speaks for and against it, and where nothing speaks at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.catalog import Framework, load_frameworks
from tieline.flows import controls as flow
from tieline.flows.controls import CONTROL_STATUSES, Standing
from tieline.flows.views import control_row, evidence_row, finding_row
from tieline.sdk.checks import Check
from tieline.sdk.provider import Provider
from tieline.store.connections import list_connections
from tieline.store.db import Work
from tieline.store.evidence import list_evidence
from tieline.store.findings import CheckCount, Finding, count_by_check, list_findings
from tieline.store.listing import Paging
from tieline.web.charts import Share
from tieline.web.choices import find_check
from tieline.web.listing import MAX_ROWS, Column, Filter, answer_csv, read_asked
from tieline.web.page import AnyPage, ApiCall, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import tone, word

router = APIRouter(route_class=ConsoleRoute)

_FIRST = "soc2"
_GAPS_FIRST = ("contradicted", "mixed", "no-evidence", "supported")
_SHOWN = 10
_COLUMNS = tuple(
    Column(name, name)
    for name in (
        "id", "framework", "family", "title", "asks", "status", "supporting", "contradicting", "unknown", "checks", "last_evidence_at",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """Controls that are shown under one heading."""

    id: str
    heading: str
    standings: Sequence[Standing]


@dataclass(frozen=True)
class Covered:
    """How many controls of a framework a connected provider speaks to."""

    provider: Provider[Any]
    connections: int
    controls: int


@router.get("/controls")
async def show_controls(page: AnyPage) -> Response:
    """List the controls of a framework, by family or with the gaps first."""
    frameworks = load_frameworks()
    asked = read_asked(page.request.query_params, _filters(frameworks.values()))
    framework = frameworks[asked.values["framework"] or _FIRST]
    standings = await flow.list_controls(page.parts, page.org_id, framework=framework.slug)
    status = asked.values["status"]
    chosen = [one for one in standings if status in {None, one.status}]
    if asked.as_csv:
        return answer_csv(f"controls {framework.slug}", _COLUMNS, lambda _: _as_rows(chosen))
    counts = Counter(one.status for one in standings)
    query = {"framework": framework.slug} | ({"status": status} if status else {})
    return page.show(
        "pages/controls.html",
        title="Controls",
        frameworks=frameworks.values(),
        framework=framework,
        only=status,
        gaps_first=asked.values["order"] == "gaps",
        statuses=[(one, counts[one]) for one in CONTROL_STATUSES],
        posture=[Share(word(one), counts[one], tone(one)) for one in CONTROL_STATUSES],
        sections=_by_gap(chosen) if asked.values["order"] == "gaps" else _by_family(framework, chosen),
        shares=shares_of,
        coverage=await _coverage(page, framework),
        api=ApiCall("/v1/controls", query),
    )


@router.get("/controls/{control_id}")
async def show_control(page: AnyPage, control_id: str) -> Response:
    """Show one control: what it asks, what speaks for and against it, and what that is about."""
    standing = await flow.get_control(page.parts, page.org_id, control_id)
    framework = load_frameworks()[standing.control.framework]
    async with page.parts.db.work(page.org_id) as work:
        stances = {
            stance: (await list_evidence(work, Paging(limit=_SHOWN), control=control_id, stance=stance)).items
            for stance in ("supports", "contradicts")
        }
        counts = {one.check_id: one for one in await count_by_check(work)}
        concerned = await _concerned(work, [one for one in standing.checks if one in counts and counts[one].open])
        connected = {one.provider for one in (await list_connections(work, Paging(limit=MAX_ROWS))).items}
    return page.show(
        "pages/control.html",
        title=standing.control.title,
        standing=standing,
        number=standing.control.id.partition(":")[2],
        framework=framework,
        family=next(one for one in framework.families if one.id == standing.control.family),
        shares=shares_of(standing),
        checks=_most_open_first(page, standing, counts),
        evidence={stance: [evidence_row(one) for one in found] for stance, found in stances.items()},
        concerned=[finding_row(one) for one in concerned],
        speaking=[(one, one.slug in connected) for one in _speaking(page, control_id)],
        api=ApiCall(f"/v1/controls/{control_id}"),
    )


def shares_of(standing: Standing) -> list[Share]:
    """What speaks for, against and neither, as the parts of a bar; none where nothing has been answered."""
    told = (
        ("For", standing.supporting, "good"),
        ("Against", standing.contradicting, "bad"),
        ("Unknown", standing.unknown, "quiet"),
    )
    return [Share(*one) for one in told] if any(count for _, count, _ in told) else []


def _filters(frameworks: Any) -> list[Filter]:
    return [
        Filter("framework", "Framework", [(one.slug, one.name) for one in frameworks]),
        Filter("status", "State", [(one, word(one)) for one in CONTROL_STATUSES]),
        Filter("order", "Order", [("gaps", "Gaps first")]),
    ]


async def _as_rows(standings: Sequence[Standing]) -> dict[str, Any]:
    return {"items": [control_row(one) for one in standings], "next": None}


def _by_family(framework: Framework, standings: Sequence[Standing]) -> list[Section]:
    made = (
        Section(family.id, f"{family.id} {family.name}", [one for one in standings if one.control.family == family.id])
        for family in framework.families
    )
    return [one for one in made if one.standings]


def _by_gap(standings: Sequence[Standing]) -> list[Section]:
    made = (Section(status, word(status), [one for one in standings if one.status == status]) for status in _GAPS_FIRST)
    return [one for one in made if one.standings]


async def _coverage(page: Page, framework: Framework) -> list[Covered]:
    """The connected providers with how many of the controls their checks speak to, most first."""
    async with page.parts.db.work(page.org_id) as work:
        live = Counter(one.provider for one in (await list_connections(work, Paging(limit=MAX_ROWS))).items)
    own = {one.id for one in framework.controls}
    known = page.parts.catalog.providers
    found = [
        Covered(known[slug], count, len(own & _spoken_to(page, known[slug])))
        for slug, count in live.items()
        if slug in known
    ]
    return sorted(found, key=lambda one: (-one.controls, one.provider.name))


def _spoken_to(page: Page, provider: Provider[Any]) -> set[str]:
    """The controls that the checks over a provider's entities speak to."""
    kinds = {kind for operation in provider.operations for kind in operation.kinds}
    checks = [check for kind in kinds for check in page.parts.catalog.checks_for(provider.slug, kind)]
    return {control for check in checks for control in check.controls}


def _speaking(page: Page, control_id: str) -> list[Provider[Any]]:
    found = [one for one in page.parts.catalog.providers.values() if control_id in _spoken_to(page, one)]
    return sorted(found, key=lambda one: one.name.casefold())


def _most_open_first(
    page: Page, standing: Standing, counts: Mapping[str, CheckCount]
) -> list[tuple[Check, CheckCount | None]]:
    """The checks that speak to a control with their findings, if they have any; those with most that is open first."""
    found = [(check, counts.get(one)) for one in standing.checks if (check := find_check(page, one))]
    return sorted(found, key=lambda pair: (pair[1] is None, -pair[1].open if pair[1] else 0))


async def _concerned(work: Work, checks: Sequence[str]) -> list[Finding]:
    """The newest open findings of some checks, as many as the page shows."""
    found: list[Finding] = []
    for check in checks:
        found += (await list_findings(work, Paging(limit=_SHOWN), status="open", check_id=check)).items
    return sorted(found, key=lambda one: one.id, reverse=True)[: 2 * _SHOWN]
