"""Switching between the organizations that a browser is signed in to. No session begins here: there is one in each already."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from tieline.errors import NotFound
from tieline.web.aside import keep_aside, look_aside, make_current, whose_form
from tieline.web.page import AnyVisit, session_cookie
from tieline.web.route import ConsoleRoute, FormRefused

router = APIRouter(route_class=ConsoleRoute)


@router.post("/switch")
async def switch_organization(visit: AnyVisit) -> Response:
    """Go on in another organization; the session here stays as it is, aside."""
    beside = await look_aside(visit.request, visit.parts)
    here = [visit.signed_in] if visit.signed_in else []
    # A page of any organization that this browser is signed in to may ask for it: no other page knows a token of one.
    if here and not whose_form(visit.form.get("csrf"), [*here, *(one.signed_in for one in beside)]):
        raise FormRefused("This form is older than your session, or did not come from it")
    wanted = visit.form.get("org_id")
    if here and here[0].organization.id == wanted:
        return visit.go("/")
    chosen = next((one for one in beside if one.signed_in.organization.id == wanted), None)
    if chosen is None:
        raise NotFound(
            "This browser is not signed in there any more",
            advice="Sign in to that organization again, as you did before.",
        )
    answer = visit.go("/", f"You are in {chosen.signed_in.organization.name} now.")
    former = [session_cookie(visit) or ""] if here else []
    make_current(visit.parts, answer, chosen.plain)
    keep_aside(visit.request, visit.parts, answer, [*former, *(one.plain for one in beside if one is not chosen)])
    return answer
