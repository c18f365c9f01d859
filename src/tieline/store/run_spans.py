"""Spans of runs: how the time of each page went (reading, waiting for the provider, storing), and the waits between them.

A span is one row of numbers a page. A run of thousands of pages is shown, and kept once it has ended, in a hundred spans of several
pages each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import Any

from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from tieline.store.db import Work, metadata
from tieline.store.types import Id, UtcTime

MOST = 100
"""Spans of pages that a run is shown in."""

run_spans = Table(
    "run_spans",
    metadata,
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("run_id", Id("run"), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("page", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    Column("pages", Integer, nullable=False),
    Column("begun_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime, nullable=False),
    Column("read_ms", Integer, nullable=False),
    Column("limited_ms", Integer, nullable=False),
    Column("retried_ms", Integer, nullable=False),
    Column("load_ms", Integer, nullable=False),
    PrimaryKeyConstraint("run_id", "page", "cause"),
)


@dataclass(frozen=True)
class Span:
    """A stretch of a run, in milliseconds.

    A page's is `read_ms` of reading, of which it waited `limited_ms` for the rate limit and `retried_ms` before it tried again, and
    then `load_ms` of storing. One with a `cause` is a wait of the whole run, after `page` pages: it lasts until the next one begins.
    """

    page: int
    cause: str
    pages: int
    begun_at: datetime
    ended_at: datetime
    read_ms: int = 0
    limited_ms: int = 0
    retried_ms: int = 0
    load_ms: int = 0


async def add_page(work: Work, run_id: str, span: Span) -> None:
    """Note how a page's time went."""
    await _insert(work, run_id, [span])


async def add_wait(work: Work, run_id: str, *, page: int, cause: str, now: datetime) -> None:
    """Note that the whole run waits from now on; another wait without a page in between goes on with the one before."""
    await _insert(work, run_id, [Span(page, cause, 0, now, now)])


async def list_spans(work: Work, run_id: str, *, pages: int) -> list[Span]:
    """The spans of a run that has so many pages, in order; those of many pages are put together to `MOST`."""
    mine = (run_spans.c.run_id == run_id) & (run_spans.c.org_id == work.org_id)
    group = (run_spans.c.page - 1) // max(ceil(pages / MOST), 1)
    sums = [
        func.sum(run_spans.c[name]).label(name) for name in ("pages", "read_ms", "limited_ms", "retried_ms", "load_ms")
    ]
    first, begun = func.min(run_spans.c.page).label("page"), func.min(run_spans.c.begun_at).label("begun_at")
    ended = func.max(run_spans.c.ended_at).label("ended_at")
    read = select(first, begun, ended, *sums).where(mine, run_spans.c.cause == "").group_by(group)
    found = [Span(cause="", **row._mapping) for row in await work.connection.execute(read)]
    waits = select(run_spans).where(mine, run_spans.c.cause != "")
    names = tuple(Span.__dataclass_fields__)
    found += [Span(**{name: row._mapping[name] for name in names}) for row in await work.connection.execute(waits)]
    return _closed(sorted(found, key=lambda one: (one.begun_at, one.page)))


async def fold_spans(work: Work, run_id: str, *, pages: int) -> None:
    """Put the spans of a run that has ended together, if it has many."""
    if pages <= MOST:
        return
    folded = [one for one in await list_spans(work, run_id, pages=pages) if not one.cause]
    mine = (run_spans.c.run_id == run_id) & (run_spans.c.org_id == work.org_id) & (run_spans.c.cause == "")
    await work.connection.execute(delete(run_spans).where(mine))
    await _insert(work, run_id, folded)


async def _insert(work: Work, run_id: str, spans: list[Span]) -> None:
    rows: list[dict[str, Any]] = [{"org_id": work.org_id, "run_id": run_id, **vars(one)} for one in spans]
    await work.connection.execute(insert(run_spans).on_conflict_do_nothing(), rows)


def _closed(spans: list[Span]) -> list[Span]:
    """Waits last until what comes next; the last one is open, and ends where it begins."""
    following = [*spans[1:], None]
    return [
        replace(one, ended_at=max(after.begun_at, one.begun_at)) if one.cause and after else one
        for one, after in zip(spans, following, strict=False)
    ]
