"""Entities: the normalised rows, and the links between them.

An entity's id is derived from its connection, kind and external id, so looking up by id and being unique are one index. `outcomes`
is the standing answer of each check, as `{check id: [outcome, day it was last attested]}`: a page learns in one query
what it must know of the rows that it is about to write.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    Column,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    func,
    or_,
    select,
    text,
)

from tieline.errors import NotFound
from tieline.ids import from_uuid, to_uuid
from tieline.store.bulk import insert_many
from tieline.store.db import Work, metadata
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.types import Id, Json, RawJson, UtcTime

# No foreign keys on what pages write in bulk, here and in evidence: each would cost a look-up and a row lock for every row, and
# the rows that they would name are written or locked by the very same transaction.
entities = Table(
    "entities",
    metadata,
    Column("id", Id("ent"), primary_key=True),
    Column("org_id", Id("org"), nullable=False),
    Column("connection_id", Id("conn"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("data", Json, nullable=False),
    Column("raw", RawJson, nullable=False),
    Column("outcomes", Json, nullable=False),
    Column("run_id", Id("run"), nullable=False),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("removed_at", UtcTime),
    Index("entities_org_id_idx", "org_id", "kind", "id"),
    Index("entities_operation_idx", "connection_id", "operation", "id"),
)

links = Table(
    "links",
    metadata,
    Column("org_id", Id("org"), nullable=False),
    Column("source_id", Id("ent"), nullable=False),
    Column("field", Text, nullable=False),
    Column("target_id", Id("ent"), nullable=False),
    PrimaryKeyConstraint("source_id", "field"),
    Index("links_target_id_idx", "target_id", "field"),
)


@dataclass(frozen=True)
class StoredEntity:
    """An entity as it stands; `removed_at` is set once a complete run no longer saw it."""

    id: str
    org_id: str
    connection_id: str
    provider: str
    kind: str
    operation: str
    external_id: str
    status: str
    data: dict[str, Any]
    outcomes: dict[str, list[Any]]
    run_id: str
    first_seen_at: datetime
    changed_at: datetime
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Known:
    """What a page must know of a stored row: its hash (empty once removed) and standing outcomes."""

    hash: bytes
    outcomes: dict[str, list[Any]]


_SHOWN = [entities.c[name] for name in StoredEntity.__dataclass_fields__]
_COLUMNS = (
    "id", "org_id", "connection_id", "provider", "kind", "operation", "external_id", "status", "hash", "data", "raw",
    "outcomes", "run_id", "first_seen_at", "changed_at",
)  # fmt: skip
_OVERWRITE = (
    "ON CONFLICT (id) DO UPDATE SET operation = excluded.operation, status = excluded.status, hash = excluded.hash, "
    "data = excluded.data, raw = excluded.raw, outcomes = excluded.outcomes, run_id = excluded.run_id, "
    "changed_at = excluded.changed_at, removed_at = NULL"
)


async def look_up(work: Work, ids: Sequence[UUID]) -> dict[UUID, Known]:
    """What is stored under these ids. A materialised list keeps the plan right on a table without statistics."""
    driver = await work.driver()
    rows = await driver.fetch(
        """WITH wanted AS MATERIALIZED (SELECT unnest($1::uuid[]) AS id)
           SELECT id, CASE WHEN removed_at IS NULL THEN hash ELSE '' END AS hash, outcomes
             FROM wanted JOIN entities USING (id) WHERE org_id = $2""",
        ids,
        to_uuid(work.org_id, "org"),
    )
    return {row["id"]: Known(row["hash"], _parsed(row["outcomes"])) for row in rows}


async def upsert(work: Work, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write new and changed entities; the columns are those of `_COLUMNS`, in driver values."""
    await insert_many(work, entities, _COLUMNS, rows, on_conflict=_OVERWRITE)


async def write_outcomes(work: Work, rows: Sequence[tuple[UUID, str]]) -> None:
    """Set the standing outcomes (JSON text) of entities that did not change themselves."""
    if rows:
        driver = await work.driver()
        await driver.execute(
            """UPDATE entities SET outcomes = given.outcomes
                 FROM unnest($1::uuid[], $2::jsonb[]) AS given(id, outcomes)
                WHERE entities.id = given.id AND org_id = $3""",
            [row[0] for row in rows],
            [row[1] for row in rows],
            to_uuid(work.org_id, "org"),
        )


