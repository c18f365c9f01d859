"""One connection: who it is, what it may read, how reading it has gone, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.errors import Invalid, TielineError
from tieline.flows.run_days import DAYS, Day, fill_days, first_day
from tieline.flows.scopes import Need, read_needs
from tieline.flows.states import RUNNABLE
from tieline.flows.timetables import is_late, write_period
from tieline.flows.views import JsonRow, connection_row, credential_row, moment, run_row, schedule_row
from tieline.sdk.provider import Provider
from tieline.store.api_keys import list_api_keys
from tieline.store.audit import list_story
from tieline.store.connections import Connection, get_connection
from tieline.store.credentials import list_credentials
from tieline.store.db import Work
from tieline.store.entity_counts import count_by_kind
from tieline.store.listing import Paging
from tieline.store.members import list_members, names_of
from tieline.store.run_days import count_by_day, list_gone_wrong
from tieline.store.runs import UNFINISHED, Run, get_run
from tieline.store.schedules import Schedule, list_schedules
from tieline.store.timetables import last_ends, last_reads
from tieline.web import live
from tieline.web.charts import Layer
from tieline.web.forms import errors_of, fields_of
from tieline.web.listing import MAX_ROWS
from tieline.web.page import AnyPage, ApiCall, Page
from tieline.web.pages.catalogue import plural, way_name
from tieline.web.pages.connect import problems_of
from tieline.web.pages.connections import HEALTHS, TROUBLED
from tieline.web.route import ConsoleRoute
from tieline.web.story import tell
from tieline.web.templating import render
from tieline.web.words import every, lasting

router = APIRouter(route_class=ConsoleRoute)

PERIODS = tuple(
    timedelta(minutes=one) for one in (5, 15, 30, 60, 180, 360, 720, 1440, 3 * 1440, 7 * 1440, 14 * 1440, 30 * 1440)
)
"""The periods that a person can choose from; the API and the command take any between the first and the last."""
ENDS_IN = ((timedelta(days=1), "bad"), (timedelta(days=7), "warn"), (timedelta(days=30), "wait"))
"""How near the end of a credential must be to be told of, and in which tone."""
_LAYERS = (
    ("succeeded", "read to the end", "solid"),
    ("partial", "in part", "hatched"),
    ("held", "held", "lined"),
    ("failed", "failed", "crossed"),
    ("cancelled", "cancelled", "hollow"),
    ("unfinished", "under way", "dotted"),
)
_STORY = 16
_STOPPED_BY = {
    "paused": "The connection is paused",
    "disconnected": "The connection is no more",
    "credential-expired": "The credential has ended",
    "credential-rejected": "The credential is refused",
    "suspended": "Suspended at the provider",
    "permission-missing": "A permission is missing",
}


@dataclass(frozen=True)
class Wrong:
    """What went wrong with something that was tried on a connection's page, and the options that were entered."""

    error: TielineError
    options: Mapping[str, Any] | None = None


@router.get("/connections/{connection_id}")
async def show_connection(page: AnyPage, connection_id: str) -> Response:
    """Show how a connection fares, and what can be done with it."""
    return await show_one(page, connection_id)


@router.get("/connections/{connection_id}/live")
async def follow_connection(page: AnyPage, connection_id: str) -> Response:
    """What is being read of a connection, whenever it moves."""
    async with page.parts.db.work(page.org_id) as work:
        connection = await get_connection(work, connection_id)

    async def look() -> tuple[str, bool]:
        async with page.parts.db.work(page.org_id) as work:
            found = await _under_way(work, connection.id)
        titles = _titles(page.parts.catalog.providers.get(connection.provider))
        shown = render("parts/connection_live.html", page=page, under_way=found, titles=titles, over=not found)
        return shown, not found

    return live.stream(page, look)


