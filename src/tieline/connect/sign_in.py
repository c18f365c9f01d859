"""Where a person leaves a session to sign in at the provider: asked in the session's own language, at the top level, by no frame.

It is the same asking as for every other sign-in (`flows/consent.py`), and the provider leads back to the same callback.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tieline.api.sign_in_cookie import keep_cookie, read_cookie
from tieline.connect.pages import steps_of
from tieline.connect.route import ConnectRoute, Visit
from tieline.connect.words import LOCALES
from tieline.flows import connect_walk as walk
from tieline.flows import consent
from tieline.flows.connect_walk import SIGN_IN, WINDOW
from tieline.web.form import read_form

router = APIRouter(route_class=ConnectRoute)


@router.get(WINDOW)
async def show_window(request: Request) -> Response:
    """Say that the window can be closed, for how it went is told in the frame."""
    chosen = request.query_params.get("locale")
    visit = Visit(request, request.app.state.parts, locale=chosen if chosen in LOCALES else None)
    return visit.show("window.html")


@router.get(f"{SIGN_IN}/{{ticket}}")
async def ask_person(request: Request, ticket: str) -> Response:
    """Ask the person; nothing is bound and nothing begun."""
    visit = await _find(request, ticket)
    question = await consent.ask(visit.parts, ticket, read_cookie(request, visit.parts))
    return keep_cookie(_show(visit, "consent.html", question=question, ticket=ticket), visit.parts, question.browser)


@router.post(f"{SIGN_IN}/{{ticket}}")
async def answer_for_person(request: Request, ticket: str) -> Response:
    """Bind the sign-in to this browser and go to the provider, or end it and go back."""
    visit, form = await _find(request, ticket), await read_form(request)
    parts, browser = visit.parts, read_cookie(request, visit.parts)
    if form.get("answer") == "decline":
        back = await consent.decline(parts, ticket, browser, form.get("consent"))
        return _show(visit, "onward.html", url=back or visit.at(WINDOW))
    onward = await consent.agree(parts, ticket, browser, form.get("consent"))
    return keep_cookie(_show(visit, "onward.html", url=onward.url), parts, onward.browser)


async def _find(request: Request, ticket: str) -> Visit:
    """The session that a sign-in is of, as it shows itself here: to no frame."""
    parts = request.app.state.parts
    session = replace(await walk.find_by_sign_in(parts, ticket), origins=[])
    request.state.connect_session = session
    return Visit(request, parts, session)


def _show(visit: Visit, template: str, **context: Any) -> Response:
    return visit.show(template, step="form", steps=steps_of(visit), **context)
