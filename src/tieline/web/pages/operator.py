"""Operator: how the whole Tieline stands: its workers and what waits for them, its keys, its organizations, its settings."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

from fastapi import APIRouter
from starlette.responses import Response

from tieline.api.v1.keys import AT_ONCE
from tieline.flows.audit import record
from tieline.flows.platform import look_at_platform, worker_row
from tieline.flows.rewrap import KeyUsage, list_keys, rewrap
from tieline.flows.views import organization_row
from tieline.store.admission import EngineCounts
from tieline.web.charts import Share
from tieline.web.page import ApiCall, OperatorPage
from tieline.web.route import ConsoleRoute
from tieline.web.words import ago, counted, number

router = APIRouter(route_class=ConsoleRoute)

TOO_LONG = timedelta(minutes=5)
"""After how long a wait means that no worker, or too few, take up what is due."""
SOURCES = {"environment": "Environment", "file": "File", "command": "Command", "default": "Default"}
ROLES = {"server": "Server", "worker": "Worker", "mounted": "Within another app", "command": "A command that waits"}
"""How a process with an engine was started."""


@router.get("/operator")
async def show_operator(page: OperatorPage) -> Response:
    """Show how this Tieline stands."""
    seen = await look_at_platform(page.parts)
    keys = await list_keys(page.parts)
    former = sum(one.in_use for one in keys if not one.current)
    return page.show(
        "pages/operator.html",
        title="Operator",
        seen=seen,
        verdict=judge_engine(seen.counts, len(seen.alive), page.now),
        workers=[worker_row(one, page.now) for one in seen.workers],
        hours=[(f"{hour:%H:%M}", jobs) for hour, jobs in seen.hours],
        keys=[asdict(one) for one in keys],
        shares=_shares(keys),
        former=former,
        reachable=any(one.current for one in keys),
        organizations=[organization_row(one) for one in seen.all_organizations],
        settings=page.parts.settings,
        sources=SOURCES,
        roles=ROLES,
        provider_name=lambda slug: found.name if (found := page.parts.catalog.providers.get(slug)) else slug,
        api=ApiCall("/v1/engine"),
    )


@router.post("/operator/re-wrap")
async def rewrap_values(page: OperatorPage) -> Response:
    """Bring some of what is sealed under former keys under the current one."""
    async with page.parts.db.work(page.org_id) as work:
        await record(work, page.parts, "key.rewrap_requested")
    state = await rewrap(page.parts, at_most=AT_ONCE)
    told = f"{counted(state.done, 'value')} came under the current key; {number(state.left)} left."
    if state.failed:
        told += f" {counted(state.failed, 'value')} could not be opened: damaged, or the key is missing or away."
    return page.go("/operator", told)


def judge_engine(counts: EngineCounts, alive: int, now: datetime) -> tuple[str, str]:
    """How the workers do: a tone, and a sentence."""
    if not alive:
        return "bad", "No worker runs, so nothing is read. Start one: tieline serve, or tieline worker beside it."
    if not counts.waiting:
        return "good", "Nothing that is due waits for a worker."
    waits = counts.oldest is not None and now - counts.oldest > TOO_LONG
    if counts.oldest and waits and not counts.held:
        told = f"The oldest has been due since {ago(counts.oldest, now)}, and nothing runs."
        return "bad", f"{told} See the workers' logs, or start another: tieline worker."
    if waits:
        return "warn", "More is due than the workers carry out. Start another, or give each more slots."
    return "good", "What is due is being taken up."


def _shares(keys: list[KeyUsage]) -> list[Share]:
    def used(*, current: bool, missing: bool = False) -> int:
        return sum(one.in_use for one in keys if one.current == current and (one.lives_in == "missing") == missing)

    return [
        Share("Under the current key", used(current=True), "good"),
        Share("Under former keys", used(current=False), "warn"),
        Share("Under keys that are missing", used(current=False, missing=True), "bad"),
    ]