async def write_links(work: Work, rows: Sequence[tuple[UUID, str, UUID]], *, changed: Sequence[UUID]) -> None:
    """Set the links (source, field, target) of changed entities, in place of those they had."""
    org = to_uuid(work.org_id, "org")
    driver = await work.driver()
    await driver.execute("DELETE FROM links WHERE source_id = ANY($1::uuid[]) AND org_id = $2", changed, org)
    unique = {(source, field): target for source, field, target in rows}
    wide = [(org, source, field, target) for (source, field), target in unique.items()]
    await insert_many(work, links, ("org_id", "source_id", "field", "target_id"), wide)


async def links_from(work: Work, sources: Sequence[UUID]) -> list[tuple[str, UUID, UUID]]:
    """The links that these entities hold: field, source, target."""
    driver = await work.driver()
    rows = await driver.fetch(
        "SELECT field, source_id, target_id FROM links WHERE source_id = ANY($1::uuid[]) AND org_id = $2",
        sources,
        to_uuid(work.org_id, "org"),
    )
    return [(row["field"], row["source_id"], row["target_id"]) for row in rows]


async def linking_to(
    work: Work, targets: Sequence[UUID], *, kind: str, field: str
) -> list[tuple[UUID, dict[str, Any]]]:
    """The present entities of one kind that link to these by one field: target id and data."""
    driver = await work.driver()
    rows = await driver.fetch(
        """SELECT links.target_id, entities.data FROM links JOIN entities ON entities.id = links.source_id
            WHERE links.target_id = ANY($1::uuid[]) AND links.field = $2 AND links.org_id = $4
              AND entities.kind = $3 AND entities.removed_at IS NULL AND entities.org_id = $4
            ORDER BY links.target_id, entities.id""",
        targets,
        field,
        kind,
        to_uuid(work.org_id, "org"),
    )
    return [(row["target_id"], _parsed(row["data"])) for row in rows]


async def read_present(
    work: Work,
    *,
    connection_id: str,
    kind: str | None = None,
    ids: Sequence[UUID] | None = None,
    unknown: Collection[str] | None = None,
    after: UUID | None = None,
    limit: int = 1_000,
) -> list[StoredEntity]:
    """Present entities of a connection in the order of their ids: some by id, or the next ones after an id.

    `unknown` names checks, for one of which the standing answer must be unknown.
    """
    query = select(*_SHOWN).where(
        entities.c.org_id == work.org_id, entities.c.connection_id == connection_id, entities.c.removed_at.is_(None)
    )
    if kind:
        query = query.where(entities.c.kind == kind)
    if ids is not None:
        query = query.where(entities.c.id.in_([from_uuid("ent", one) for one in ids]))
    if unknown is not None:
        query = query.where(or_(*(entities.c.outcomes[check][0].astext == "unknown" for check in sorted(unknown))))
    if after:
        query = query.where(entities.c.id > from_uuid("ent", after))
    rows = await work.connection.execute(query.order_by(entities.c.id).limit(limit))
    return [StoredEntity(**row._mapping) for row in rows]


_UNSEEN = """
    entities.connection_id = $1 AND entities.operation = $2 AND entities.org_id = $3 AND entities.removed_at IS NULL
    AND entities.run_id <= $4 AND NOT EXISTS (
        SELECT FROM seen WHERE seen.key = ('x' || right(replace(entities.id::text, '-', ''), 16))::bit(64)::bigint)
"""
_SEEN = "WITH seen AS MATERIALIZED (SELECT unnest(seen) AS key FROM run_pages WHERE run_id = $4 AND org_id = $3)"


def key_of(entity: UUID) -> int:
    """The signed lower half of an id, by which a run remembers what it saw: 8 bytes each instead of a row write."""
    low = entity.int & 0xFFFF_FFFF_FFFF_FFFF
    return low - (1 << 64) if low >= 1 << 63 else low


