"""Runs: executions of an operation for a connection, what they have seen so far, and samples of what they rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from tieline.errors import NotFound
from tieline.ids import new_id
from tieline.store.db import Work, metadata
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.types import Id, Json, RawJson, UtcTime
from tieline.telemetry import traceparent

UNFINISHED = ("queued", "running")
COUNTS = (
    "pages", "records", "skipped", "rejected", "unidentified", "created", "changed", "unchanged", "removed",
    "findings_opened", "findings_resolved", "evidence",
)  # fmt: skip
READ = ("records", "skipped", "rejected", "unidentified", "unchanged")
"""The counts that say what was read; the others say what was done."""

SAMPLES_PER_RUN = 20

runs = Table(
    "runs",
    metadata,
    Column("id", Id("run"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("connection_id", Id("conn"), ForeignKey("connections.id"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("resume_at", UtcTime),
    Column("checkpoint", Json),
    Column("stamp", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("force", Boolean, nullable=False, server_default=text("false")),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in COUNTS),
    Column("error_slug", Text),
    Column("error_message", Text),
    Column("exchange", Json),
    Column("traceparent", Text),
    Index("runs_org_id_idx", "org_id", "id"),
    Index("runs_connection_id_idx", "connection_id", "operation", "id"),
    Index("runs_created_at_idx", "connection_id", "created_at"),
)

run_pages = Table(
    "run_pages",
    metadata,
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("run_id", Id("run"), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("page", Integer, nullable=False),
    Column("seen", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_id", "page"),
)

rejections = Table(
    "rejections",
    metadata,
    Column("id", Id("rej"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("run_id", Id("run"), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("record", RawJson, nullable=False),
    Column("at", UtcTime, nullable=False),
)


@dataclass(frozen=True)
class Run:
    """One execution; `resume_at` is set while it waits for the provider, `checkpoint` is where it goes on.

    `stamp` tells in which way it reads (options, mappings): what was read in another is no part of the same reading.
    `traceparent` names the span in which it was asked for (W3C Trace Context), if that was traced.
    """

    id: str
    org_id: str
    connection_id: str
    provider: str
    operation: str
    kind: str
    cause: str
    status: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    resume_at: datetime | None = None
    checkpoint: dict[str, Any] | None = None
    stamp: str | None = None
    attempts: int = 0
    force: bool = False
    pages: int = 0
    records: int = 0
    skipped: int = 0
    rejected: int = 0
    unidentified: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    findings_opened: int = 0
    findings_resolved: int = 0
    evidence: int = 0
    error_slug: str | None = None
    error_message: str | None = None
    exchange: dict[str, Any] | None = field(default=None, repr=False)
    traceparent: str | None = None


@dataclass(frozen=True)
class Rejection:
    """A sample of a record that no entity could be made from."""

    id: str
    run_id: str
    kind: str
    field: str
    reason: str
    record: Any
    at: datetime


@dataclass(frozen=True)
class Known:
    """What is known of a connection's operations.

    Of the `complete` ones it is known what is absent: their newest run that ended, or has swept at least, saw everything. The
    `moving` ones are due or being read: what is stored of them may be out of date.
    """

    complete: frozenset[str]
    moving: frozenset[str]


async def create_run(
    work: Work,
    *,
    connection_id: str,
    provider: str,
    operation: str,
    kind: str,
    cause: str,
    now: datetime,
    force: bool = False,
) -> Run:
    """Add a queued run."""
    run = Run(new_id("run"), work.org_id, connection_id, provider, operation, kind, cause, "queued", now, force=force)
    values = {"org_id": work.org_id, "created_at": now, "force": force, "traceparent": traceparent()}
    values |= {
        name: getattr(run, name) for name in ("id", "connection_id", "provider", "operation", "kind", "cause", "status")
    }
    await work.connection.execute(insert(runs).values(**values))
    return run


async def get_run(work: Work, run_id: str) -> Run:
    """One run; raises `NotFound`."""
    query = select(runs).where(runs.c.id == run_id, runs.c.org_id == work.org_id)
    row = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no run {run_id[:60]!r}")
    return Run(**row._mapping)


async def list_runs(
    work: Work,
    paging: Paging,
    *,
    connection_id: str | None = None,
    operation: str | None = None,
    status: str | None = None,
) -> Listing[Run]:
    """Runs, newest first."""
    query = select(runs).where(runs.c.org_id == work.org_id)
    if connection_id:
        query = query.where(runs.c.connection_id == connection_id)
    if operation:
        query = query.where(runs.c.operation == operation)
    if status:
        query = query.where(runs.c.status == status)
    return await list_page(work, query, runs.c.id, paging, read=lambda row: Run(**row._mapping), newest_first=True)


async def update_run(work: Work, run_id: str, **values: Any) -> None:
    """Change some columns."""
    await work.connection.execute(
        update(runs).where(runs.c.id == run_id, runs.c.org_id == work.org_id).values(**values)
    )


async def save_progress(
    work: Work, run_id: str, *, checkpoint: dict[str, Any] | None, counts: dict[str, int], seen: bytes
) -> int:
    """Add one page's counts, the place to go on from, and the keys of the entities that it held; the page's number."""
    added = {name: runs.c[name] + count for name, count in counts.items() if count}
    mine = (runs.c.id == run_id) & (runs.c.org_id == work.org_id)
    values = {**added, "pages": runs.c.pages + 1, "checkpoint": checkpoint}
    done = await work.connection.execute(update(runs).where(mine).values(values).returning(runs.c.pages))
    page: int = done.scalar_one()
    if seen:
        row = {"org_id": work.org_id, "run_id": run_id, "page": page, "seen": seen}
        await work.connection.execute(insert(run_pages).values(**row))
    return page


async def start_over(work: Work, run: Run) -> Run:
    """Forget what a run has read, not what it did: it begins at its first page, and the brake, if it was released, holds again."""
    for table in (run_pages, rejections):
        await work.connection.execute(delete(table).where(table.c.run_id == run.id, table.c.org_id == work.org_id))
    afresh: dict[str, Any] = dict.fromkeys(READ, 0) | {"checkpoint": None, "force": False}
    await update_run(work, run.id, **afresh)
    return replace(run, **afresh)


async def forget_pages(work: Work, run: Run, *, held: bool = False) -> None:
    """Drop what an ended run had seen, which only its own sweep needed, and what held ones before it had.

    One that is `held` itself keeps its own: it is the only one that can still be released.
    """
    same = (runs.c.connection_id == run.connection_id) & (runs.c.operation == run.operation)
    until = runs.c.id < run.id if held else runs.c.id <= run.id
    ended = select(runs.c.id).where(same, until, runs.c.org_id == work.org_id)
    await work.connection.execute(
        delete(run_pages).where(run_pages.c.run_id.in_(ended), run_pages.c.org_id == work.org_id)
    )


async def save_rejections(work: Work, run_id: str, samples: Sequence[dict[str, Any]], *, now: datetime) -> None:
    """Keep samples of rejected records, at most 20 a run."""
    if not samples:
        return
    query = select(func.count()).where(rejections.c.run_id == run_id, rejections.c.org_id == work.org_id)
    room = SAMPLES_PER_RUN - int((await work.connection.execute(query)).scalar_one())
    rows = [
        {"id": new_id("rej"), "org_id": work.org_id, "run_id": run_id, "at": now, **one}
        for one in samples[: max(room, 0)]
    ]
    if rows:
        await work.connection.execute(insert(rejections), rows)


async def list_rejections(work: Work, run_id: str, paging: Paging) -> Listing[Rejection]:
    """The samples of one run."""
    columns = [rejections.c[name] for name in Rejection.__dataclass_fields__]
    query = select(*columns).where(rejections.c.run_id == run_id, rejections.c.org_id == work.org_id)
    return await list_page(work, query, rejections.c.id, paging, read=lambda row: Rejection(**row._mapping))


async def last_finished(work: Work, connection_id: str, operation: str) -> Run | None:
    """The newest finished run of one operation."""
    query = (
        select(runs)
        .where(runs.c.connection_id == connection_id, runs.c.operation == operation, runs.c.org_id == work.org_id)
        .where(runs.c.status.not_in(UNFINISHED))
        .order_by(runs.c.id.desc())
        .limit(1)
    )
    row = (await work.connection.execute(query)).one_or_none()
    return Run(**row._mapping) if row else None


async def last_successes(work: Work) -> dict[str, datetime]:
    """When each connection was last read to the end, by its id; those that never were are left out."""
    query = select(runs.c.connection_id, func.max(runs.c.finished_at)).where(
        runs.c.org_id == work.org_id, runs.c.status == "succeeded"
    )
    rows = await work.connection.execute(query.group_by(runs.c.connection_id))
    return {connection_id: at for connection_id, at in rows}  # noqa: C416  dict() would take the result for a mapping


async def known_operations(work: Work, connection_id: str, *, now: datetime) -> Known:
    """What is known of each operation of a connection."""
    about = {"connection": connection_id, "org": work.org_id, "now": now}
    rows = (await work.connection.execute(_KNOWN, about)).all()
    complete = frozenset(row.operation for row in rows if row.complete)
    return Known(complete, frozenset(row.operation for row in rows if row.wanted and not row.swept))


# One look into the index for each operation: a connection has a handful of operations and, in time, thousands of runs.
_KNOWN = text("""
    SELECT schedules.operation, newest.status IN ('succeeded', 'queued', 'running') AS complete,
           newest.status IN ('queued', 'running') AS swept,
           enabled AND (schedules.run_id IS NOT NULL OR generation > ran_generation OR next_run_at <= :now) AS wanted
      FROM schedules LEFT JOIN LATERAL (
           SELECT status FROM runs
            WHERE runs.connection_id = :connection AND runs.org_id = :org AND runs.operation = schedules.operation
              AND (status NOT IN ('queued', 'running') OR checkpoint @> '{"swept": true}')
            ORDER BY runs.id DESC LIMIT 1) AS newest ON true
     WHERE schedules.connection_id = :connection AND schedules.org_id = :org
""").bindparams(
    bindparam("connection", type_=Id("conn")), bindparam("org", type_=Id("org")), bindparam("now", type_=UtcTime)
)