async def show_one(page: Page, connection_id: str, *, wrong: Wrong | None = None) -> Response:
    """The page of a connection, or the same with what went wrong."""
    async with page.parts.db.work(page.org_id) as work:
        connection = await get_connection(work, connection_id)
        provider = page.parts.catalog.providers.get(connection.provider)
        titles = _titles(provider)
        seen = await _look(work, page, connection, titles)
    return page.show(
        "pages/connection.html",
        status=wrong.error.status if wrong else 200,
        title=connection.name,
        row=connection_row(connection),
        health=HEALTHS,
        provider=provider,
        provider_name=provider.name if provider else connection.provider,
        titles=titles,
        needs=_needs(page, provider, connection),
        ends=_ends(connection, page),
        ways=_ways(provider, seen["credentials"]),
        options=_options(provider, connection, wrong),
        gone=connection.disconnected_at is not None,
        runnable=connection.status in RUNNABLE,
        trouble=TROUBLED.get(connection.status),
        error=wrong.error if wrong else None,
        problems=errors_of(wrong.error) if wrong and isinstance(wrong.error, Invalid) else {},
        api=ApiCall(f"/v1/connections/{connection_id}"),
        **seen,
    )


async def _look(work: Work, page: Page, connection: Connection, titles: Mapping[str, str]) -> dict[str, Any]:
    """All that is shown of a connection besides itself."""
    planned = await list_schedules(work, connection.id)
    read = (await last_reads(work, [connection.id])).get(connection.id, {})
    ended, kinds = await last_ends(work, connection.id), await count_by_kind(work, connection.id)
    credentials = [credential_row(one) for one in await list_credentials(work, connection.id)]
    members = (await list_members(work, Paging(limit=MAX_ROWS))).items if page.may("admin") else []
    return {
        "operations": [_operation(page, connection, one, ended.get(one.operation or ""), read) for one in planned],
        "under_way": await _under_way(work, connection.id),
        "history": await _history(work, page, connection, titles),
        "entities": [(kind, plural(kind), count) for kind, count in sorted(kinds.items())],
        "credentials": credentials,
        "members": sorted((one.name or one.email, one.id) for one in members),
        **await _story(work, page, connection, titles, {one["created_by"] for one in credentials}),
    }


def _operation(
    page: Page, connection: Connection, schedule: Schedule, last: Run | None, read: Mapping[str, datetime]
) -> JsonRow:
    """One row of what is read, and when."""
    id = schedule.operation or ""
    provider = page.parts.catalog.providers.get(connection.provider)
    declared = next((one.every for one in provider.operations if one.id == id), None) if provider else None
    usual = declared or schedule.every
    period = schedule.own_every or usual
    choices = sorted({*PERIODS, *([schedule.own_every] if schedule.own_every else [])})
    return schedule_row(schedule) | {
        "often": every(period) if period else "–",
        "usual": every(usual) if usual else "not known",
        "own": write_period(schedule.own_every) if schedule.own_every else "",
        "choices": [(write_period(one), every(one)) for one in choices],
        "last": run_row(last) if last else None,
        "read_at": moment(read.get(id)),
        "late": is_late(schedule, read.get(id), page.now),
        "stopped_by": _STOPPED_BY["disconnected"] if connection.disconnected_at else _stopped_by(schedule),
    }


def _stopped_by(schedule: Schedule) -> str | None:
    if schedule.off_reason is None:
        return None if schedule.switched_on else "Switched off by a person"
    told = _STOPPED_BY.get(schedule.off_reason, f"Missing: {schedule.off_reason}")
    return told if schedule.switched_on else f"Switched off by a person. {told}"


async def _under_way(work: Work, connection_id: str) -> list[JsonRow]:
    """The runs that are being read now, or will be in a moment."""
    planned = [one for one in await list_schedules(work, connection_id) if one.run_id and (one.enabled or one.held_by)]
    found = [await get_run(work, one.run_id) for one in planned if one.run_id]
    return [run_row(one) for one in found if one.status in UNFINISHED]


