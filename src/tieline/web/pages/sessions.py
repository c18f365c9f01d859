"""Sessions: which browsers are signed in, and how to end that. Members see their own, admins everybody's."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from tieline.access.sessions import IDLE
from tieline.flows.sign_in import end_other_sessions, end_session, session_row
from tieline.flows.views import JsonRow
from tieline.store.listing import Paging
from tieline.store.sessions import list_sessions
from tieline.web.listing import Column, answer_csv
from tieline.web.page import AnyPage, Page
from tieline.web.pages.access import people_of, person
from tieline.web.route import ConsoleRoute
from tieline.web.words import counted

router = APIRouter(route_class=ConsoleRoute)

_COLUMNS = (
    Column("id", "id"),
    Column("person", "person"),
    Column("member", "member_id"),
    Column("by", "method"),
    Column("browser", "user_agent"),
    Column("since", "created_at"),
    Column("last used", "seen_at"),
    Column("ends by", "expires_at"),
)


@router.get("/access/sessions")
async def show_sessions(page: AnyPage) -> Response:
    """List who is signed in where."""

    async def fetch(_paging: Paging) -> JsonRow:
        return {"items": await _rows(page), "next": None}

    if page.request.query_params.get("format") == "csv":
        return answer_csv("Sessions", _COLUMNS, fetch)
    rows = await _rows(page)
    others = sum(one["member_id"] == page.signed_in.member.id for one in rows) - 1
    return page.show("pages/sessions.html", title="Sessions", rows=rows, others=others)


@router.post("/access/sessions/end-others")
async def end_others(page: AnyPage) -> Response:
    """End every session of one's own but this one."""
    count = await end_other_sessions(page.parts, page.signed_in)
    return page.go("/access/sessions", f"Ended: {counted(count, 'other session')}. This browser stays signed in.")


@router.post("/access/sessions/{session_id}/end")
async def end(page: AnyPage, session_id: str) -> Response:
    """End a session: one's own, or as an admin anybody's."""
    await end_session(page.parts, page.org_id, session_id, caller=page.caller)
    return page.go("/access/sessions", "The session has ended.")


async def _rows(page: Page) -> list[JsonRow]:
    whose = None if page.may("admin") else page.signed_in.member.id
    people = await people_of(page)
    async with page.parts.db.work(page.org_id) as work:
        found = await list_sessions(work, now=page.now, idle=IDLE, member_id=whose)
    return [session_row(one) | {"person": person(people, one.member_id)} for one in found]
