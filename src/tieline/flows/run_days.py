"""Run days: how a connection has been read over the last days, for a chart and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from tieline.flows.parts import Parts
from tieline.flows.views import JsonRow
from tieline.store.connections import get_connection
from tieline.store.run_days import RunDay, count_by_day

DAYS = 30


@dataclass(frozen=True)
class Day:
    """A day in UTC: how many runs by how they ended, the records that they read, and the seconds that they took in all."""

    day: date
    counts: Mapping[str, int]
    records: int
    seconds: float

    @property
    def runs(self) -> int:
        """How many runs."""
        return sum(self.counts.values())


def first_day(now: datetime, days: int) -> datetime:
    """The beginning of the first of so many days in UTC, today included."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)


def fill_days(found: Sequence[RunDay], *, first: date, days: int) -> list[Day]:
    """Every day from the first, those without a run included."""
    return [_day(first + timedelta(days=number), found) for number in range(days)]


async def read_days(
    parts: Parts, org_id: str, connection_id: str, *, days: int = DAYS, operation: str | None = None
) -> JsonRow:
    """The counts by day and state as rows; raises `NotFound`."""
    async with parts.db.work(org_id) as work:
        await get_connection(work, connection_id)
        since = first_day(parts.clock.now(), days)
        found = await count_by_day(work, connection_id, since=since, operation=operation)
    return {"items": [day_row(one) for one in found], "next": None}


def day_row(one: RunDay) -> JsonRow:
    """The runs of a day that are in one state."""
    return {
        "day": one.day.isoformat(),
        "status": one.status,
        "runs": one.count,
        "records": one.records,
        "seconds": round(one.seconds, 3),
    }


def _day(day: date, found: Sequence[RunDay]) -> Day:
    of_it = [one for one in found if one.day == day]
    counts = {one.status: one.count for one in of_it}
    return Day(day, counts, sum(one.records for one in of_it), sum(one.seconds for one in of_it))
