"""Passkeys: added, used to sign in, and removed. The script `passkey.js` stands between these routes and the browser.

Each of the two ceremonies is two POSTs: the first answers what the browser is to do as JSON, `{"options": …}` or `{"problem": …}`;
the second is an ordinary form with what the browser said.
"""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from tieline.access.passkeys import PasskeyRefused, site_of
from tieline.access.roles import Role
from tieline.errors import Conflict, Invalid, TielineError
from tieline.flows import passkeys as flow
from tieline.flows.views import JsonRow
from tieline.store.listing import Paging
from tieline.store.passkeys import list_passkeys
from tieline.web.listing import Column, answer_csv
from tieline.web.page import AnyPage, AnyVisit, Page
from tieline.web.pages.access import people_of, person
from tieline.web.pages.sign_in import enter
from tieline.web.returns import local_path
from tieline.web.route import ConsoleRoute

router = APIRouter(route_class=ConsoleRoute)

_COOKIE = "tieline_passkey"
_COLUMNS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("person", "person"),
    Column("member", "member_id"),
    Column("synced", "backed_up"),
    Column("added", "created_at"),
    Column("last used", "last_used_at"),
)


@router.get("/access/passkeys")
async def show_passkeys(page: AnyPage) -> Response:
    """List one's own passkeys, or as an admin everybody's."""

    async def fetch(_paging: Paging) -> JsonRow:
        return {"items": await _rows(page), "next": None}

    if page.request.query_params.get("format") == "csv":
        return answer_csv("Passkeys", _COLUMNS, fetch)
    return await _show(page)


@router.post("/access/passkeys/begin")
async def begin_adding_passkey(page: AnyPage) -> Response:
    """Say what the browser is to make."""
    try:
        return JSONResponse(
            {"options": await flow.begin_adding(page.parts, page.signed_in, name=page.form.get("name"))}
        )
    except (Invalid, Conflict) as error:
        return _tell(error)


@router.post("/access/passkeys")
async def add_passkey(page: AnyPage) -> Response:
    """Keep what the browser has made."""
    name, answer = page.form.get("name"), page.form.get("answer")
    try:
        added = await flow.add_passkey(page.parts, page.signed_in, name=name, answer=answer)
    except (Invalid, Conflict, PasskeyRefused) as error:
        return await _show(page, problem=error)
    return page.go("/access/passkeys", f"{added.name} signs you in from now on.")


@router.post("/access/passkeys/{passkey_id}/remove")
async def remove_passkey(page: AnyPage, passkey_id: str) -> Response:
    """Make a passkey useless."""
    gone = await flow.remove_passkey(page.parts, page.org_id, passkey_id, caller=page.caller)
    return page.go("/access/passkeys", f"{gone.name} signs nobody in any more. Delete it on the device too.")


@router.post("/sign-in/passkey/begin")
async def begin_passkey(visit: AnyVisit) -> Response:
    """Say what the browser is to sign, and mark the browser."""
    asked = await flow.begin_signing_in(visit.parts)
    answer = JSONResponse({"options": asked.options})
    visit.keep(answer, _COOKIE, asked.cookie, seconds=int(flow.LIFETIME.total_seconds()))
    return answer


@router.post("/sign-in/passkey")
async def use_passkey(visit: AnyVisit) -> Response:
    """Begin a session by what the browser has signed."""
    begun = await flow.sign_in_by_passkey(
        visit.parts,
        visit.form.get("answer"),
        cookie=visit.request.cookies.get(_COOKIE),
        user_agent=visit.request.headers.get("user-agent", ""),
    )
    answer = await enter(visit, begun, local_path(visit.form.get("next", "/")))
    answer.delete_cookie(_COOKIE, path="/")
    return answer


def _tell(error: TielineError) -> Response:
    return JSONResponse({"problem": f"{error.message}. {error.what_to_do}"}, error.status)


async def _rows(page: Page) -> list[JsonRow]:
    whose = None if page.may("admin") else page.signed_in.member.id
    people = await people_of(page)
    async with page.parts.db.work(page.org_id) as work:
        found = await list_passkeys(work, member_id=whose)
    me = page.signed_in.member.id

    def removable(member_id: str) -> bool:
        return member_id == me or (member_id in people and page.may(cast("Role", people[member_id].role)))

    return [
        flow.passkey_row(one) | {"person": person(people, one.member_id), "removable": removable(one.member_id)}
        for one in found
    ]


async def _show(page: Page, *, problem: TielineError | None = None) -> Response:
    me, rows = page.signed_in.member.id, await _rows(page)
    return page.show(
        "pages/passkeys.html",
        status=problem.status if problem else 200,
        title="Passkeys",
        rows=sorted(rows, key=lambda one: one["member_id"] != me),
        own=[one for one in rows if one["member_id"] == me],
        most=flow.MOST,
        site=site_of(page.parts.public_url),
        problem=problem,
    )
