"""Materialize: judge what is stored anew, so that findings and evidence agree with the checks and the time as they are now.

Nothing is read from a provider. Each batch of an operation's entities is one transaction, as a run's pages are: it attests once, so
that what connections write of the same controls is written in one order. Where no answer changed nothing is written: what was not
read is not attested anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tieline.errors import Conflict
from tieline.flows.audit import record
from tieline.flows.context import base_url_of
from tieline.flows.judging import judge_now
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.ids import to_uuid
from tieline.stages.announce import announce_findings
from tieline.stages.assess import Judge, assess_stored, move_findings
from tieline.stages.attest import attest
from tieline.store import entities, runs
from tieline.store.connections import Connection, get_connection, list_connections, lock_connection
from tieline.store.db import Work
from tieline.store.entities import StoredEntity
from tieline.store.findings import restate
from tieline.store.listing import MAX_LIMIT, Paging
from tieline.store.runs import Run
from tieline.store.schedules import list_schedules


async def materialize(parts: Parts, org_id: str, *, connection_id: str | None = None) -> dict[str, int]:
    """Judge every present entity of one connection, or of all live ones; what that changed.

    Returns counts of `connections`, `entities`, `evidence`, `findings_opened` and `findings_resolved`. Raises `NotFound`, and
    `Conflict` for a connection that is disconnected.
    """
    counts = Counter(connections=0, entities=0, evidence=0, findings_opened=0, findings_resolved=0)
    for connection in await _chosen(parts, org_id, connection_id):
        counts["connections"] += 1
        await _restate(parts, connection)
        for operation in await _operations(parts, connection):
            after: UUID | None = None
            while stored := await _judge_batch(parts, connection, operation, after, counts):
                after = to_uuid(stored[-1].id, "ent")
    return dict(counts)


async def _chosen(parts: Parts, org_id: str, connection_id: str | None) -> list[Connection]:
    """The connections to judge; what is about to happen to them is recorded before anything does."""
    async with parts.db.work(org_id) as work:
        if connection_id:
            chosen = [await get_connection(work, connection_id)]
            if chosen[0].disconnected_at:
                raise Conflict("The connection is disconnected, so what it read speaks of the past")
        else:
            chosen = [one for one in await _live(work) if one.provider in parts.catalog.providers]
        await record(work, parts, "evidence.materialized", connection_id, connections=len(chosen))
        return chosen


async def _live(work: Work) -> list[Connection]:
    found: list[Connection] = []
    cursor: str | None = None
    while True:
        page = await list_connections(work, Paging(cursor, MAX_LIMIT))
        found += page.items
        if page.next is None:
            return found
        cursor = page.next


async def _restate(parts: Parts, connection: Connection) -> None:
    """Let findings say what their checks say now: a new release may word or weigh one otherwise."""
    async with parts.db.work(connection.org_id) as work:
        await lock_connection(work, connection.id)
        await restate(work, connection.id, [(one.id, one.title, one.severity) for one in parts.catalog.checks])


async def _operations(parts: Parts, connection: Connection) -> list[str]:
    """Every operation that was ever planned, also one that its provider has no more: what it read stands."""
    async with parts.db.work(connection.org_id) as work:
        return [one.operation or "" for one in await list_schedules(work, connection.id)]


async def _judge_batch(
    parts: Parts, connection: Connection, operation: str, after: UUID | None, counts: Counter[str]
) -> Sequence[StoredEntity]:
    """Judge an operation's entities after an id, in one transaction; the batch, empty at the end."""
    async with parts.db.work(connection.org_id) as work:
        await lock_connection(work, connection.id)
        run = await runs.last_finished(work, connection.id, operation)
        if run is None:  # its first run is under way, and judges them itself
            return []
        stored = await entities.read_present(work, connection_id=connection.id, operation=operation, after=after)
        if stored:
            judge = await judge_now(work, parts, connection)
            counts.update(await _judge(work, parts, run, stored, judge))
            counts["entities"] += len(stored)
    return stored


async def _judge(work: Work, parts: Parts, run: Run, stored: Sequence[StoredEntity], judge: Judge) -> dict[str, int]:
    """Judge entities of one operation; what moved is said to come from its last finished run."""
    about: dict[str, Any] = {"connection": judge.connection, "now": judge.now}
    assessed = await assess_stored(work, stored, judge)
    moved = await move_findings(work, assessed.answers, run_id=run.id, **about)
    attested = await attest(work, assessed.answers, run=run, query=_query(parts, run, judge.connection), **about)
    await announce_findings(work, moved, now=judge.now)
    opened = len(moved["opened"]) + len(moved["reopened"])
    return {"evidence": attested, "findings_opened": opened, "findings_resolved": len(moved["resolved"])}


def _query(parts: Parts, run: Run, connection: Connection) -> dict[str, Any]:
    """What the run asked of the provider, for provenance."""
    provider = parts.catalog.provider(connection.provider)
    title = next((one.title for one in provider.operations if one.id == run.operation), run.operation)
    source = base_url_of(parts, provider, parse_options(provider, connection.options))
    return {"operation": run.operation, "title": title, "source": source}
