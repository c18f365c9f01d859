"""The theme: light, dark, or as the system has it; a choice of the browser's, kept in its cookie."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from tieline.web.page import THEME, THEMES, AnyVisit
from tieline.web.returns import local_path
from tieline.web.route import ConsoleRoute

router = APIRouter(route_class=ConsoleRoute)
_YEAR = 365 * 24 * 3600


@router.post("/theme")
async def choose_theme(visit: AnyVisit) -> Response:
    """Keep the choice and go back to where it was made."""
    chosen = visit.form.get("theme")
    answer = RedirectResponse(visit.at(local_path(visit.form.get("next"))), 303)
    visit.keep(answer, THEME, chosen if chosen in THEMES else "auto", seconds=_YEAR)
    return answer
