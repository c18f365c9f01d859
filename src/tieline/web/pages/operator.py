"""Operator: how the whole Tieline stands: its workers and what waits for them, its keys, its organizations, its settings."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

from fastapi import APIRouter
from starlette.responses import Response

from tieline.api.v1.keys import AT_ONCE
from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.flows.rewrap import KeyUsage, list_keys, rewrap
from tieline.flows.views import organization_row
from tieline.store.admission import EngineCounts, engine_counts, next_due
from tieline.store.organizations import list_organizations
from tieline.web.charts import Share
from tieline.web.page import ApiCall, OperatorPage
from tieline.web.route import ConsoleRoute
from tieline.web.words import ago, counted, number

router = APIRouter(route_class=ConsoleRoute)

TOO_LONG = timedelta(minutes=5)
"""After how long a wait means that no worker, or too few, take up what is due."""


@router.get("/operator")
async def show_operator(page: OperatorPage) -> Response:
    """Show how this Tieline stands."""
    async with page.parts.db.system() as work:
        counts, due = await engine_counts(work, now=page.now), await next_due(work)
        organizations = await list_organizations(work)
    keys = await list_keys(page.parts)
    former = sum(one.in_use for one in keys if not one.current)
    return page.show(
        "pages/operator.html",
        title="Operator",
        counts=counts,
        due=due,
        verdict=judge_engine(counts, page.now),
        keys=[asdict(one) for one in keys],
        shares=_shares(keys),
        former=former,
        reachable=any(one.current for one in keys),
        organizations=[organization_row(one) for one in organizations],
        settings=settings_of(page.parts),
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


def judge_engine(counts: EngineCounts, now: datetime) -> tuple[str, str]:
    """How the workers do: a tone, and a sentence."""
    if not counts.waiting:
        return "good", "Nothing that is due waits for a worker."
    waits = counts.oldest is not None and now - counts.oldest > TOO_LONG
    if counts.oldest and waits and not counts.held:
        told = f"The oldest has been due since {ago(counts.oldest, now)}, and nothing runs. Is a worker running?"
        return "bad", f"{told} Start one: tieline serve --role worker."
    if waits:
        return "warn", "More is due than the workers carry out. Start another, or give each more slots."
    return "good", "What is due is being taken up."


def settings_of(parts: Parts) -> list[tuple[str, str, str]]:
    """What the settings made of the parts: name, value in force, meaning. None of them is a secret."""
    return [
        ("Public address", parts.public_url, "Where browsers and providers reach this Tieline"),
        ("Return origins", ", ".join(sorted(parts.return_origins)) or "none", "Where else people are sent back to"),
        ("Brake", f"{parts.brake_share:.0%}", "A run that would remove a larger share stops and asks"),
        ("Private addresses", ", ".join(map(str, parts.policy.allowed)) or "none", "That connections may reach"),
        ("Single sign-on", parts.sso.issuer if parts.sso else "off", "Where members sign in besides by link"),
        ("OAuth apps", ", ".join(sorted(parts.apps)) or "none", "Providers with an app of this installation"),
        ("Other hosts", ", ".join(sorted(parts.hosts)) or "none", "Providers that are reached at another address"),
    ]


def _shares(keys: list[KeyUsage]) -> list[Share]:
    def used(*, current: bool, missing: bool = False) -> int:
        return sum(one.in_use for one in keys if one.current == current and (one.lives_in == "missing") == missing)

    return [
        Share("Under the current key", used(current=True), "good"),
        Share("Under former keys", used(current=False), "warn"),
        Share("Under keys that are missing", used(current=False, missing=True), "bad"),
    ]
