"""Entity versions: what entities were before they became what they are.

The present is in `entities`. A row here is a state that has ended: from when until when it held, the run that ended it, and, of its
fields, only those that the state after it has otherwise, with their former value (`null` for a field that was not told). So a
former state is the present with the rows after it laid over, newest first; that nothing changed costs nothing, and that
something new came costs no row. `removed` marks the time between a removal and a return.

The states of an entity follow one another without a gap: `until` of one is `since` of the next, which for the last is
`entities.since`. Each begins later than the one before, by a microsecond at least, even if clocks disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Column, Index, PrimaryKeyConstraint, Table, Text, select, text

from tieline.store.db import SystemWork, Work, metadata
from tieline.store.types import Id, Json, UtcTime

entity_versions = Table(
    "entity_versions",
    metadata,
    Column("org_id", Id("org"), nullable=False),
    Column("entity_id", Id("ent"), nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime, nullable=False),
    Column("run_id", Id("run"), nullable=False),
    Column("first_run_id", Id("run")),
    Column("removed", Boolean, nullable=False),
    Column("kind", Text, nullable=False),
    Column("fields", Json, nullable=False),
    PrimaryKeyConstraint("entity_id", "until"),
    Index("entity_versions_kind_idx", "kind", "until"),
    Index("entity_versions_removed_idx", "org_id", "entity_id", postgresql_where=text("removed")),
)

_COLUMNS = "org_id, entity_id, since, until, run_id, first_run_id, removed, kind, fields"
# Who read it first is known as long as nothing has overwritten it.
_FIRST_RUN = "CASE WHEN was.since = was.first_seen_at AND was.changed_at = was.since THEN was.run_id END"
_LATER = "greatest({at}, was.since + interval '1 microsecond')"

KEEP_OVERWRITTEN = f"""
    INSERT INTO entity_versions ({_COLUMNS})
    SELECT was.org_id, was.id, was.since, {_LATER.format(at="given.changed_at")}, given.run_id, {_FIRST_RUN},
           was.removed_at IS NOT NULL, was.kind,
           (SELECT coalesce(jsonb_object_agg(key, was.data -> key), '{{}}')
              FROM (SELECT jsonb_object_keys(was.data || given.data) AS key OFFSET 0) AS either
             WHERE was.data -> key IS DISTINCT FROM given.data -> key)
      FROM incoming AS given, LATERAL (SELECT * FROM entities WHERE id = given.id OFFSET 0) AS was
     WHERE was.data <> given.data OR was.removed_at IS NOT NULL
"""  # noqa: S608  names are ours
"""Keeps what is about to be overwritten, in the very statement that does it. A row that says the same as before keeps nothing.

`OFFSET 0` has each former row looked up by its id: the temporary table has no statistics, and a join might read all entities instead.
"""

BEGINS_WHEN_OVERWRITTEN = f"""
    CASE WHEN was.data <> excluded.data OR was.removed_at IS NOT NULL THEN {_LATER.format(at="excluded.changed_at")}
         ELSE was.since END
"""
"""Since when an overwritten entity has been what it is now."""

KEEP_REMOVED = f"""
    INSERT INTO entity_versions ({_COLUMNS})
    SELECT was.org_id, was.id, was.since, {_LATER.format(at="$5")}, $4, {_FIRST_RUN}, false, was.kind, '{{}}'
      FROM entities AS was JOIN gone USING (id)
"""  # noqa: S608  names are ours
"""Keeps what is about to be removed: `gone` are the ids, $4 the run that does it, $5 the time."""

BEGINS_WHEN_REMOVED = _LATER.format(at="$5")
"""Since when a removed entity is gone."""


@dataclass(frozen=True)
class Former:
    """A state that has ended, as it is stored; `first_run_id` is who read the entity first, where that is known."""

    since: datetime
    until: datetime
    run_id: str
    first_run_id: str | None
    removed: bool
    fields: dict[str, Any]


_READ = [entity_versions.c[name] for name in Former.__dataclass_fields__]


async def list_former(work: Work, entity_id: str, *, upto: datetime, limit: int) -> list[Former]:
    """The states that had ended by some time, newest first; while they are kept, these rows never change."""
    mine = (entity_versions.c.entity_id == entity_id) & (entity_versions.c.org_id == work.org_id)
    query = select(*_READ).where(mine, entity_versions.c.until <= upto)
    rows = await work.connection.execute(query.order_by(entity_versions.c.until.desc()).limit(limit))
    return [Former(**row._mapping) for row in rows]


async def prune_versions(work: SystemWork, kind: str, *, before: datetime, limit: int = 5_000) -> int:
    """Delete a batch of the states of a kind that ended before a time, over all organizations; how many."""
    driver = await work.driver()
    done: str = await driver.execute(
        """DELETE FROM entity_versions USING (
               SELECT entity_id, until FROM entity_versions WHERE kind = $1 AND until < $2 ORDER BY until LIMIT $3) AS old
            WHERE entity_versions.entity_id = old.entity_id AND entity_versions.until = old.until""",
        kind,
        before,
        limit,
    )
    return int(done.rpartition(" ")[2])


def lay_over(data: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """What an entity's fields were before: the state after it, with what was otherwise in its place."""
    return {name: value for name, value in {**data, **fields}.items() if value is not None}
