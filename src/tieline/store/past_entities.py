"""Past entities: what entities were at some time, put together by the database from the present and the versions after that time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tieline.errors import NotFound
from tieline.ids import from_uuid, to_uuid
from tieline.store.db import Work
from tieline.store.entities import StoredEntity, parsed
from tieline.store.listing import Listing, Paging
from tieline.store.types import NoSuchId

THE_PRESENT = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class PastEntity:
    """An entity as it was, without outcomes; `run_id` is the run that made it so, if that is known.

    If it is not `kept`, only its ids and when it was first seen are right: what it was at that time was pruned.
    """

    entity: StoredEntity
    until: datetime | None
    run_id: str | None
    kept: bool


# One look into the primary key of the versions for an entity that has not changed since; the rest only for those that have.
_PAST = """
    SELECT entities.id, entities.org_id, connection_id, provider, entities.kind, operation, external_id, first_seen_at,
           coalesce(state.since, entities.since) AS since, state.until, coalesce(state.removed, removed_at IS NOT NULL) AS removed,
           CASE WHEN state.until IS NULL THEN data ELSE (data - otherwise.untold) || otherwise.told END AS data,
           coalesce(before.run_id, state.first_run_id,
               CASE WHEN state.until IS NULL AND entities.since = first_seen_at AND changed_at = first_seen_at
                    THEN entities.run_id END) AS run_id
      FROM entities
      LEFT JOIN LATERAL (
           SELECT since, until, removed, first_run_id FROM entity_versions
            WHERE entity_id = entities.id AND org_id = $1 AND until > $2 ORDER BY until LIMIT 1) AS state ON true
      LEFT JOIN LATERAL (
           SELECT run_id FROM entity_versions
            WHERE entity_id = entities.id AND org_id = $1 AND until <= $2 ORDER BY until DESC LIMIT 1) AS before ON true
      LEFT JOIN LATERAL (
           SELECT coalesce(jsonb_object_agg(key, value) FILTER (WHERE value <> 'null'), '{}') AS told,
                  coalesce(array_agg(key) FILTER (WHERE value = 'null'), '{}') AS untold
             FROM (SELECT DISTINCT ON (key) key, value FROM entity_versions, jsonb_each(fields)
                    WHERE entity_id = entities.id AND org_id = $1 AND until > $2 ORDER BY key, until) AS nearest
           ) AS otherwise ON state.until IS NOT NULL
     WHERE entities.org_id = $1 AND first_seen_at <= $2
"""


async def find_past(work: Work, entity_id: str, at: datetime) -> PastEntity:
    """One entity as it was; raises `NotFound` if there is none, or was none then."""
    try:
        wanted = to_uuid(entity_id, "ent")
    except ValueError:
        raise NoSuchId(f"There is no entity {entity_id[:60]!r}") from None
    driver = await work.driver()
    row = await driver.fetchrow(f"{_PAST} AND entities.id = $3", to_uuid(work.org_id, "org"), at, wanted)
    if row is not None:
        return _read(row, at)
    first = await driver.fetchval(
        "SELECT first_seen_at FROM entities WHERE id = $1 AND org_id = $2", wanted, to_uuid(work.org_id, "org")
    )
    if first is None:
        raise NotFound(f"There is no entity {entity_id[:60]!r}")
    seen = f"{first.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    raise NotFound("The entity had not been read by then", advice=f"It was first seen {seen}: ask for a later time.")


async def list_past(
    work: Work,
    at: datetime,
    paging: Paging,
    *,
    kind: str | None = None,
    connection_id: str | None = None,
    provider: str | None = None,
    status: str | None = None,
    search: str | None = None,
    removed: bool = False,
) -> Listing[PastEntity]:
    """Entities as they were, filtered by what they were; of those whose state was pruned, all that may have been among them."""
    fixed = {"entities.kind": kind, "connection_id": _uuid(connection_id, "conn"), "provider": provider}
    given: list[Any] = [to_uuid(work.org_id, "org"), at]
    where = "".join(f" AND {column} = {_put(given, value)}" for column, value in fixed.items() if value)
    if paging.cursor:
        where += f" AND entities.id > {_put(given, _uuid(paging.cursor, 'ent'))}"
    was = [f"removed = {_put(given, removed)}"]
    if status:
        was.append(f"coalesce(nullif(data ->> 'status', ''), 'present') = {_put(given, status)}")
    if search:
        names = ", ".join(f"data ->> '{name}'" for name in ("email", "display_name", "name", "title", "username"))
        label = f"lower(concat_ws(' ', {names}, external_id))"
        was += [f"strpos({label}, lower({_put(given, word)})) > 0" for word in search.split()]
    query = f"SELECT * FROM ({_PAST}{where}) AS past WHERE since > $2 OR ({' AND '.join(was)}) ORDER BY id LIMIT {paging.limit + 1}"  # noqa: S608  ours; values are given apart
    rows = await (await work.driver()).fetch(query, *given)
    shown = [_read(row, at) for row in rows[: paging.limit]]
    return Listing(shown, shown[-1].entity.id if len(rows) > paging.limit else None)


def _put(given: list[Any], value: Any) -> str:
    """Give a value to a query; where it stands there."""
    given.append(value)
    return f"${len(given)}"


def _uuid(value: str | None, prefix: str) -> Any:
    try:
        return to_uuid(value, prefix) if value else None
    except ValueError:
        raise NoSuchId(f"There is no {str(value)[:60]!r} here") from None


def _read(row: Any, at: datetime) -> PastEntity:
    data, since = parsed(row["data"]), row["since"].astimezone(UTC)
    entity = StoredEntity(
        id=from_uuid("ent", row["id"]),
        org_id=from_uuid("org", row["org_id"]),
        connection_id=from_uuid("conn", row["connection_id"]),
        provider=row["provider"],
        kind=row["kind"],
        operation=row["operation"],
        external_id=row["external_id"],
        status=data.get("status") or "present",
        data=data,
        outcomes={},
        run_id="",
        first_seen_at=row["first_seen_at"].astimezone(UTC),
        changed_at=since,
        since=since,
        removed_at=since if row["removed"] else None,
    )
    until, run = row["until"], row["run_id"]
    made_by = from_uuid("run", run) if run else None
    return PastEntity(entity, until and until.astimezone(UTC), made_by, kept=since <= at)


__all__: Sequence[str] = ["THE_PRESENT", "PastEntity", "find_past", "list_past"]
