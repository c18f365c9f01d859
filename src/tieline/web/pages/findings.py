"""Findings: what is wrong, in groups or one by one, whose it is, and what is done about many at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.responses import Response

from tieline.errors import Invalid
from tieline.flows import findings as flow
from tieline.flows.findings import MOST_AT_ONCE, Chosen, Done
from tieline.flows.views import JsonRow, finding_row, group_row, listing
from tieline.sdk.entities import Severity
from tieline.store import findings as store
from tieline.store.connections import NOBODY
from tieline.store.db import Work
from tieline.store.finding_groups import GROUPINGS, Group, group_findings, titles_of_checks
from tieline.store.listing import Paging
from tieline.web.choices import choices_of, end_of_day, find_check, names_of_members
from tieline.web.listing import PAGE_SIZE, Asked, Column, Filter, Listed, answer_csv, read_asked
from tieline.web.page import AnyPage, ApiCall, MemberPage, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import counted, word

router = APIRouter(route_class=ConsoleRoute)

AGES = {"7": "More than a week", "30": "More than 30 days", "90": "More than 90 days", "365": "More than a year"}
"""How long ago a finding was opened at least, by days."""
ONE_BY_ONE = "none"
MINE = "mine"
LONGEST_REASON = 1_000
_SEVERITIES = get_args(Severity)
_GROUPS_SHOWN = 50
_COLUMNS = tuple(
    Column(name, name)
    for name in (
        "id", "status", "severity", "check", "title", "subject", "owner", "kind", "provider", "external_id", "connection_id", "values",
        "opened_at", "resolved_at", "reopened", "muted_reason", "muted_until",
    )
)  # fmt: skip
_COLUMN_OF = {"check": "check_id"}
_NOT_OF_ROWS = {"group", "age"}


@router.get("/findings")
async def show_findings(page: AnyPage) -> Response:
    """List findings: in groups, or one by one for a check or an entity."""
    async with page.parts.db.work(page.org_id) as work:
        asked = read_asked(page.request.query_params, await _filters(work, page, page.request.query_params))
        wanted, by = _wanted(page, asked), _grouping(asked)
        if not asked.as_csv:
            people = await names_of_members(work)
            counts = await store.count_matching(work, **wanted)
            groups, of = await group_findings(work, by, most=_GROUPS_SHOWN, **wanted) if by else ([], 0)
            paging = Paging(asked.cursor, PAGE_SIZE)
            found = (
                {"items": [], "next": None}
                if by
                else listing(await store.list_findings(work, paging, **wanted), finding_row)
            )

    async def fetch(paging: Paging) -> JsonRow:
        async with page.parts.db.work(page.org_id) as work:
            return listing(await store.list_findings(work, paging, **wanted), finding_row)

    if asked.as_csv:
        return answer_csv("Findings", _COLUMNS, fetch)
    connections = next(one.choices for one in asked.filters if one.name == "connection_id") or []
    return page.show(
        "pages/findings.html",
        title="Findings",
        listed=Listed(asked, found["items"], found["next"], _COLUMNS),
        rows=found["items"],
        by=by or ONE_BY_ONE,
        groups=[_shown(one, dict(connections), people) for one in groups],
        all_groups=of,
        counts=counts,
        matching=sum(counts.values()),
        most=MOST_AT_ONCE,
        people=people,
        check=find_check(page, asked.values["check"]),
        today=page.now.date().isoformat(),
        api=_api(page, asked, by),
    )


@router.post("/findings/mute")
async def mute_findings(page: MemberPage) -> Response:
    """Silence those that were ticked, or all that match."""
    about = read_mute(page)
    done = await flow.mute_many(page.parts, page.org_id, await _chosen(page), **about, actor=page.caller.actor)
    return _go_back(page, f"{_told(done)} muted: {_left(done, 'resolved already')}")


@router.post("/findings/unmute")
async def unmute_findings(page: MemberPage) -> Response:
    """Let those that were ticked, or all that match, speak again."""
    done = await flow.unmute_many(page.parts, page.org_id, await _chosen(page), actor=page.caller.actor)
    return _go_back(page, f"{_told(done)} open again: {_left(done, 'not muted')}")


@router.post("/findings/assign")
async def assign_findings(page: MemberPage) -> Response:
    """Give those that were ticked, or all that match, to a member or to nobody."""
    to = page.form.get("to") or NOBODY
    done = await flow.assign_many(page.parts, page.org_id, await _chosen(page), owner=to, actor=page.caller.actor)
    whose = "nobody's" if to == NOBODY else "assigned"
    return _go_back(page, f"{_told(done)} {whose} now: {_left(done, 'so already')}")


def read_mute(page: Page) -> dict[str, Any]:
    """The reason and the end of a mute that a form asks for; raises `Invalid`."""
    reason = page.form.get("reason").strip()
    if not reason or len(reason) > LONGEST_REASON:
        told = {"field": "reason", "problem": f"say why, in at most {LONGEST_REASON} characters"}
        raise Invalid("A mute needs a reason", advice="Go back and say why.", fields=[told])
    return {"reason": reason, "until": end_of_day(page.form.get("until").strip(), field="until")}


async def _chosen(page: Page) -> Chosen:
    """Which findings a form is about; raises `Invalid`."""
    if page.form.get("which") != "all":
        if ticked := page.form.all("finding"):
            return Chosen(ticked)
        raise Invalid(
            "No finding was ticked", advice="Go back, and tick those that are meant, or choose all that match."
        )
    sent = _sent(page)
    async with page.parts.db.work(page.org_id) as work:
        asked = read_asked(sent, await _filters(work, page, sent))
    return Chosen(filters={name: value for name, value in _wanted(page, asked).items() if value})


def _sent(page: Page) -> QueryParams:
    """The filters that a form carries along."""
    names = (
        "status",
        "severity",
        "check",
        "provider",
        "connection_id",
        "owner",
        "age",
        "group",
        "entity_id",
        "kind",
        "subject",
    )
    return QueryParams({name: value for name in names if (value := page.form.get(name))})


def _go_back(page: Page, told: str) -> Response:
    query = urlencode(list(_sent(page).multi_items()))
    return page.go(f"/findings?{query}" if query else "/findings", told)


def _told(done: Done) -> str:
    return f"{counted(len(done.changed), 'finding')} {'is' if len(done.changed) == 1 else 'are'}"


def _left(done: Done, why: str) -> str:
    return f"{done.left} left as they were, {why}." if done.left else "all that were meant."


def _grouping(asked: Asked) -> Any:
    """What to group by; `None` for one by one."""
    values = asked.values
    given = values["group"] or (ONE_BY_ONE if values["check"] or values["entity_id"] or values["subject"] else "check")
    return None if given == ONE_BY_ONE else given


def _shown(group: Group, connections: Mapping[str, str], people: Mapping[str, str]) -> dict[str, Any]:
    """A group with what it is called, and the query that leads to its findings."""
    row = group_row(group)
    key = row["key"]
    match key:
        case {"subject": subject}:
            name = subject
        case {"connection_id": connection}:
            name = connections.get(connection, connection)
        case {"owner": owner}:
            name = "Nobody" if owner == NOBODY else people.get(owner, owner)
        case _:
            name = row["title"] or key["check"]
    return row | {"name": name, "connections": group.connections, "query": key | {"group": ONE_BY_ONE}}


async def _filters(work: Work, page: Page, given: QueryParams) -> list[Filter]:
    checks = await _checks(work, page, given)
    providers, connections = await choices_of(work, page, given)
    people = sorted((await names_of_members(work)).items(), key=lambda one: one[1].casefold())
    owners = [(MINE, "Mine"), (NOBODY, "Nobody"), *people]
    if (owner := given.get("owner", "").strip()) and owner not in dict(owners) and owner.startswith("mem_"):
        owners.append((owner, owner))
    return [
        Filter("status", "State", [(one, word(one)) for one in ("open", "muted", "resolved")]),
        Filter("severity", "Severity", [(one, word(one)) for one in _SEVERITIES]),
        Filter("owner", "Owner", owners),
        Filter("age", "Age", list(AGES.items())),
        Filter("check", "Check", checks),
        Filter("provider", "Provider", providers),
        Filter("connection_id", "Connection", connections),
        Filter("group", "Grouped by", [(one, one) for one in (*GROUPINGS, ONE_BY_ONE)], hidden=True),
        Filter("entity_id", "Entity", hidden=True),
        Filter("kind", "Kind", hidden=True),
        Filter("subject", "About", hidden=True),
    ]


async def _checks(work: Work, page: Page, given: QueryParams) -> list[tuple[str, str]]:
    """The checks that have findings, those that the catalog no longer has too."""
    titles = {one.id: one.title for one in page.parts.catalog.checks}
    found = {one: titles.get(one, title) for one, title in (await titles_of_checks(work)).items()}
    if check := given.get("check", "").strip():
        found.setdefault(check, titles.get(check, check))
    return sorted(found.items(), key=lambda choice: choice[1])


def _wanted(page: Page, asked: Asked) -> dict[str, str | datetime | None]:
    """The filters under the names of the columns."""
    rows = {_COLUMN_OF.get(name, name): value for name, value in asked.values.items() if name not in _NOT_OF_ROWS}
    owner = page.caller.actor if rows["owner"] == MINE else rows["owner"]
    return {**rows, "owner": owner, "opened_before": _opened_before(page, asked)}


def _opened_before(page: Page, asked: Asked) -> datetime | None:
    """The midnight (UTC) before which what is so old was opened."""
    if not (age := asked.values["age"]):
        return None
    midnight = page.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=int(age) - 1)


def _api(page: Page, asked: Asked, by: str | None) -> ApiCall:
    """The API call that gives the same."""
    query = {name: value for name, value in asked.set.items() if name not in _NOT_OF_ROWS}
    if query.get("owner") == MINE:
        query["owner"] = page.caller.actor
    if before := _opened_before(page, asked):
        query["opened_before"] = before.isoformat().replace("+00:00", "Z")
    if by:
        return ApiCall("/v1/findings/groups", {"by": by} | query)
    return ApiCall("/v1/findings", query | ({"cursor": asked.cursor} if asked.cursor else {}))
