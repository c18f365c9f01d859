"""Signing in: by a link that works once, or at the OpenID provider; and signing out.

A link is not used up by opening it, for mail filters and chat previews open links too: the person presses the button.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from tieline.access.sessions import ABSOLUTE, cookie_name
from tieline.errors import Invalid, NotFound
from tieline.flows import sign_in as flow
from tieline.flows.sign_in import Begun
from tieline.flows.sso import LIFETIME, begin_sso, finish_sso
from tieline.web.forms import errors_of
from tieline.web.page import AnyPage, AnyVisit, Visit, is_secure
from tieline.web.returns import local_path
from tieline.web.route import ConsoleRoute, FormRefused

router = APIRouter(route_class=ConsoleRoute)

_TRIP = "tieline_sso"


@router.get("/sign-in")
async def show_sign_in(visit: AnyVisit) -> Response:
    """Say how to sign in."""
    back = local_path(visit.request.query_params.get("next", "/"))
    if visit.signed_in:
        return RedirectResponse(visit.at(back), 303)
    return visit.show("pages/sign_in.html", title="Sign in", sso=visit.parts.sso, back=back)


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
    return await _enter(visit, begun, "/")


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
    )
    answer = await _enter(visit, begun, back)
    answer.delete_cookie(_TRIP, path="/")
    return answer


@router.post("/sign-out")
async def sign_out(page: AnyPage) -> Response:
    """End the session, and let the browser forget its cookie."""
    await flow.end_session(page.parts, page.org_id, page.signed_in.session.id, caller=page.caller)
    answer = RedirectResponse(page.at("/sign-in"), 303)
    answer.delete_cookie(cookie_name(secure=is_secure(page.parts)), path="/", secure=is_secure(page.parts))
    return answer


async def _enter(visit: Visit, begun: Begun, path: str) -> Response:
    """The new session's cookie, and on; a session that the browser had before ends."""
    if visit.signed_in:
        try:
            former = visit.signed_in
            await flow.end_session(visit.parts, former.organization.id, former.session.id, caller=former.caller)
        except NotFound:
            pass  # it ended by itself in between
    answer = RedirectResponse(visit.at(path), 303)
    name = cookie_name(secure=is_secure(visit.parts))
    visit.keep(answer, name, begun.cookie, seconds=int(ABSOLUTE.total_seconds()))
    return answer