async def _history(work: Work, page: Page, connection: Connection, titles: Mapping[str, str]) -> dict[str, Any]:
    """How its runs of the last days went, of all operations or of the one that the address asks for."""
    asked = page.request.query_params.get("operation") or None
    operation = asked if asked in titles else None
    since = first_day(page.now, DAYS)
    found = await count_by_day(work, connection.id, since=since, operation=operation)
    days = fill_days(found, first=since.date(), days=DAYS)
    runs = sum(one.runs for one in days)
    return {
        "operation": operation,
        "runs": runs,
        "to_the_end": round(100 * sum(one.counts.get("succeeded", 0) for one in days) / runs) if runs else 0,
        "records": sum(one.records for one in days),
        "took": lasting(sum(one.seconds for one in days) / runs) if runs else "",
        "labels": [f"{one.day.day} {one.day:%b}" for one in days],
        "layers": [Layer(label, look, [_count(one, status) for one in days]) for status, label, look in _LAYERS],
        "more": [
            ("Records", [str(one.records) for one in days]),
            ("A run took", [lasting(one.seconds / one.runs) if one.runs else "–" for one in days]),
        ],
        "record_line": [float(one.records) for one in days],
        "time_line": [one.seconds / one.runs for one in days if one.runs],
    }


def _count(day: Day, status: str) -> int:
    if status == "unfinished":
        return sum(day.counts.get(one, 0) for one in UNFINISHED)
    return day.counts.get(status, 0)


async def _story(
    work: Work, page: Page, connection: Connection, titles: Mapping[str, str], more: set[str]
) -> dict[str, Any]:
    """What happened to it, and the names of whoever had a part in it."""
    entries = await list_story(work, connection.id, limit=_STORY)
    runs: Sequence[Run] = await list_gone_wrong(work, connection.id, since=first_day(page.now, DAYS), limit=_STORY)
    owners = {str(one.details.get("owner")) for one in entries} | {connection.owner_id or ""}
    actors = {one.actor for one in entries} | more | owners
    people = await names_of(work, {one for one in actors if one.startswith("mem_")})
    if any(one.startswith("key_") for one in actors):
        keys = (await list_api_keys(work, Paging(limit=MAX_ROWS))).items
        people |= {one.id: f"API key {one.name}" for one in keys}
    return {"people": people, "story": tell(entries, runs, titles=titles, people=people)[:_STORY]}


def _needs(page: Page, provider: Provider[Any] | None, connection: Connection) -> list[Need]:
    """What its operations need, what is missing first."""
    needs = read_needs(page.parts.catalog, provider) if provider else []
    return sorted(needs, key=lambda one: one.name not in connection.missing_scopes)


def _titles(provider: Provider[Any] | None) -> dict[str, str]:
    return {one.id: one.title for one in provider.operations} if provider else {}


def _ends(connection: Connection, page: Page) -> str | None:
    """The tone in which the end of its credential is told of, if that is near."""
    if connection.expires_at is None or connection.expires_at <= page.now or connection.disconnected_at:
        return None
    left = connection.expires_at - page.now
    return next((tone for near, tone in ENDS_IN if left <= near), None)


def _ways(provider: Provider[Any] | None, credentials: Sequence[JsonRow]) -> list[tuple[str, str, bool]]:
    """The ways to connect it: slot, name, and whether it holds a credential for it."""
    held = {one["slot"] for one in credentials if one["in_force"]}
    return [(one.slot, way_name(provider, one), one.slot in held) for one in provider.modes] if provider else []


def _options(provider: Provider[Any] | None, connection: Connection, wrong: Wrong | None) -> Any:
    return fields_of(
        provider.options.model_json_schema() if provider else {},
        values=wrong.options if wrong and wrong.options is not None else connection.options,
        problems=problems_of(wrong.error if wrong else None, "options"),
        prefix="options.",
    )
