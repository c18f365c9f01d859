"""Overview: where an organization stands at a glance, and what waits for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, get_args

from tieline.catalog import Framework, load_frameworks
from tieline.flows.controls import CONTROL_STATUSES, list_controls
from tieline.flows.parts import Parts
from tieline.store.connections import NOBODY, Connection, list_connections
from tieline.store.findings import count_events_by_day, count_findings, count_matching
from tieline.store.listing import MAX_LIMIT, Paging
from tieline.store.runs import Run, last_successes, list_runs

WEEK = 7  # days
EXPIRES_SOON = timedelta(days=14)
AGES = (
    ("an hour", timedelta(hours=1)),
    ("6 hours", timedelta(hours=6)),
    ("a day", timedelta(days=1)),
    ("a week", timedelta(days=7)),
)
"""The steps of the freshness strip: read within so long."""
_MOST = 50


@dataclass(frozen=True)
class Posture:
    """How many controls of a framework are in each status of `CONTROL_STATUSES`."""

    framework: Framework
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Day:
    """How many findings were opened (or opened again) and resolved on a day in UTC."""

    day: date
    opened: int
    resolved: int


Why = Literal["broken", "held", "unowned", "ending", "scopes", "failing", "paused"]
"""Why something waits for a person, the most urgent first: a connection that is not read any more, a run that the brake stopped,
bad findings that nobody looks after, a credential that ends soon, rights that are missing, a provider that does not answer, and
what a person stopped themselves."""
_URGENCY: tuple[Why, ...] = get_args(Why)
_WHY: dict[str, Why] = {
    "needs_reconnect": "broken", "expired": "broken", "suspended": "broken", "degraded": "scopes", "error": "failing", "paused": "paused",
}  # fmt: skip
_BAD = ("critical", "high")


@dataclass(frozen=True)
class Waiting:
    """One thing that waits for a person: a connection, a run, or the open findings of a severity that nobody looks after."""

    why: Why
    connection: Connection | None = None
    run: Run | None = None
    severity: str = ""
    count: int = 0


@dataclass(frozen=True)
class Overview:
    """An organization at a glance.

    `waiting` is what waits for a person, the most urgent first. `open` counts open findings by severity. `fresh` counts connections
    by how long ago they were last read to the end: a label of `AGES`, `older` or `never`.
    """

    connections: int
    posture: Sequence[Posture]
    waiting: Sequence[Waiting]
    open: Mapping[str, int]
    days: Sequence[Day]
    fresh: Mapping[str, int]


async def look_over(parts: Parts, org_id: str) -> Overview:
    """Everything that Home shows."""
    now = parts.clock.now()
    first = (now - timedelta(days=WEEK - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    standings = await list_controls(parts, org_id)
    async with parts.db.work(org_id) as work:
        connections = (await list_connections(work, Paging(limit=MAX_LIMIT))).items
        held = (await list_runs(work, Paging(limit=_MOST), status="held")).items
        counts = await count_findings(work)
        unowned = {one: (await count_matching(work, severity=one, owner=NOBODY)).get("open", 0) for one in _BAD}
        events = await count_events_by_day(work, since=first)
        read_at = await last_successes(work)
    by_framework = Counter((one.control.framework, one.status) for one in standings)
    return Overview(
        connections=len(connections),
        posture=[
            Posture(one, {status: by_framework[one.slug, status] for status in CONTROL_STATUSES})
            for one in load_frameworks().values()
        ],
        waiting=_in_order(connections, held, unowned, now),
        open={severity: count for (status, severity), count in counts.items() if status == "open"},
        days=[_day(first.date() + timedelta(days=number), events) for number in range(WEEK)],
        fresh=_count_ages([read_at.get(one.id) for one in connections], now),
    )


def _in_order(
    connections: Sequence[Connection], held: Sequence[Run], unowned: Mapping[str, int], now: datetime
) -> list[Waiting]:
    """What waits for a person, the most urgent first; of the same urgency what has waited longest, or ends first."""
    ending = [one for one in connections if _ends_soon(one, now)]
    found = [Waiting(_WHY[one.status], connection=one) for one in connections if one.status in _WHY]
    found += [Waiting("held", run=one) for one in reversed(held)]
    found += [Waiting("unowned", severity=one, count=count) for one, count in unowned.items() if count]
    found += [Waiting("ending", connection=one) for one in sorted(ending, key=lambda one: one.expires_at or now)]
    return sorted(found, key=lambda one: _URGENCY.index(one.why))


def _ends_soon(connection: Connection, now: datetime) -> bool:
    soon = connection.expires_at is not None and connection.expires_at <= now + EXPIRES_SOON
    return soon and connection.status == "active"


def _day(day: date, events: Mapping[tuple[date, str], int]) -> Day:
    opened = events.get((day, "opened"), 0) + events.get((day, "reopened"), 0)
    return Day(day, opened, events.get((day, "resolved"), 0))


def _count_ages(read_at: Sequence[datetime | None], now: datetime) -> dict[str, int]:
    def age_of(at: datetime | None) -> str:
        if at is None:
            return "never"
        return next((label for label, step in AGES if now - at <= step), "older")

    counts = Counter(age_of(at) for at in read_at)
    return {label: counts[label] for label in (*(label for label, _ in AGES), "older", "never")}
