"""Home: where the organization stands, and what waits for a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter
from starlette.responses import Response

from tieline.flows.overview import Waiting, look_over
from tieline.web.charts import Pair, Share
from tieline.web.page import AnyPage, ApiCall, Page
from tieline.web.route import ConsoleRoute
from tieline.web.words import counted, tone, word

router = APIRouter(route_class=ConsoleRoute)

_FRESH = {"an hour": "good", "6 hours": "good", "a day": "good", "a week": "warn", "older": "bad", "never": "quiet"}
_SHOWN = 12
_ACTIONS = {
    "needs_reconnect": "Reconnect it",
    "expired": "Give it a new credential",
    "suspended": "See how to lift it",
    "degraded": "See what to grant",
    "error": "See what it answered",
    "paused": "Resume it",
}


@dataclass(frozen=True)
class Line:
    """One thing that waits for a person: what, in which state, why, and the one thing to do."""

    name: str
    of: str
    state: str
    tone: str
    why: str
    at: datetime | None
    action: str
    path: str


@router.get("/")
async def show_home(page: AnyPage) -> Response:
    """Show how things stand."""
    seen = await look_over(page.parts, page.org_id)
    return page.show(
        "pages/home.html",
        title="Home",
        seen=seen,
        lines=[_line(page, one) for one in seen.waiting[:_SHOWN]],
        posture=[
            (one, [Share(word(status), count, tone(status)) for status, count in one.counts.items()])
            for one in seen.posture
        ],
        week=[Pair(f"{day.day:%a %d %b}", day.opened, day.resolved) for day in seen.days],
        fresh=[Share(_age(label), count, _FRESH[label]) for label, count in seen.fresh.items() if count],
        severities=[(one, seen.open.get(one, 0)) for one in ("critical", "high", "medium", "low", "info")],
        api=ApiCall("/v1/controls"),
    )


def _line(page: Page, one: Waiting) -> Line:
    if one.run:
        name, why = f"{_name(page, one.run.provider)}: {one.run.operation}", one.run.error_message
        why = why or "It would remove more than usual"
        return Line(name, "", "held", tone("held"), why, None, "Release or cancel it", page.at(f"/runs/{one.run.id}"))
    if one.connection is None:
        name = counted(one.count, f"{one.severity} finding")
        path = page.at("/findings", status="open", severity=one.severity, owner="nobody", group="none")
        return Line(name, "", one.severity, tone(one.severity), "Nobody looks after them", None, "Assign them", path)
    connection = one.connection
    path, of = f"/connections/{connection.id}", _name(page, connection.provider)
    if one.why == "ending":
        action, path = ("Rotate it", f"{path}/rotate") if page.may("admin") else ("Look at it", path)
        ends = connection.expires_at
        return Line(connection.name, of, "ends soon", "warn", "Its credential ends", ends, action, page.at(path))
    if one.why == "broken" and connection.status != "suspended" and page.may("admin"):
        path = f"{path}/rotate"
    why, state = connection.status_message or "", connection.status
    return Line(connection.name, of, state, tone(state), why, None, _ACTIONS[state], page.at(path))


def _name(page: Page, slug: str) -> str:
    provider = page.parts.catalog.providers.get(slug)
    return provider.name if provider else slug


def _age(label: str) -> str:
    return {"older": "Longer ago", "never": "Never read"}.get(label, f"Within {label}")
