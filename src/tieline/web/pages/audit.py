"""Audit: who did what, in a log that shows whether anybody has touched it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from fastapi import APIRouter
from starlette.responses import Response

from tieline.errors import Invalid, NotFound
from tieline.flows.audit import Verdict, entry_row, public_key_text, verify
from tieline.flows.views import JsonRow, listing
from tieline.store import audit as store
from tieline.store.api_keys import list_api_keys
from tieline.store.connections import list_connections
from tieline.store.listing import Paging
from tieline.store.members import list_members
from tieline.web.data import pairs
from tieline.web.listing import MAX_ROWS, Column, Filter, show_list
from tieline.web.page import AnyPage, ApiCall, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import counted, number

router = APIRouter(route_class=ConsoleRoute)

_COLUMNS = (
    Column("number", "seq"),
    Column("at", "at"),
    Column("who", "actor"),
    Column("what", "action"),
    Column("to", "target"),
    Column("details", "details"),
    Column("request", "request_id"),
    Column("hash", "hash"),
)
_PERIODS = {"Today": 0, "Last 7 days": 7, "Last 30 days": 30, "Last 90 days": 90}
_DAY = re.compile(r"(\d{4}-\d\d-\d\d)T00:00:00Z", re.ASCII)
_CURSOR = re.compile(r"[1-9][0-9]{0,17}")
_OURS = {"engine": "A worker", "system": "Tieline itself"}
_PAGES = {"run": "runs", "conn": "connections", "find": "findings", "ent": "entities", "evid": "evidence"}


@router.get("/audit")
async def show_audit(page: AnyPage) -> Response:
    """List what was done."""
    people, things = await _people(page), await _things(page)
    wanted = page.request.query_params.get("actor", "").strip()
    chosen = {wanted: wanted} | people if wanted and wanted not in people else people
    filters = (
        Filter("actor", "Who", list(chosen.items())),
        Filter("action", "What"),
        Filter("target", "To which id"),
        Filter("since", "Since", _periods(page)),
    )

    async def fetch(values: Mapping[str, str | None], paging: Paging) -> JsonRow:
        if paging.cursor and not _CURSOR.fullmatch(paging.cursor):
            raise NotFound("There is no such page of the log")
        asked = {name: value for name, value in values.items() if name != "since"}
        async with page.parts.db.work(page.org_id) as work:
            found = await store.list_entries(work, paging, since=_moment(values["since"]), **asked)
        return listing(found, entry_row)

    return await show_list(
        page,
        "pages/audit.html",
        title="Audit",
        filters=filters,
        columns=_COLUMNS,
        fetch=fetch,
        api="/v1/audit",
        names=people | things,
        pairs=pairs,
        place_of=place_of,
    )


@router.get("/audit/verdict")
async def verify_audit(page: AnyPage) -> Response:
    """Go along the whole log, and say whether it is whole."""
    verdict = await verify(page.parts, page.org_id)
    async with page.parts.db.work(page.org_id) as work:
        marks = (await store.list_checkpoints(work, Paging(limit=10))).items
    return page.show(
        "pages/verdict.html",
        title="Is the log whole?",
        verdict=verdict,
        told=in_words(verdict),
        marks=marks,
        public_key=public_key_text(page.parts),
        api=ApiCall("/v1/audit/checkpoints"),
    )


def in_words(verdict: Verdict) -> str:
    """A verdict as a sentence."""
    if verdict.reason is not None:
        before = verdict.first_bad_seq - 1 if verdict.first_bad_seq else 0
        relied = f" Entries up to number {number(before)} can be relied on." if before > 0 else ""
        return f"The log was touched at entry {verdict.first_bad_seq}: {verdict.reason}.{relied}"
    if not verdict.entries:
        return "Nothing was written down yet, and nothing is missing."
    entries = counted(verdict.entries, "entry", "entries")
    return f"The log is whole: {entries} in an unbroken chain, {counted(verdict.checkpoints, 'signed checkpoint')}."


def place_of(target: str | None) -> str | None:
    """The console's path of what an id names, if it has a page."""
    prefix = (target or "").partition("_")[0]
    return f"/{_PAGES[prefix]}/{target}" if prefix in _PAGES else None


async def _people(page: Page) -> dict[str, str]:
    """Who may have done something, by the name that the log has of them."""
    async with page.parts.db.work(page.org_id) as work:
        members = (await list_members(work, Paging(limit=MAX_ROWS))).items
        keys = (await list_api_keys(work, Paging(limit=MAX_ROWS))).items
    return {one.id: one.name or one.email for one in members} | {one.id: f"Key {one.name}" for one in keys} | _OURS


async def _things(page: Page) -> dict[str, str]:
    """Names of what else entries are about."""
    async with page.parts.db.work(page.org_id) as work:
        connections = (await list_connections(work, Paging(limit=MAX_ROWS))).items
    return {one.id: one.name for one in connections} | {page.org_id: page.signed_in.organization.name}


def _periods(page: Page) -> list[tuple[str, str]]:
    """Beginnings of days, as the API takes them; also the one that an address from another day asks for."""
    begins = {f"{page.now - timedelta(days=days):%Y-%m-%d}T00:00:00Z": label for label, days in _PERIODS.items()}
    asked = _DAY.fullmatch(page.request.query_params.get("since", ""))
    older = {asked[0]: asked[1]} if asked and asked[0] not in begins else {}
    return list((older | begins).items())


def _moment(text: str | None) -> datetime | None:
    """A beginning of a day; raises `Invalid` for one that no calendar has."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise Invalid("There is no such day", advice="Choose one from the list.") from None
