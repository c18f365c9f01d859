"""Findings: what is wrong, by check or one by one, why, what to do about it, and who has silenced it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from fastapi import APIRouter
from starlette.responses import Response

from tieline.errors import Invalid
from tieline.flows import mute as flow
from tieline.flows.views import JsonRow, finding_event_row, finding_row, listing
from tieline.sdk.checks import Check
from tieline.sdk.entities import Severity
from tieline.store import findings as store
from tieline.store.connections import get_connection
from tieline.store.db import Work
from tieline.store.findings import CheckCount
from tieline.store.listing import Paging
from tieline.web.choices import choices_of, end_of_day, find_check, names_of_members, tell
from tieline.web.forms import errors_of
from tieline.web.listing import Column, Filter, Listed, read_asked, show_list
from tieline.web.page import AnyPage, ApiCall, MemberPage, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import word

router = APIRouter(route_class=ConsoleRoute)

_SEVERITIES = get_args(Severity)
_COLUMNS = (
    Column("id", "id"),
    Column("status", "status"),
    Column("severity", "severity"),
    Column("check", "check"),
    Column("title", "title"),
    Column("subject", "subject"),
    Column("kind", "kind"),
    Column("provider", "provider"),
    Column("external_id", "external_id"),
    Column("connection_id", "connection_id"),
    Column("values", "values"),
    Column("opened_at", "opened_at"),
    Column("resolved_at", "resolved_at"),
    Column("reopened", "reopened"),
    Column("muted_reason", "muted_reason"),
    Column("muted_until", "muted_until"),
)
_LONGEST_REASON = 1_000


@router.get("/findings")
async def show_findings(page: AnyPage) -> Response:
    """List findings: by check, or one by one for a check or an entity."""
    filters = await _filters(page)

    async def fetch(values: Mapping[str, str | None], paging: Paging) -> JsonRow:
        async with page.parts.db.work(page.org_id) as work:
            return listing(await store.list_findings(work, paging, **_wanted(values)), finding_row)

    asked = read_asked(page.request.query_params, filters)
    if asked.as_csv or asked.values["check"] or asked.values["entity_id"]:
        about = {"groups": None, "check": find_check(page, asked.values["check"])}
        return await show_list(
            page, "pages/findings.html", title="Findings", filters=filters, columns=_COLUMNS, fetch=fetch,
            api="/v1/findings", **about,
        )  # fmt: skip
    async with page.parts.db.work(page.org_id) as work:
        groups = await store.count_by_check(work, **_wanted(asked.values))
    groups.sort(key=_worst_first)
    return page.show(
        "pages/findings.html",
        title="Findings",
        listed=Listed(asked, [], None),
        rows=[],
        groups=groups,
        check=None,
        api=asked.api("/v1/findings"),
    )


@router.get("/findings/{finding_id}")
async def show_finding(page: AnyPage, finding_id: str) -> Response:
    """Show one finding: why, the fix, and what happened to it."""
    return await _show(page, finding_id)


@router.post("/findings/{finding_id}/mute")
async def mute_finding(page: MemberPage, finding_id: str) -> Response:
    """Silence a finding, until the end of a day or for good."""
    given = {name: page.form.get(name).strip() for name in ("reason", "until")}
    try:
        until = end_of_day(given["until"], field="until")
        _check_reason(given["reason"])
        await flow.mute(
            page.parts, page.org_id, finding_id, reason=given["reason"], until=until, actor=page.caller.actor
        )
    except Invalid as error:
        return await _show(page, finding_id, status=error.status, problems=errors_of(error), given=given)
    return page.go(f"/findings/{finding_id}", "The finding is muted. It stays in the list, and says nothing.")


@router.post("/findings/{finding_id}/unmute")
async def unmute_finding(page: MemberPage, finding_id: str) -> Response:
    """Let a muted finding speak again."""
    await flow.unmute(page.parts, page.org_id, finding_id, actor=page.caller.actor)
    return page.go(f"/findings/{finding_id}", "The finding is open again.")


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
        connection = await get_connection(work, finding.connection_id)
        people = await names_of_members(work)
    return page.show(
        "pages/finding.html",
        status=status,
        title=finding.title,
        row=finding_row(finding),
        values=tell(finding.values),
        check=find_check(page, finding.check_id),
        connection=connection,
        events=events[::-1],
        people=people,
        problems=problems or {},
        given=given or {},
        today=page.now.date().isoformat(),
        api=ApiCall(f"/v1/findings/{finding_id}"),
    )


async def _filters(page: Page) -> list[Filter]:
    given = page.request.query_params
    async with page.parts.db.work(page.org_id) as work:
        checks = await _checks(work, page.parts.catalog.checks)
        providers, connections = await choices_of(work, page, given)
    if (check := given.get("check", "").strip()) and check not in dict(checks):
        checks.append((check, check))
    return [
        Filter("status", "State", [(one, word(one)) for one in ("open", "muted", "resolved")]),
        Filter("severity", "Severity", [(one, word(one)) for one in _SEVERITIES]),
        Filter("check", "Check", checks),
        Filter("provider", "Provider", providers),
        Filter("connection_id", "Connection", connections),
        Filter("entity_id", "Entity", hidden=True),
    ]


async def _checks(work: Work, known: tuple[Check, ...]) -> list[tuple[str, str]]:
    """The checks that have findings, those that the catalog no longer has too."""
    titles = {one.id: one.title for one in known}
    found = [(one.check_id, titles.get(one.check_id, one.title)) for one in await store.count_by_check(work)]
    return sorted(found, key=lambda choice: choice[1])


def _wanted(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """The filters under the names of the columns."""
    return {"check_id" if name == "check" else name: value for name, value in values.items()}


def _worst_first(one: CheckCount) -> tuple[bool, int, int, str]:
    place = _SEVERITIES.index(one.severity) if one.severity in _SEVERITIES else len(_SEVERITIES)
    return not one.open, place, -one.open, one.title


def _check_reason(reason: str) -> None:
    if not reason or len(reason) > _LONGEST_REASON:
        told = {"field": "reason", "problem": f"say why, in at most {_LONGEST_REASON} characters"}
        raise Invalid("A mute needs a reason", fields=[told])
