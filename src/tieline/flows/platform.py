"""The platform as operators see it: its workers, what runs and what waits, how much was done, and the settings in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.flows.parts import Parts
from tieline.flows.views import JsonRow, engine_row, moment
from tieline.store.admission import EngineCounts, Load, engine_counts, engine_load, next_due
from tieline.store.organizations import Organization, list_organizations
from tieline.store.workers import HOUR, Worker, jobs_by_hour, list_workers

HOURS = 24
_BUSIEST = 10


@dataclass(frozen=True)
class Platform:
    """How a whole Tieline stands.

    `hours` are the last 24 with the jobs that ended in each. `providers` and `organizations` are the busiest, with what runs and what
    waits of each; the caps are how much may run of one at a time, `None` where no worker says so.
    """

    counts: EngineCounts
    due: datetime | None
    workers: Sequence[Worker]
    hours: Sequence[tuple[datetime, int]]
    providers: Sequence[Load]
    organizations: Sequence[tuple[Organization, Load]]
    all_organizations: Sequence[Organization]
    now: datetime

    @property
    def alive(self) -> list[Worker]:
        """The workers that are heard of."""
        return [one for one in self.workers if not one.is_silent(self.now)]

    @property
    def slots(self) -> int:
        """How many runs all workers together carry out side by side."""
        return sum(one.slots for one in self.alive)

    @property
    def caps(self) -> tuple[int, int] | None:
        """How many runs of one organization, and against one provider, there may be at a time."""
        return max(((one.org_cap, one.provider_cap) for one in self.alive), default=None)


async def look_at_platform(parts: Parts) -> Platform:
    """How this Tieline stands now."""
    now = parts.clock.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    hours = [hour - HOUR * back for back in reversed(range(HOURS))]
    async with parts.db.system() as work:
        jobs = await jobs_by_hour(work, since=hours[0])
        known = {one.id: one for one in await list_organizations(work)}
        busiest = await engine_load(work, "org_id", now=now, limit=_BUSIEST)
        return Platform(
            counts=await engine_counts(work, now=now),
            due=await next_due(work),
            workers=await list_workers(work),
            hours=[(one, jobs.get(one, 0)) for one in hours],
            providers=await engine_load(work, "provider", now=now, limit=_BUSIEST),
            organizations=[(known[one.key], one) for one in busiest if one.key in known],
            all_organizations=list(known.values()),
            now=now,
        )


def platform_row(platform: Platform) -> JsonRow:
    """How the engine stands, with the busiest providers and organizations and the jobs of the last hours."""
    return {
        **engine_row(platform.counts, platform.due),
        "workers": len(platform.alive),
        "slots": platform.slots,
        "providers": [_load_row(one.key, one) for one in platform.providers],
        "organizations": [_load_row(of.id, one) for of, one in platform.organizations],
        "hours": [{"hour": moment(hour), "jobs": jobs} for hour, jobs in platform.hours],
    }


def worker_row(worker: Worker, now: datetime) -> JsonRow:
    """A worker, which is `alive` or `silent`."""
    return {
        "id": worker.id,
        "host": worker.host,
        "role": worker.role,
        "version": worker.version,
        "status": "silent" if worker.is_silent(now) else "alive",
        "slots": worker.slots,
        "running": worker.running,
        "org_cap": worker.org_cap,
        "provider_cap": worker.provider_cap,
        "heartbeat_seconds": worker.heartbeat / timedelta(seconds=1),
        "started_at": moment(worker.started_at),
        "beat_at": moment(worker.beat_at),
    }


def _load_row(key: str, load: Load) -> JsonRow:
    return {"id": key, "running": load.held, "waiting": load.waiting, "oldest_waiting_since": moment(load.oldest)}
