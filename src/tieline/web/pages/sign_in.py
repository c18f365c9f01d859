"""Signing in: by a link that works once, or at the OpenID provider (by a passkey: see `passkeys`); and signing out.

A link is not used up by opening it, for mail filters and chat previews open links too: the person presses the button.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from tieline.access.actor import acting_as
from tieline.access.passkeys import site_of
from tieline.access.sessions import SignedIn, cookie_name
from tieline.errors import Invalid, NotFound
from tieline.flows import sign_in as flow
from tieline.flows.parts import Parts
from tieline.flows.sign_in import Begun
from tieline.flows.sso import LIFETIME, begin_sso, finish_sso
from tieline.web.aside import Aside, keep_aside, look_aside, make_current
from tieline.web.cookies import forget, is_secure
from tieline.web.forms import errors_of
from tieline.web.page import AnyPage, AnyVisit, Visit, session_cookie
from tieline.web.returns import local_path
from tieline.web.route import ConsoleRoute, FormRefused

router = APIRouter(route_class=ConsoleRoute)

_TRIP = "tieline_sso"


@router.get("/sign-in")
async def show_sign_in(visit: AnyVisit) -> Response:
    """Say how to sign in, or where this browser is signed in to already; with `another`, how to sign in beside that."""
    back = local_path(visit.request.query_params.get("next", "/"))
    if visit.signed_in and "another" not in visit.request.query_params:
        return RedirectResponse(visit.at(back), 303)
    return visit.show(
        "pages/sign_in.html", title="Sign in", sso=visit.parts.sso, site=site_of(visit.parts.public_url), back=back
    )


@router.get("/sign-in/link/{token}")
async def open_link(visit: AnyVisit, token: str) -> Response:
    """Say what a link is for; the button uses it."""
    offered = await flow.look_at_link(visit.parts, token)
    return visit.show("pages/link.html", title="Sign in", offered=offered, token=token, problems={}, given={})


@router.post("/sign-in/link")
async def use_link(visit: AnyVisit) -> Response:
    """Use a link up and begin a session."""
    token, form = visit.form.get("token"), visit.form
    given = {"email": form.get("email").strip(), "name": form.get("name").strip()}
    try:
        begun = await flow.sign_in_by_link(
            visit.parts,
            token,
            user_agent=visit.request.headers.get("user-agent", ""),
            email=given["email"] if "email" in form else None,
            name=given["name"],
        )
    except Invalid as error:
        offered = await flow.look_at_link(visit.parts, token)
        context: dict[str, Any] = {"offered": offered, "token": token, "problems": errors_of(error), "given": given}
        return visit.show("pages/link.html", status=422, title="Sign in", **context)
    return await enter(visit, begun, "/")


@router.get("/sign-in/sso")
async def go_to_provider(visit: AnyVisit) -> Response:
    """Send the person to the OpenID provider. A form may lead to no other host (`form-action`), so this is a link's."""
    trip = await begin_sso(visit.parts, back=local_path(visit.request.query_params.get("next", "/")))
    answer = RedirectResponse(trip.url, 303)
    visit.keep(answer, _TRIP, trip.cookie, seconds=int(LIFETIME.total_seconds()))
    return answer


@router.get("/sign-in/sso/callback")
async def come_back(visit: AnyVisit, request: Request) -> Response:
    """Come back from the OpenID provider, and begin a session if it says that this is a member."""
    pairs = request.query_params.multi_items()
    if len(pairs) > len(dict(pairs)):
        raise FormRefused("What came back from the sign-in names something twice", advice="Begin again.")
    begun, back = await finish_sso(
        visit.parts,
        dict(pairs),
        request.cookies.get(_TRIP),
        user_agent=request.headers.get("user-agent", ""),
        besides=[one.organization.id for one in (visit.signed_in, *visit.beside) if one],
    )
    answer = await enter(visit, begun, back)
    answer.delete_cookie(_TRIP, path="/")
    return answer


@router.post("/sign-out")
async def sign_out(page: AnyPage) -> Response:
    """End the session here, or in every organization; of what is left the one used last comes into force."""
    beside = await look_aside(page.request, page.parts)
    ended = [page.signed_in]
    if page.form.get("all"):
        ended, beside = [page.signed_in, *page.beside], []
    for one in ended:
        await _end(page.parts, one)
    here = page.signed_in.organization.name
    if beside:
        first, *rest = beside
        answer = page.go("/", f"You are signed out of {here}. This is {first.signed_in.organization.name}.")
        make_current(page.parts, answer, first.plain)
        keep_aside(page.request, page.parts, answer, [one.plain for one in rest])
        return answer
    answer = RedirectResponse(page.at("/sign-in"), 303)
    forget(page.parts, answer, cookie_name(secure=is_secure(page.parts)))
    keep_aside(page.request, page.parts, answer, [])
    return answer


async def enter(visit: Visit, begun: Begun, path: str) -> Response:
    """The new session's cookie, and on. A session that the browser had in this organization ends; those in others stay, aside."""
    beside = await look_aside(visit.request, visit.parts)
    if visit.signed_in:
        beside = [Aside(visit.signed_in, session_cookie(visit) or ""), *beside]
    for one in beside:
        if one.signed_in.organization.id == begun.session.org_id:
            await _end(visit.parts, one.signed_in)
    answer = RedirectResponse(visit.at(path), 303)
    make_current(visit.parts, answer, begun.cookie)
    kept = [one.plain for one in beside if one.signed_in.organization.id != begun.session.org_id]
    keep_aside(visit.request, visit.parts, answer, kept)
    return answer


async def _end(parts: Parts, signed_in: SignedIn) -> None:
    """End a session as whose it is; it may have ended by itself in between."""
    with acting_as(signed_in.member.id), suppress(NotFound):
        await flow.end_session(parts, signed_in.organization.id, signed_in.session.id, caller=signed_in.caller)