async def count_unseen(work: Work, *, connection_id: str, operation: str, run_id: str) -> tuple[int, int]:
    """How many present entities of an operation its run did not see, and how many there are."""
    driver = await work.driver()
    row = await driver.fetchrow(
        f"""{_SEEN} SELECT (SELECT count(*) FROM entities WHERE {_UNSEEN}) AS unseen,
            (SELECT count(*) FROM entities
              WHERE connection_id = $1 AND operation = $2 AND org_id = $3 AND removed_at IS NULL) AS present""",  # noqa: S608
        *_scope(work, connection_id, operation, run_id),
    )
    return (row["unseen"], row["present"]) if row else (0, 0)


async def remove_unseen(
    work: Work, *, connection_id: str, operation: str, run_id: str, now: datetime, limit: int = 5_000
) -> list[UUID]:
    """Close a batch of the entities that a complete run did not see; their ids."""
    driver = await work.driver()
    rows = await driver.fetch(
        f"""{_SEEN}, gone AS (SELECT id FROM entities WHERE {_UNSEEN} LIMIT {int(limit)})
            UPDATE entities SET removed_at = $5, outcomes = '{{}}' FROM gone WHERE entities.id = gone.id
            RETURNING entities.id""",  # noqa: S608
        *_scope(work, connection_id, operation, run_id),
        now,
    )
    return [row["id"] for row in rows]


def _scope(work: Work, connection_id: str, operation: str, run_id: str) -> tuple[UUID, str, UUID, UUID]:
    return to_uuid(connection_id, "conn"), operation, to_uuid(work.org_id, "org"), to_uuid(run_id, "run")


async def get_entity(work: Work, entity_id: str) -> tuple[StoredEntity, Any]:
    """One entity and the record that it came from; raises `NotFound`."""
    query = select(*_SHOWN, entities.c.raw).where(entities.c.id == entity_id, entities.c.org_id == work.org_id)
    row = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no entity {entity_id[:60]!r}")
    return StoredEntity(**{column.name: row._mapping[column.name] for column in _SHOWN}), row.raw


async def list_entities(
    work: Work,
    paging: Paging,
    *,
    kind: str | None = None,
    connection_id: str | None = None,
    provider: str | None = None,
    status: str | None = None,
    search: str | None = None,
    removed: bool = False,
) -> Listing[StoredEntity]:
    """Entities of the organization; removed ones only when asked for."""
    query: Select[Any] = select(*_SHOWN).where(entities.c.org_id == work.org_id)
    query = query.where(entities.c.removed_at.is_not(None) if removed else entities.c.removed_at.is_(None))
    for column, value in (("kind", kind), ("connection_id", connection_id), ("provider", provider), ("status", status)):
        if value:
            query = query.where(entities.c[column] == value)
    if search:
        pattern = f"%{search.replace('%', '').replace('_', '')}%"
        names = [entities.c.data[name].astext for name in ("email", "name", "display_name", "title")]
        query = query.where(or_(entities.c.external_id == search, *(name.ilike(pattern) for name in names)))
    return await list_page(work, query, entities.c.id, paging, read=lambda row: StoredEntity(**row._mapping))


async def count_by_kind(work: Work, connection_id: str | None = None) -> dict[str, int]:
    """How many present entities there are of each kind."""
    query = select(entities.c.kind, func.count()).where(
        entities.c.org_id == work.org_id, entities.c.removed_at.is_(None)
    )
    if connection_id:
        query = query.where(entities.c.connection_id == connection_id)
    rows = await work.connection.execute(query.group_by(entities.c.kind))
    return {key: value for key, value in rows}  # noqa: C416  dict() would take the result for a mapping


async def count_outcomes(work: Work) -> dict[str, dict[str, int]]:
    """Standing answers over the organization's live connections: check id → outcome → how many entities."""
    rows = await work.connection.execute(
        text(
            """SELECT answer.key AS check_id, answer.value ->> 0 AS outcome, count(*) AS entities
                 FROM entities JOIN connections ON connections.id = entities.connection_id,
                      jsonb_each(outcomes) AS answer
                WHERE entities.org_id = :org AND removed_at IS NULL AND connections.disconnected_at IS NULL
                GROUP BY 1, 2"""
        ),
        {"org": to_uuid(work.org_id, "org")},
    )
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row.check_id, {})[row.outcome] = row.entities
    return found


def _parsed(value: Any) -> Any:
    """The driver hands JSON over as text when SQLAlchemy's codecs are not in play."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value
