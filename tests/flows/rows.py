"""Rows for every table, of whatever its columns can hold, and every row of a database as text."""

from __future__ import annotations

import io
import random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from sqlalchemy import Column
from sqlalchemy.dialects import postgresql

from tieline.store.tables import metadata

CHAINED = {"audit_entries", "audit_heads", "audit_checkpoints"}
"""Tables in which each row is bound to others: what stands there cannot be invented."""
TEXTS = ["", " ", "\\N", "\\.", "a\tb", "line\nline\r\n", "back\\slash\\", "'quoted' \"twice\"", "{1,NULL}", "\u00e9\u4e2d\U0001f600", "\x7f\x01", "x" * 3000]  # fmt: skip
JSONS = ["{}", '{"b": 1,  "a": 1e2, "a": 2}', '{"t": "\\u0001\\t\\\\ \\"", "n": 12345678901234567890.10}', '{"x": [null, true, "\\ud83d\\ude00"]}']  # fmt: skip
TIMES = ["infinity", "0044-03-15 12:00:00+00 BC", "2024-02-29 12:00:00+00", "2026-10-25 01:30:00.000001+02", "1970-01-01 00:00:00+00"]  # fmt: skip

VALUES = {
    "UUID": [""],
    "TEXT": TEXTS,
    "BYTEA": ["\\x", "\\x00", "\\x5c2e0a09"],
    "JSONB": JSONS,
    "JSON": JSONS,
    "TIMESTAMP": TIMES,
    "INTERVAL": ["1 mon 2 days -00:00:00.000001", "-3 years", "6:00:00"],
    "BOOLEAN": ["t", "f"],
    "INTEGER": ["0", str(-(2**31)), str(2**31 - 1)],
    "BIGINT": ["0", str(-(2**63)), str(2**63 - 1)],
    "TEXT[]": ["{}", '{"a,b","\\\\ \\"",NULL,""}'],
    "BIGINT[]": ["{}", f"{{NULL,{-(2**63)},7}}"],
}


def value(column: Column[Any], parents: dict[str, list[UUID]], chance: random.Random) -> str | None:
    """A value for a column in PostgreSQL's own writing."""
    if column.nullable and chance.random() < 0.3:
        return None
    if column.name == "org_id":
        return str(chance.choice(parents["organizations"]))
    for key in column.foreign_keys:
        return str(chance.choice(parents[key.column.table.name])) if parents.get(key.column.table.name) else None
    kind = str(column.type.compile(dialect=postgresql.dialect())).partition(" ")[0].partition("(")[0]
    one = chance.choice(VALUES[kind])
    if kind == "TEXT" and (column.unique or column.primary_key):
        return one + uuid4().hex
    if kind == "BYTEA":
        return one + uuid4().hex
    if column.table.name == "organizations" and kind == "TIMESTAMP":
        return TIMES[-1]  # Tieline itself reads it
    return str(uuid4()) if kind == "UUID" else one


async def furnish(url: str, *, seed: int, rows: int = 6) -> None:
    """Put rows into every table that is not bound by a chain, as if no trigger had seen them."""
    chance, parents = random.Random(seed), dict[str, list[UUID]]()
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica")
    for table in sorted(metadata.sorted_tables, key=lambda one: one.name != "organizations"):
        if table.name in CHAINED:
            continue
        columns = [one for one in table.columns if one.computed is None]
        names, places = (
            ", ".join(f'"{one.name}"' for one in columns),
            ", ".join(f"${n + 1}" for n in range(len(columns))),
        )
        typed = ", ".join(
            f"{place}::text::{one.type.compile(dialect=postgresql.dialect())}"
            for place, one in zip(places.split(", "), columns, strict=True)
        )
        for _ in range(rows):
            given = [value(one, parents, chance) for one in columns]
            insert = f'INSERT INTO "{table.name}" ({names}) SELECT {typed} ON CONFLICT DO NOTHING'
            await connection.execute(insert, *given)
        if "id" in table.columns:
            parents[table.name] = [row["id"] for row in await connection.fetch(f'SELECT id FROM "{table.name}"')]
    await connection.close()


async def every_row(url: str) -> dict[str, list[str]]:
    """All rows of all tables in COPY's format with generated columns, sorted."""
    connection = await asyncpg.connect(url)
    names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    found = {}
    for (name,) in names:
        out = io.BytesIO()
        await connection.copy_from_query(f'SELECT * FROM "{name}"', output=out)
        found[name] = sorted(out.getvalue().decode().splitlines())
    await connection.close()
    return found
