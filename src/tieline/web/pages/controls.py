"""Controls: where each requirement of a framework stands, what speaks for and against it, and where nothing speaks at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.catalog import Framework, load_frameworks
from tieline.errors import Invalid
from tieline.flows import controls as flow
from tieline.flows.catalog_views import control_row
from tieline.flows.controls import CONTROL_STATUSES, Standing
from tieline.flows.views import evidence_row, finding_row
from tieline.sdk.checks import Check
from tieline.sdk.provider import Provider
from tieline.store.connections import list_connections
from tieline.store.db import Work
from tieline.store.evidence import list_evidence
from tieline.store.finding_groups import MOST_GROUPS, Group, group_findings
from tieline.store.findings import Finding, list_findings
from tieline.store.listing import Paging
from tieline.web.charts import Share
from tieline.web.choices import find_check, read_day
from tieline.web.listing import MAX_ROWS, Asked, Column, Filter, answer_csv, read_asked
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
_AS_OF = Filter("as_of", "As of the end of")


@dataclass(frozen=True)
class Section:
    """Controls that are shown under one heading."""

    id: str
    heading: str
    standings: Sequence[Standing]


@dataclass(frozen=True)
class Coverage:
    """How many controls of each family the connected providers can speak to.

    `providers` are the columns, with how many connections each has; `rows` the families, with how many controls each has, the
    count by provider, and the count of those that any of them speaks to.
    """

    providers: Sequence[tuple[Provider[Any], int]]
    rows: Sequence[tuple[Any, int, Sequence[int], int]]


@router.get("/controls")
async def show_controls(page: AnyPage) -> Response:
    """List the controls of a framework, by family or with the gaps first, as they stand or as they stood at the end of a day."""
    frameworks = load_frameworks()
    asked = read_asked(page.request.query_params, _filters(frameworks.values()))
    framework = frameworks[asked.values["framework"] or _FIRST]
    standings, problem = await _standings(page, framework, asked)
    status = asked.values["status"]
    chosen = [one for one in standings if status in {None, one.status}]
    if asked.as_csv and not problem:
        return answer_csv(
            f"controls {framework.slug} {asked.values['as_of'] or ''}", _COLUMNS, lambda _: _as_rows(chosen)
        )
    counts = Counter(one.status for one in standings)
    kept = {name: value for name, value in asked.set.items() if name in {"status", "as_of"}}
    return page.show(
        "pages/controls.html",
        status=problem.status if problem else 200,
        title="Controls",
        frameworks=frameworks.values(),
        framework=framework,
        only=status,
        as_of=asked.values["as_of"],
        problem=problem,
        today=page.now.date().isoformat(),
        gaps_first=asked.values["order"] == "gaps",
        statuses=[(one, counts[one]) for one in CONTROL_STATUSES],
        posture=[Share(word(one), counts[one], tone(one)) for one in CONTROL_STATUSES],
        sections=_by_gap(chosen) if asked.values["order"] == "gaps" else _by_family(framework, chosen),
        shares=shares_of,
        coverage=await _coverage(page, framework),
        api=ApiCall("/v1/controls", {"framework": framework.slug} | kept),
    )


@router.get("/controls/{control_id}")
async def show_control(page: AnyPage, control_id: str) -> Response:
    """Show one control: what it asks, what speaks for and against it, and what that is about; now, or at the end of a day."""
    asked = read_asked(page.request.query_params, [_AS_OF])
    day = read_day(asked.values["as_of"], field="as_of")
    standing = await flow.get_control(page.parts, page.org_id, control_id, as_of=day)
    framework = load_frameworks()[standing.control.framework]
    async with page.parts.db.work(page.org_id) as work:
        stances = await _stances(work, control_id, flow.end_of(day) if day else None)
        counts = {} if day else await _counts(work)
        concerned = await _concerned(work, [one for one in standing.checks if one in counts and counts[one].open])
        connected = {one.provider for one in (await list_connections(work, Paging(limit=MAX_ROWS))).items}
    return page.show(
        "pages/control.html",
        title=standing.control.title,
        standing=standing,
        as_of=asked.values["as_of"],
        today=page.now.date().isoformat(),
        number=standing.control.id.partition(":")[2],
        framework=framework,
        family=next(one for one in framework.families if one.id == standing.control.family),
        shares=shares_of(standing),
        checks=_most_open_first(page, standing, counts),
        evidence={stance: [evidence_row(one) for one in found] for stance, found in stances.items()},
        concerned=[finding_row(one) for one in concerned],
        speaking=[(one, one.slug in connected) for one in _speaking(page, control_id)],
        api=asked.api(f"/v1/controls/{control_id}"),
    )


async def _standings(page: Page, framework: Framework, asked: Asked) -> tuple[list[Standing], Invalid | None]:
    """Where the controls stand, or why nobody can say that of the day that is asked for."""
    try:
        day: date | None = read_day(asked.values["as_of"], field="as_of")
        return await flow.list_controls(page.parts, page.org_id, framework=framework.slug, as_of=day), None
    except Invalid as problem:
        return [], problem


async def _stances(work: Work, control_id: str, before: datetime | None) -> dict[str, Sequence[Any]]:
    """The newest statements for and against a control."""
    about: dict[str, Any] = {"control": control_id, "before": before}
    return {
        stance: (await list_evidence(work, Paging(limit=_SHOWN), stance=stance, **about)).items
        for stance in ("supports", "contradicts")
    }


async def _counts(work: Work) -> dict[str, Group]:
    """The findings of each check."""
    groups, _ = await group_findings(work, "check", most=MOST_GROUPS)
    return {str(one.key["check_id"]): one for one in groups}


def shares_of(standing: Standing) -> list[Share]:
    """What speaks for, against and neither, as the parts of a bar; none where nothing has been answered."""
    told = (
        ("For", standing.supporting, "good"),
        ("Against", standing.contradicting, "bad"),
        ("Unknown", standing.unknown, "quiet"),
    )
    shares = [Share(label, count, tone) for label, count, tone in told if count is not None]
    return shares if any(one.count for one in shares) else []


def _filters(frameworks: Any) -> list[Filter]:
    return [
        Filter("framework", "Framework", [(one.slug, one.name) for one in frameworks]),
        Filter("status", "State", [(one, word(one)) for one in CONTROL_STATUSES]),
        Filter("order", "Order", [("gaps", "Gaps first")]),
        _AS_OF,
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


async def _coverage(page: Page, framework: Framework) -> Coverage:
    """What the checks over the entities of connected providers can speak to, by family; the providers that cover most come first."""
    async with page.parts.db.work(page.org_id) as work:
        live = Counter(one.provider for one in (await list_connections(work, Paging(limit=MAX_ROWS))).items)
    own = {one.id for one in framework.controls}
    known = page.parts.catalog.providers
    spoken = {slug: own & _spoken_to(page, known[slug]) for slug in live if slug in known}
    order = sorted(spoken, key=lambda slug: (-len(spoken[slug]), known[slug].name.casefold()))
    every = set().union(*spoken.values())
    rows = []
    for family in framework.families:
        ids = {one.id for one in framework.controls if one.family == family.id}
        rows.append((family, len(ids), [len(ids & spoken[slug]) for slug in order], len(ids & every)))
    return Coverage([(known[slug], live[slug]) for slug in order], rows)


def _spoken_to(page: Page, provider: Provider[Any]) -> set[str]:
    """The controls that the checks over a provider's entities speak to."""
    kinds = {kind for operation in provider.operations for kind in operation.kinds}
    checks = [check for kind in kinds for check in page.parts.catalog.checks_for(provider.slug, kind)]
    return {control for check in checks for control in check.controls}


def _speaking(page: Page, control_id: str) -> list[Provider[Any]]:
    found = [one for one in page.parts.catalog.providers.values() if control_id in _spoken_to(page, one)]
    return sorted(found, key=lambda one: one.name.casefold())


def _most_open_first(page: Page, standing: Standing, counts: Mapping[str, Group]) -> list[tuple[Check, Group | None]]:
    """The checks that speak to a control with their findings, if they have any; those with most that is open first."""
    found = [(check, counts.get(one)) for one in standing.checks if (check := find_check(page, one))]
    return sorted(found, key=lambda pair: (pair[1] is None, -pair[1].open if pair[1] else 0))


async def _concerned(work: Work, checks: Sequence[str]) -> list[Finding]:
    """The newest open findings of some checks, as many as the page shows."""
    if not checks:
        return []
    return (await list_findings(work, Paging(limit=2 * _SHOWN), status="open", checks=checks)).items
