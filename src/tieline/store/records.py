"""Records: the providers' own payloads that are kept, beside the entities made of them and as samples of those that were rejected."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, distinct_on

from tieline.errors import NotFound
from tieline.store.db import Work
from tieline.store.entities import StoredEntity, entities
from tieline.store.runs import Rejection, rejections, runs

_SHOWN = [entities.c[name] for name in StoredEntity.__dataclass_fields__]
_LOOKED_AT = 2_000
_SAMPLE = [rejections.c[name] for name in Rejection.__dataclass_fields__]


@dataclass(frozen=True)
class Sample:
    """A rejected record that was kept, and whose it is."""

    rejection: Rejection
    connection_id: str
    operation: str


@dataclass(frozen=True)
class RejectedAlike:
    """What the newest reading of an operation rejected for one reason, as far as samples tell (at most twenty a run).

    `rejected` is how many records that run rejected in all, `samples` are the newest ids.
    """

    operation: str
    run_id: str
    kind: str
    field: str
    reason: str
    sampled: int
    rejected: int
    samples: list[str]
    at: datetime


async def get_sample(work: Work, rejection_id: str) -> Sample:
    """One rejected record; raises `NotFound`."""
    query = select(*_SAMPLE, runs.c.connection_id, runs.c.operation).join(runs, runs.c.id == rejections.c.run_id)
    mine = (rejections.c.id == rejection_id) & (rejections.c.org_id == work.org_id) & (runs.c.org_id == work.org_id)
    row = (await work.connection.execute(query.where(mine))).one_or_none()
    if row is None:
        raise NotFound(f"There is no rejected record {rejection_id[:60]!r}")
    told = {column.name: row._mapping[column.name] for column in _SAMPLE}
    return Sample(Rejection(**told), row.connection_id, row.operation)


async def newest_samples(work: Work, connection_id: str, operation: str) -> list[Rejection]:
    """The samples of what the newest reading of an operation rejected, newest first."""
    newest = _newest_readings(work, connection_id).where(runs.c.operation == operation)
    query = select(*_SAMPLE).where(rejections.c.org_id == work.org_id, rejections.c.run_id.in_(newest))
    rows = await work.connection.execute(query.order_by(rejections.c.id.desc()))
    return [Rejection(**row._mapping) for row in rows]


async def group_samples(work: Work, connection_id: str) -> list[RejectedAlike]:
    """What the newest reading of each operation rejected, by field and reason, the most frequent first."""
    about = (rejections.c.kind, rejections.c.field, rejections.c.reason)
    ids = func.array_agg(aggregate_order_by(rejections.c.id, rejections.c.id.desc()))
    query = (
        select(
            runs.c.operation,
            rejections.c.run_id,
            *about,
            func.count().label("sampled"),
            runs.c.rejected,
            ids.label("samples"),
            func.max(rejections.c.at).label("at"),
        )
        .join(runs, runs.c.id == rejections.c.run_id)
        .where(rejections.c.org_id == work.org_id, rejections.c.run_id.in_(_newest_readings(work, connection_id)))
        .group_by(runs.c.operation, rejections.c.run_id, runs.c.rejected, *about)
        .order_by(func.count().desc(), runs.c.operation, *about)
    )
    return [RejectedAlike(**row._mapping) for row in await work.connection.execute(query)]


async def recent_entities(
    work: Work, connection_id: str, operation: str, *, kinds: Collection[str] = (), limit: int
) -> list[StoredEntity]:
    """The present entities of an operation that changed last, of two thousand at most that are looked at."""
    chosen = _recent(work, connection_id, operation, kinds, limit)
    rows = await work.connection.execute(_newest_first(work, chosen, *_SHOWN))
    return [StoredEntity(**row._mapping) for row in rows]


async def recent_records(
    work: Work, connection_id: str, operation: str, *, kinds: Collection[str], limit: int, most_bytes: int
) -> list[tuple[StoredEntity, Any]]:
    """The same with the record that each was made of, as many as have room."""
    chosen = _recent(work, connection_id, operation, kinds, limit)
    found: list[tuple[StoredEntity, Any]] = []
    room = most_bytes
    async with work.connection.stream(_newest_first(work, chosen, *_SHOWN, entities.c.raw)) as rows:
        async for row in rows:
            room -= len(orjson.dumps(row.raw))
            if room < 0:
                break
            told = {column.name: row._mapping[column.name] for column in _SHOWN}
            found.append((StoredEntity(**told), row.raw))
    return found


def _recent(work: Work, connection_id: str, operation: str, kinds: Collection[str], limit: int) -> Select[Any]:
    """The ids of those that changed last among the first by id, which an index gives; ids are derived, so that is any of them."""
    looked_at = select(entities.c.id, entities.c.changed_at).where(
        entities.c.org_id == work.org_id,
        entities.c.connection_id == connection_id,
        entities.c.operation == operation,
        entities.c.removed_at.is_(None),
    )
    if kinds:
        looked_at = looked_at.where(entities.c.kind.in_(kinds))
    first = looked_at.order_by(entities.c.id).limit(_LOOKED_AT).subquery()
    return select(first.c.id).order_by(first.c.changed_at.desc(), first.c.id).limit(limit)


def _newest_first(work: Work, chosen: Select[Any], *columns: Any) -> Select[Any]:
    query = select(*columns).where(entities.c.org_id == work.org_id, entities.c.id.in_(chosen))
    return query.order_by(entities.c.changed_at.desc(), entities.c.id)


def _newest_readings(work: Work, connection_id: str) -> Select[Any]:
    """The ids of the newest runs that read something, one for each operation."""
    return (
        select(runs.c.id)
        .where(runs.c.connection_id == connection_id, runs.c.org_id == work.org_id, runs.c.records > 0)
        .ext(distinct_on(runs.c.operation))
        .order_by(runs.c.operation, runs.c.id.desc())
    )
