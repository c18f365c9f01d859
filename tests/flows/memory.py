"""A provider whose records are at hand, and a connection to it: for stories in which every record matters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tests.flows.bench import Bench, MovableClock, Sandbox, parts_over

from tieline.catalog.compile import compile_catalog
from tieline.flows.connect import Attempt, connect
from tieline.sdk import ApiKey, Context, Identified, Provider
from tieline.sdk import Mapping as FieldMapping
from tieline.store.db import Db
from tieline.store.organizations import create_organization
from tieline.vault import LocalKeyRing

PAGE = 1_000


async def whoami(_: Context[Any]) -> Identified:
    return Identified("1", "One")


def provider_of(records: Mapping[str, Sequence[Any]], into: FieldMapping[Any]) -> Provider[Any]:
    """A provider with an operation for each of these lists, which gives what the list holds when it is read."""
    made: Provider[Any] = Provider("memory", "Memory", "other", "https://x.example", ApiKey(header="x-key"), whoami)
    for name in records:
        made.sync(into=into, every="1d")(_reading(records, name))
    return made


@asynccontextmanager
async def connected_to(url: str, ring: LocalKeyRing, provider: Provider[Any]) -> AsyncIterator[Bench]:
    """A bench whose operations have all been read once."""
    db, clock = Db(url, pool_size=6), MovableClock()
    try:
        parts = parts_over(db, ring, clock)
        checks = [one for one in parts.catalog.checks if one.provider is None]
        parts = replace(parts, catalog=compile_catalog([provider], checks))
        async with db.system() as work:
            org = await create_organization(work, slug="memory", name="Memory", now=clock.now())
        connection = await connect(parts, org.id, Attempt("memory", {}, {"api_key": "k" * 20}))
        bench = Bench(parts, clock, Sandbox("https://x.example", ""), connection)
        await bench.drain()
        yield bench
    finally:
        await db.close()


def _reading(records: Mapping[str, Sequence[Any]], name: str) -> Callable[[Context[Any]], AsyncIterator[Any]]:
    async def fetch(begin: int | None) -> tuple[Sequence[Any], int | None]:
        end = (begin or 0) + PAGE
        return records[name][begin or 0 : end], end if end < len(records[name]) else None

    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(fetch):
            yield record

    read.__name__ = name
    return read
