"""Many entities out of few: what a real sync wrote, copied by the server under other ids.

Whatever columns the tables have are copied as they are, so that what comes has the shape that a sync writes. Only the ids, the external
ids and to whom they belong are otherwise; an id keeps the beginning that the ids of one connection share.
"""

from __future__ import annotations

from rig.postgres import Database

CONNECTION = 100_000
"""Entities of a connection."""

_STEP = 200
_TABLES = ("entities", "evidence", "findings")
_COLUMNS = """
    SELECT attname FROM pg_attribute
     WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""
_INDEXES = """
    SELECT 'DROP INDEX ' || indexrelid::regclass AS dropped, pg_get_indexdef(indexrelid) AS made
      FROM pg_index WHERE indrelid = ANY ($1::text[]::regclass[])
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""
_SEED = """
    CREATE TEMPORARY TABLE seed_{0} AS SELECT * FROM {0}
"""
_PLACES = """
    CREATE TEMPORARY TABLE places AS
    SELECT number, md5('connection ' || connection)::uuid AS connection_id,
           CASE WHEN connection % 2 = 0 THEN (SELECT org_id FROM seed_connections) ELSE md5('organization ' || connection % 20)::uuid END AS org_id
      FROM generate_series(1, {copies}) AS number, LATERAL (SELECT number / {each} AS connection) AS which
"""
_ORGANIZATIONS = """
    INSERT INTO organizations (id, slug, name, created_at)
    SELECT md5('organization ' || number)::uuid, 'other-' || number, 'Other ' || number, now() FROM generate_series(0, 19) AS number
"""
_COUNTED = """
    INSERT INTO {0} (org_id, connection_id, {1}, {2})
    SELECT places.org_id, places.connection_id, {1}, sum({2})
      FROM (SELECT {1}, {2} FROM seed_{0}) AS was, places GROUP BY places.org_id, places.connection_id, {1}
"""
_COUNTS = {
    "entity_counts": ("kind, status, verdict", "entities"),
    "tallies": ("check_id, outcome", "entities"),
    "finding_counts": ("check_id, kind, severity, status, owner_id", "findings"),
}
_ENTITY = "(substr(md5(place.connection_id::text), 1, 8) || substr(md5({} || place.number::text), 9))::uuid"
_BY_TIME = "(lpad(to_hex(1700000000000 + place.number * 1000::bigint), 12, '0') || substr(md5(was.id || place.number::text), 13))::uuid"
_EXTERNAL = "was.external_id || '-' || place.number"
_BELONGS = {"org_id": "place.org_id", "connection_id": "place.connection_id"}
_CHANGED = {
    "entities": {
        "id": _ENTITY.format("was.id"),
        "external_id": _EXTERNAL,
        "data": f"was.data || jsonb_build_object('external_id', {_EXTERNAL})",
    },
    "evidence": {"id": _BY_TIME, "entity_id": _ENTITY.format("was.entity_id"), "external_id": _EXTERNAL},
    "findings": {"id": _BY_TIME, "entity_id": _ENTITY.format("was.entity_id"), "external_id": _EXTERNAL},
    "connections": {
        "id": "place.connection_id",
        "account_id": "place.connection_id::text",
        "created_at": "was.created_at - interval '1 day'",
    },
    "schedules": {"id": "md5(place.connection_id || was.operation)::uuid", "switched_on": "false"},
}


async def multiply(database: Database, seed: int, copies: int) -> int:
    """Copy what is stored, `seed` entities of one connection, so many times; how many entities there are then."""
    run = database.owner.execute
    await run(
        "SET session_replication_role = replica"
    )  # neither triggers nor checks of foreign keys: what comes is right
    await run("SET maintenance_work_mem = '512MB'")
    for table in (*_CHANGED, *_COUNTS):
        await run(_SEED.format(table))
    await run(_PLACES.format(copies=copies, each=CONNECTION // seed))
    await run(_ORGANIZATIONS)
    for table in ("connections", "schedules"):
        await run(await _copied(database, table, "(SELECT DISTINCT connection_id, org_id FROM places)"))
    for table, (by, counted) in _COUNTS.items():
        await run(_COUNTED.format(table, by, counted))
    dropped = await database.owner.fetch(_INDEXES, list(_TABLES))
    for one in dropped:
        await run(one["dropped"])
    for first in range(1, copies + 1, _STEP):
        some = f"(SELECT * FROM places WHERE number BETWEEN {first} AND {first + _STEP - 1})"
        for table in _TABLES:
            await run(await _copied(database, table, some))
    for one in dropped:
        await run(one["made"])
    await run("SET session_replication_role = origin")
    await run("VACUUM (ANALYZE)")
    return int(await database.owner.fetchval("SELECT count(*) FROM entities"))


async def _copied(database: Database, table: str, places: str) -> str:
    """A statement that copies the seed's rows of a table to each of these places."""
    columns = [row["attname"] for row in await database.owner.fetch(_COLUMNS, table)]
    changed = _BELONGS | _CHANGED[table]
    values = ", ".join(changed.get(one, f'was."{one}"') for one in columns)
    names = ", ".join(f'"{one}"' for one in columns)
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM seed_{table} AS was, {places} AS place"
