"""Entities: the normalised rows, and the links between them.

An entity's id is derived from its connection, kind and external id, so looking up by id and being unique are one index. `outcomes`
is the standing answer of each check, as `{check id: [outcome, day it was last attested]}`, which holds until `judge_at` unless
something changes: a page learns in one query what it must know of the rows that it is about to write, and nothing of the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    Column,
    Computed,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    or_,
    select,
    text,
)

from tieline.errors import NotFound
from tieline.ids import from_uuid, to_uuid
from tieline.store.bulk import insert_many
from tieline.store.db import Work, metadata
from tieline.store.entity_versions import BEGINS_WHEN_OVERWRITTEN, BEGINS_WHEN_REMOVED, KEEP_OVERWRITTEN, KEEP_REMOVED
from tieline.store.types import Id, Json, RawJson, UtcTime, among

# What an entity is looked for by: a column, so that looking through labels reads an index and no row.
_LABEL = (
    "left(lower(coalesce(data ->> 'email', '') || ' ' || coalesce(data ->> 'display_name', '') || ' ' || "
    "coalesce(data ->> 'name', '') || ' ' || coalesce(data ->> 'title', '') || ' ' || coalesce(data ->> 'username', '')), 200) "
    "|| ' ' || left(lower(external_id), 200)"
)

# The worst of its standing answers, by which entities are listed.
_VERDICT = (
    "CASE WHEN outcomes = '{}' THEN 'none' WHEN jsonb_path_exists(outcomes, '$.*[0] ? (@ == \"fail\")') THEN 'fail' "
    "WHEN jsonb_path_exists(outcomes, '$.*[0] ? (@ == \"unknown\")') THEN 'unknown' ELSE 'pass' END"
)

SAID_BYTES, TEXT_BYTES = 16, 16
"""The parts of an entity's hash: of what its record said, whatever order it was said in, and of the text itself.

By the latter a record that has not changed is recognised without being read; by the former one that is only written otherwise. Both
are too long for anyone to find two records of their own that hash alike.
"""

# No foreign keys on what pages write in bulk, here, in evidence, findings and the outbox: each would cost a look-up and a row lock
# for every row, and the rows that they would name are written or locked by the very same transaction, and never deleted.
_FILTERED = [
    "connection_id",
    "provider",
    "status",
    "verdict",
    "removed_at",
    "label",
]  # so that filters and searches read the index and no row
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
    Column("judge_at", UtcTime),
    Column("run_id", Id("run"), nullable=False),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("removed_at", UtcTime),
    Column("label", Text, Computed(_LABEL, persisted=True), nullable=False),
    Column("verdict", Text, Computed(_VERDICT, persisted=True), nullable=False),
    Index("entities_org_id_idx", "org_id", "kind", "id", postgresql_include=_FILTERED),
    Index("entities_operation_idx", "connection_id", "operation", "id"),
    Index("entities_removed_idx", "org_id", "removed_at", postgresql_where=text("removed_at IS NOT NULL")),
    # A smaller row stays as it is: to compress it costs a fifth of storing it.
    postgresql_with={"toast_tuple_target": 4080},
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
    """An entity as it stands, `since` when; `removed_at` is set once a complete run no longer saw it.

    It may have changed since then without becoming another: `changed_at` is when its record did. Its outcomes hold until `judge_at`,
    for good if that is `None`, unless something changes.
    """

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
    since: datetime
    removed_at: datetime | None
    judge_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What a page must know of a row: its hash (empty once removed, `None` if there is no row), and its standing outcomes."""

    hash: bytes | None
    outcomes: dict[str, list[Any]]
    judge_at: datetime | None


SHOWN = [entities.c[name] for name in StoredEntity.__dataclass_fields__]
"""What is read of an entity where its record is not asked for."""

_COLUMNS = ("id", "kind", "external_id", "status", "hash", "data", "raw", "outcomes", "judge_at")
_OVERWRITE = (
    "ON CONFLICT (id) DO UPDATE SET operation = excluded.operation, status = excluded.status, hash = excluded.hash, "
    "data = excluded.data, raw = excluded.raw, outcomes = excluded.outcomes, judge_at = excluded.judge_at, "
    f"run_id = excluded.run_id, changed_at = excluded.changed_at, since = {BEGINS_WHEN_OVERWRITTEN}, removed_at = NULL"
)


async def look_up(work: Work, hashes: Mapping[UUID, bytes], *, now: datetime) -> dict[UUID, Known]:
    """Those of some entities that are not stored with these hashes of their texts, or are to be judged anew by now.

    The limit keeps the plan right on a table without statistics: each row is looked up by its id.
    """
    driver = await work.driver()
    rows = await driver.fetch(
        """SELECT wanted.id, stored.hash, stored.outcomes, stored.judge_at
             FROM unnest($1::uuid[], $2::bytea[]) AS wanted(id, hash) LEFT JOIN LATERAL (
                  SELECT CASE WHEN removed_at IS NULL THEN hash ELSE '' END AS hash, outcomes, judge_at
                    FROM entities WHERE entities.id = wanted.id AND org_id = $3 LIMIT 1) AS stored ON true
            WHERE substring(stored.hash FROM $5) IS DISTINCT FROM wanted.hash OR stored.judge_at <= $4""",
        list(hashes),
        list(hashes.values()),
        to_uuid(work.org_id, "org"),
        now,
        SAID_BYTES + 1,
    )
    return {row["id"]: Known(row["hash"], parsed(row["outcomes"] or "{}"), row["judge_at"]) for row in rows}


