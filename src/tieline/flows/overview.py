"""Overview: where an organization stands at a glance, and what waits for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from tieline.catalog import Framework, load_frameworks
from tieline.flows.controls import CONTROL_STATUSES, list_controls
from tieline.flows.parts import Parts
from tieline.store.connections import Connection, list_connections
from tieline.store.findings import count_events_by_day, count_findings
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


@dataclass(frozen=True)
class Overview:
    """An organization at a glance.

    `troubled` are connections that are not active, `expiring` those whose credential ends within two weeks, `held` runs that the
    brake stopped. `open` counts open findings by severity. `fresh` counts connections by how long ago they were last read to the
    end: a label of `AGES`, `older` or `never`.
    """

    connections: int
    posture: Sequence[Posture]
    troubled: Sequence[Connection]
    expiring: Sequence[Connection]
    held: Sequence[Run]
    open: Mapping[str, int]
    days: Sequence[Day]
    fresh: Mapping[str, int]

    @property
    def waiting(self) -> int:
        """How many things wait for a person."""
        return len(self.troubled) + len(self.expiring) + len(self.held)


async def look_over(parts: Parts, org_id: str) -> Overview:
    """Everything that Home shows."""
    now = parts.clock.now()
    first = (now - timedelta(days=WEEK - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    standings = await list_controls(parts, org_id)
    async with parts.db.work(org_id) as work:
        connections = (await list_connections(work, Paging(limit=MAX_LIMIT))).items
        held = (await list_runs(work, Paging(limit=_MOST), status="held")).items
        counts = await count_findings(work)
        events = await count_events_by_day(work, since=first)
        read_at = await last_successes(work)
    by_framework = Counter((one.control.framework, one.status) for one in standings)
    return Overview(
        connections=len(connections),
        posture=[
            Posture(one, {status: by_framework[one.slug, status] for status in CONTROL_STATUSES})
            for one in load_frameworks().values()
        ],
        troubled=[one for one in connections if one.status != "active"][:_MOST],
        expiring=[one for one in connections if _ends_soon(one, now)][:_MOST],
        held=held,
        open={severity: count for (status, severity), count in counts.items() if status == "open"},
        days=[_day(first.date() + timedelta(days=number), events) for number in range(WEEK)],
        fresh=_count_ages([read_at.get(one.id) for one in connections], now),
    )


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
