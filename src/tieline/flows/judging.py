"""What a run is about, and how it judges and concludes within one transaction; shared by its pages and its sweep."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tieline import faults
from tieline.flows.context import base_url_of
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.sdk.provider import Operation, Provider
from tieline.stages.announce import announce_findings
from tieline.stages.assess import Answer, Judge, move_findings
from tieline.stages.attest import attest
from tieline.store import runs
from tieline.store.connections import Connection
from tieline.store.db import Work
from tieline.store.runs import Run
from tieline.store.schedules import Hold, Schedule

COLLECTED = {"collected": True}
"""The checkpoint of a run that has read everything and has only its sweep left."""

SWEPT = {"collected": True, "swept": True}
"""The checkpoint of a run whose sweep is done: from here on what it did not see counts as absent."""


@dataclass(frozen=True)
class Sync:
    """All that one execution is about; `is_first` if the operation was never read to an end before."""

    parts: Parts
    hold: Hold
    schedule: Schedule
    connection: Connection
    run: Run
    provider: Provider[Any]
    operation: Operation
    is_first: bool = False

    @property
    def now(self) -> datetime:
        """The present time."""
        return self.parts.clock.now()

    @property
    def query(self) -> dict[str, Any]:
        """What was asked of the provider, for provenance."""
        source = base_url_of(self.parts, self.provider, parse_options(self.provider, self.connection.options))
        return {"operation": self.operation.id, "title": self.operation.title, "source": source}


async def judge_now(work: Work, parts: Parts, connection: Connection, *, finished: str | None = None) -> Judge:
    """How to judge in this transaction; an operation that is `finished` but for its sweep counts as read completely.

    What is known is asked anew each time, after the connection's turn was taken: another operation may have just ended, and it
    judges only what was stored before its sweep was marked as done.
    """
    now, provider = parts.clock.now(), parts.catalog.provider(connection.provider)
    known = await runs.known_operations(work, connection.id, now=now)
    own = {finished} if finished else set()
    complete = complete_kinds(provider, known.complete | own)
    return Judge(parts.catalog, connection, now, complete, kinds_read_by(provider, known.moving - own))


async def conclude(work: Work, sync: Sync, answers: Sequence[Answer], judge: Judge) -> dict[str, int]:
    """Move findings, write evidence, tell the outbox; the counts of each."""
    about: dict[str, Any] = {"connection": sync.connection, "now": judge.now}
    moved = await move_findings(work, answers, run_id=sync.run.id, **about)
    faults.passing("page.findings")
    attested = await attest(work, answers, run=sync.run, query=sync.query, **about)
    faults.passing("page.evidence")
    await announce_findings(work, moved, now=judge.now)
    faults.passing("page.outbox")
    opened = len(moved["opened"]) + len(moved["reopened"])
    return {"findings_opened": opened, "findings_resolved": len(moved["resolved"]), "evidence": attested}


def complete_kinds(provider: Provider[Any], complete: Collection[str]) -> frozenset[str]:
    """Kinds of which every reading operation was complete, so that the absence of one means something."""
    every = {one.id for one in provider.operations}
    return kinds_read_by(provider, every) - kinds_read_by(provider, every - set(complete))


def kinds_read_by(provider: Provider[Any], operations: Collection[str]) -> frozenset[str]:
    """Kinds that at least one of these operations reads."""
    return frozenset(kind for one in provider.operations if one.id in operations for kind in one.kinds)