async def upsert(work: Work, rows: Sequence[tuple[Any, ...]], *, same: Mapping[str, Any], overwrites: bool) -> None:
    """Write new and changed entities; the columns are those of `_COLUMNS`, in driver values, and `same` has all others.

    If any of them is stored already, it `overwrites`: what those were is kept as a version. Whoever says that none is knows it
    from a look-up under the connection's lock; to insert a row that may be there already costs PostgreSQL a second log record.
    """
    how = {"first": f"kept AS ({KEEP_OVERWRITTEN})", "on_conflict": _OVERWRITE} if overwrites else {}
    await insert_many(work, entities, _COLUMNS, rows, same=same, **how)


async def write_outcomes(work: Work, rows: Sequence[tuple[UUID, str, datetime | None]]) -> None:
    """Set the standing outcomes (JSON text), and until when they hold, of entities that did not change themselves."""
    if rows:
        driver = await work.driver()
        await driver.execute(
            """UPDATE entities SET outcomes = given.outcomes, judge_at = given.judge_at
                 FROM unnest($1::uuid[], $2::jsonb[], $3::timestamptz[]) AS given(id, outcomes, judge_at)
                WHERE entities.id = given.id AND org_id = $4""",
            *zip(*rows, strict=True),
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
    work: Work, targets: Sequence[UUID], *, kind: str, field: str, most: int | None = None
) -> list[tuple[UUID, dict[str, Any]]]:
    """The present entities of one kind that link to these by one field, or the first of them: target id and data."""
    driver = await work.driver()
    rows = await driver.fetch(
        """SELECT links.target_id, entities.data FROM links JOIN entities ON entities.id = links.source_id
            WHERE links.target_id = ANY($1::uuid[]) AND links.field = $2 AND links.org_id = $4
              AND entities.kind = $3 AND entities.removed_at IS NULL AND entities.org_id = $4
            ORDER BY links.target_id, entities.id LIMIT $5""",
        targets,
        field,
        kind,
        to_uuid(work.org_id, "org"),
        most,
    )
    return [(row["target_id"], parsed(row["data"])) for row in rows]


async def read_present(
    work: Work,
    *,
    connection_id: str,
    operation: str | None = None,
    kind: str | None = None,
    ids: Sequence[UUID] | None = None,
    unknown: Collection[str] | None = None,
    after: UUID | None = None,
    limit: int = 1_000,
) -> list[StoredEntity]:
    """Present entities of a connection in the order of their ids: some by id, or the next ones after an id.

    `unknown` names checks, for one of which the standing answer must be unknown.
    """
    if ids is not None and not ids:
        return []
    query = select(*SHOWN).where(
        entities.c.org_id == work.org_id, entities.c.connection_id == connection_id, entities.c.removed_at.is_(None)
    )
    if operation:
        query = query.where(entities.c.operation == operation)
    if kind:
        query = query.where(entities.c.kind == kind)
    if ids:
        query = query.where(entities.c.id == among(ids))
    if unknown is not None:
        query = query.where(or_(*(entities.c.outcomes[check][0].astext == "unknown" for check in sorted(unknown))))
    if after:
        query = query.where(entities.c.id > from_uuid("ent", after))
    rows = await work.connection.execute(query.order_by(entities.c.id).limit(limit))
    return [StoredEntity(**row._mapping) for row in rows]


_UNSEEN = """
    entities.connection_id = $1 AND entities.operation = $2 AND entities.org_id = $3 AND entities.removed_at IS NULL
    AND entities.run_id <= $4 AND NOT EXISTS (
        SELECT FROM seen WHERE seen.key = substring(uuid_send(entities.id) FROM 11))
"""
# A page's keys are taken out of their storage once, not once for each of them.
_SEEN = """
    WITH pages AS MATERIALIZED (SELECT seen || ''::bytea AS keys FROM run_pages WHERE run_id = $4 AND org_id = $3),
         seen AS MATERIALIZED (SELECT substring(keys FROM place FOR 6) AS key
                                 FROM pages, generate_series(1, length(keys), 6) AS place)
"""


def keys_of(ids: Iterable[UUID]) -> bytes:
    """The last 6 bytes of each id, by which a run remembers what it saw: less than a row write, and in practice as good as the id."""
    return b"".join([one.bytes[10:] for one in ids])


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
    """Close a batch of the entities that a complete run did not see, and keep what they were; their ids."""
    driver = await work.driver()
    rows = await driver.fetch(
        f"""{_SEEN}, gone AS (SELECT id FROM entities WHERE {_UNSEEN} LIMIT {int(limit)}), kept AS ({KEEP_REMOVED})
            UPDATE entities AS was SET removed_at = $5, since = {BEGINS_WHEN_REMOVED}, outcomes = '{{}}'
              FROM gone WHERE was.id = gone.id
            RETURNING was.id""",  # noqa: S608
        *_scope(work, connection_id, operation, run_id),
        now,
    )
    return [row["id"] for row in rows]


def _scope(work: Work, connection_id: str, operation: str, run_id: str) -> tuple[UUID, str, UUID, UUID]:
    return to_uuid(connection_id, "conn"), operation, to_uuid(work.org_id, "org"), to_uuid(run_id, "run")


async def get_entity(work: Work, entity_id: str) -> tuple[StoredEntity, Any]:
    """One entity and the record that it came from; raises `NotFound`."""
    query = select(*SHOWN, entities.c.raw).where(entities.c.id == entity_id, entities.c.org_id == work.org_id)
    row = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no entity {entity_id[:60]!r}")
    return StoredEntity(**{column.name: row._mapping[column.name] for column in SHOWN}), row.raw


def parsed(value: Any) -> Any:
    """The driver hands JSON over as text when SQLAlchemy's codecs are not in play."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value
