"""Run days: how the runs of a connection went, day by day, counted by the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, Date, cast, extract, func, select

from tieline.store.db import Work
from tieline.store.runs import Run, runs

GONE_WRONG = ("partial", "failed", "held")


@dataclass(frozen=True)
class RunDay:
    """The runs of a day in UTC that are in one state: how many, the records that they read, and the seconds they took in all."""

    day: date
    status: str
    count: int
    records: int
    seconds: float


async def count_by_day(
    work: Work, connection_id: str, *, since: datetime, operation: str | None = None
) -> list[RunDay]:
    """How the runs since a time went, by day and state, oldest first; days without a run are left out."""
    day = cast(func.timezone("UTC", runs.c.created_at), Date).label("day")
    seconds = func.coalesce(extract("epoch", func.sum(runs.c.finished_at - runs.c.started_at)), 0)
    counts = func.count().label("runs"), func.sum(runs.c.records).label("records"), seconds.label("seconds")
    query = select(day, runs.c.status, *counts).where(*_since(work, connection_id, since))
    if operation:
        query = query.where(runs.c.operation == operation)
    rows = await work.connection.execute(query.group_by(day, runs.c.status).order_by(day, runs.c.status))
    return [RunDay(row.day, row.status, row.runs, row.records, float(row.seconds)) for row in rows]


async def list_gone_wrong(work: Work, connection_id: str, *, since: datetime, limit: int) -> list[Run]:
    """The newest runs since a time that did not read everything, newest first."""
    query = select(runs).where(*_since(work, connection_id, since), runs.c.status.in_(GONE_WRONG))
    rows = await work.connection.execute(query.order_by(runs.c.created_at.desc()).limit(limit))
    return [Run(**row._mapping) for row in rows]


def _since(work: Work, connection_id: str, since: datetime) -> tuple[ColumnElement[bool], ...]:
    return runs.c.org_id == work.org_id, runs.c.connection_id == connection_id, runs.c.created_at >= since
