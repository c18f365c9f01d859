"""Readings: what only the database knows of the whole platform, looked up when somebody asks for metrics.

However often that is, the database is asked every few seconds at most, by one at a time, and no statement of it may take long: none goes
through runs, findings or entities. Where it cannot answer, that is what is told.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from tieline.flows.parts import Parts
from tieline.store.admission import EngineCounts, count_silent, engine_counts
from tieline.store.connections import count_everywhere
from tieline.store.db import SystemWork
from tieline.store.run_tallies import RunTally, sum_run_tallies
from tieline.store.tallies import count_failing
from tieline.store.workers import Worker, list_workers
from tieline.telemetry import Reading
from tieline.telemetry import instruments as of

KEPT_FOR = timedelta(seconds=5)
_LONGEST = 2_000  # milliseconds that a statement may take
_log = logging.getLogger(__name__)


class Readings:
    """What was looked up last, and looks again when that is old."""

    def __init__(self, parts: Parts, *, role: str, data_dir: Path | None = None) -> None:
        self._parts = parts
        self._role = role
        self._data_dir = data_dir
        self._looking = asyncio.Lock()
        self._looked_at: datetime | None = None
        self.last: list[Reading] = []
        """As it was told last; for whoever cannot wait."""

    async def look(self) -> list[Reading]:
        """How everything stands, as of five seconds ago at most."""
        async with self._looking:
            now = self._parts.clock.now()
            if self._looked_at is None or not timedelta() <= now - self._looked_at < KEPT_FOR:
                self.last = [*_own(self._role, self._data_dir), *await _platform(self._parts, now)]
                self._looked_at = now
        return self.last

    async def keep_looking(self, every: timedelta) -> None:
        """Look again and again, for those to whom metrics are sent."""
        while True:
            await self.look()
            await asyncio.sleep(every.total_seconds())


def _own(role: str, data_dir: Path | None) -> Iterator[Reading]:
    yield of.BUILD.reading(1, version=version("tieline"), role=role)
    if data_dir:
        try:
            usage = shutil.disk_usage(data_dir)
        except OSError:
            return
        yield of.DISK_FREE.reading(usage.free)
        yield of.DISK_SIZE.reading(usage.total)


async def _platform(parts: Parts, now: datetime) -> list[Reading]:
    try:
        async with parts.db.brief(_LONGEST) as work:
            return [of.UP.reading(1), *await _look_at_engine(work, now), *await _look_at_rows(parts, work)]
    except Exception as error:  # noqa: BLE001  whatever keeps the database from answering is what there is to tell
        _log.warning("The database does not tell how the platform stands", extra={"error": type(error).__name__})
        return [of.UP.reading(0)]


async def _look_at_engine(work: SystemWork, now: datetime) -> list[Reading]:
    counts = await engine_counts(work, now=now)
    _, silent_since = await count_silent(work, before=now)
    alive = [one for one in await list_workers(work) if not one.is_silent(now)]
    return [*_tell_engine(counts, silent_since, now), *_tell_workers(alive)]


def _tell_engine(counts: EngineCounts, silent_since: datetime | None, now: datetime) -> Iterator[Reading]:
    yield of.QUEUE.reading(counts.held, state="running")
    yield of.QUEUE.reading(counts.waiting, state="waiting")
    yield of.OLDEST_WAIT.reading(_seconds(counts.oldest, now))
    yield of.SILENCE.reading(_seconds(silent_since, now))


def _tell_workers(alive: list[Worker]) -> Iterator[Reading]:
    yield of.WORKERS.reading(len(alive))
    yield of.SLOTS.reading(sum(one.slots for one in alive))


async def _look_at_rows(parts: Parts, work: SystemWork) -> list[Reading]:
    severity = {check.id: str(check.severity) for check in parts.catalog.checks}
    failing = dict.fromkeys(sorted(of.FAILING.labels["severity"].values), 0)
    for check_id, entities in (await count_failing(work)).items():
        if check_id in severity:  # else its provider is not installed any more
            failing[severity[check_id]] += entities
    found = [of.FAILING.reading(count, severity=name) for name, count in failing.items()]
    standing = {(provider, status): count for provider, status, count in await count_everywhere(work)}
    return [
        *found,
        *_tell_all(of.CONNECTIONS, "status", standing),
        *_tell_runs(await sum_run_tallies(work)),
        of.DATABASE_SIZE.reading(await work.size()),
    ]


def _tell_runs(tallies: list[RunTally]) -> Iterator[Reading]:
    records: dict[tuple[str, str], int] = {}
    for one in tallies:
        for verdict, count in one.verdicts.items():
            records[one.provider, verdict] = records.get((one.provider, verdict), 0) + count
    yield from _tell_all(of.RUNS, "outcome", {(one.provider, one.outcome): one.runs for one in tallies})
    yield from _tell_all(of.RECORDS, "verdict", records)


def _tell_all(gauge: of.Gauge, label: str, counts: Mapping[tuple[str, str], int]) -> Iterator[Reading]:
    """The counts by provider and label, and 0 where there is none: Prometheus does not see a series grow that begins with its first 1."""
    for provider in sorted({provider for provider, _ in counts}):
        for value in sorted(gauge.labels[label].values | {seen for whose, seen in counts if whose == provider}):
            yield gauge.reading(counts.get((provider, value), 0), **{"provider": provider, label: value})


def _seconds(since: datetime | None, now: datetime) -> float:
    return max((now - since).total_seconds(), 0.0) if since else 0.0
