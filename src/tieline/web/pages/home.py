"""Home: where the organization stands, and what waits for a person."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from tieline.flows.overview import look_over
from tieline.web.charts import Pair, Share
from tieline.web.page import AnyPage, ApiCall
from tieline.web.route import ConsoleRoute
from tieline.web.words import tone, word

router = APIRouter(route_class=ConsoleRoute)

_FRESH = {"an hour": "good", "6 hours": "good", "a day": "good", "a week": "warn", "older": "bad", "never": "quiet"}


@router.get("/")
async def show_home(page: AnyPage) -> Response:
    """Show how things stand."""
    seen = await look_over(page.parts, page.org_id)
    return page.show(
        "pages/home.html",
        title="Home",
        seen=seen,
        posture=[
            (one, [Share(word(status), count, tone(status)) for status, count in one.counts.items()])
            for one in seen.posture
        ],
        week=[Pair(f"{day.day:%a %d %b}", day.opened, day.resolved) for day in seen.days],
        fresh=[Share(_age(label), count, _FRESH[label]) for label, count in seen.fresh.items() if count],
        severities=[(one, seen.open.get(one, 0)) for one in ("critical", "high", "medium", "low", "info")],
        names={slug: provider.name for slug, provider in page.parts.catalog.providers.items()},
        api=ApiCall("/v1/controls"),
    )


def _age(label: str) -> str:
    return {"older": "Longer ago", "never": "Never read"}.get(label, f"Within {label}")
