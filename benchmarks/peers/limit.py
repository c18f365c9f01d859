"""The limit: the least that a single Python process can do to keep a table in step with a list.

Nothing but hashes: they are looked up a page at a time, what is new or changed goes by COPY into a temporary table and from there by
one INSERT … ON CONFLICT. Pages are fetched while others are loaded, by two loaders on a connection each. No checks, no findings, no
evidence, no tenants, no resuming.
"""

from __future__ import annotations

import asyncio
import sys
import time
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson
from rig.child import compete

COLUMNS = (
    "connection", "kind", "external_id", "title", "severity", "status", "cve", "score", "package", "fixed_version", "affects",
    "found_at", "hash", "raw",
)  # fmt: skip
TABLE = """
    CREATE TABLE findings (
        connection text, kind text, external_id text, title text, severity text, status text, cve text, score float8, package text,
        fixed_version text, affects text, found_at text, hash bytea, raw json, PRIMARY KEY (connection, kind, external_id))
"""
KNOWN = """
    WITH wanted AS MATERIALIZED (SELECT unnest($3::text[]) AS external_id)
    SELECT external_id, hash FROM wanted JOIN findings USING (external_id) WHERE connection = $1 AND kind = $2
"""
_SET = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[3:])
UPSERT = f"""
    INSERT INTO findings ({", ".join(COLUMNS)}) SELECT {", ".join(COLUMNS)} FROM incoming
    ON CONFLICT (connection, kind, external_id) DO UPDATE SET {_SET}
"""
MINE = ("conn-1", "vulnerability")
LOADERS = 2


async def main() -> None:
    """Make the table, then sync whenever asked to."""
    url, pages = sys.argv[1:]
    loaders = [await asyncpg.connect(url) for _ in range(LOADERS)]
    await loaders[0].execute(TABLE)
    for one in loaders:
        await one.execute("CREATE TEMPORARY TABLE incoming ON COMMIT DELETE ROWS AS TABLE findings WITH NO DATA")

    async def run(_: str) -> dict[str, Any]:
        began = time.perf_counter()
        await sync(pages, loaders)
        return {"seconds": time.perf_counter() - began}

    await compete(run)


async def sync(pages: str, loaders: list[asyncpg.Connection[Any]]) -> None:
    """Fetch and load, side by side."""
    waiting: asyncio.Queue[list[dict[str, Any]] | None] = asyncio.Queue(maxsize=2)
    async with asyncio.TaskGroup() as group:
        group.create_task(fetch(pages, waiting))
        for connection in loaders:
            group.create_task(load_all(connection, waiting))


async def fetch(pages: str, waiting: asyncio.Queue[list[dict[str, Any]] | None]) -> None:
    """Every page in turn, over one connection."""
    reader, writer = await asyncio.open_connection(urlsplit(pages).hostname, urlsplit(pages).port, limit=4 * 2**20)
    cursor = ""
    while cursor is not None:
        writer.write(f"GET /findings?cursor={cursor or 0} HTTP/1.1\r\nhost: pages\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        answer = orjson.loads(await reader.readexactly(int(head.rpartition(b"content-length: ")[2])))
        await waiting.put(answer["items"])
        cursor = answer["next"]
    for _ in range(LOADERS):
        await waiting.put(None)
    writer.close()


async def load_all(connection: asyncpg.Connection[Any], waiting: asyncio.Queue[list[dict[str, Any]] | None]) -> None:
    """Load pages until there are no more."""
    while (records := await waiting.get()) is not None:
        rows = [mapped(one) for one in records]
        async with connection.transaction():
            known = dict(await connection.fetch(KNOWN, *MINE, [row[2] for row in rows]))
            changed = [row for row in rows if known.get(row[2]) != row[12]]
            if changed:
                await connection.copy_records_to_table("incoming", records=changed, columns=COLUMNS)
                await connection.execute(UPSERT)


def mapped(record: dict[str, Any]) -> tuple[Any, ...]:
    """A row of ten mapped columns, the hash and the record itself."""
    raw = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    state, package, cve = record["state"], record["package"], record["cve"]
    return (
        *MINE, record["id"], record["title"], record["severity"], "dismissed" if state == "ignored" else state, cve["id"],
        cve["cvss"]["score"], package["name"], package["fixed_in"], record["asset"]["name"], record["first_seen"],
        blake2b(raw, digest_size=16).digest(), raw.decode(),
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
