"""A loop of one's own: pages by httpx, and for each an `INSERT … ON CONFLICT DO UPDATE` through SQLAlchemy Core.

The page's rows go as one statement of many VALUES, or with `--many` as the parameters of one that is executed many times, which
asyncpg sends in one go.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import datetime
from typing import Any

import httpx2
from rig.child import compete
from sqlalchemy import JSON, Column, DateTime, Float, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_KEY = ("connection", "kind", "external_id")
_TEXTS = ("title", "severity", "status", "cve", "package", "fixed_version", "affects")
table = Table(
    "findings",
    MetaData(),
    *(Column(name, Text, primary_key=True) for name in _KEY),
    *(Column(name, Text) for name in _TEXTS),
    Column("score", Float),
    Column("found_at", DateTime(timezone=True)),
    Column("raw", JSON),
)


async def main() -> None:
    """Make the table, then sync whenever asked to."""
    url, pages, *asked = sys.argv[1:]
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.run_sync(table.metadata.create_all)

    async def run(_: str) -> dict[str, Any]:
        began = time.perf_counter()
        await sync(engine, pages, many="--many" in asked)
        return {"seconds": time.perf_counter() - began}

    await compete(run)
    await engine.dispose()


async def sync(engine: AsyncEngine, pages: str, *, many: bool) -> None:
    """A page, then its rows, then the next page."""
    cursor: str | None = "0"
    async with httpx2.AsyncClient(base_url=pages, trust_env=False) as client:
        while cursor:
            answer = (await client.get("/findings", params={"cursor": cursor})).json()
            async with engine.begin() as connection:
                rows = [mapped(one) for one in answer["items"]]
                if many:
                    await connection.execute(_upsert(insert(table)), rows)
                else:
                    await connection.execute(_upsert(insert(table).values(rows)))
            cursor = answer["next"]


def _upsert(rows: Insert) -> Insert:
    overwritten = {one.name: rows.excluded[one.name] for one in table.c if one.name not in _KEY}
    return rows.on_conflict_do_update(index_elements=_KEY, set_=overwritten)


def mapped(record: dict[str, Any]) -> dict[str, Any]:
    """A row of ten mapped columns and the record itself."""
    return {
        "connection": "conn-1",
        "kind": "vulnerability",
        "external_id": record["id"],
        "title": record["title"],
        "severity": record["severity"],
        "status": "dismissed" if record["state"] == "ignored" else record["state"],
        "cve": record["cve"]["id"],
        "score": record["cve"]["cvss"]["score"],
        "package": record["package"]["name"],
        "fixed_version": record["package"]["fixed_in"],
        "affects": record["asset"]["name"],
        "found_at": datetime.fromisoformat(record["first_seen"]),
        "raw": record,
    }


if __name__ == "__main__":
    asyncio.run(main())
