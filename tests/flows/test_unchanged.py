"""Reading again what has not changed: it writes next to nothing, and leaves everything as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.flows.bench import Bench, MovableClock, Sandbox, parts_over

from tieline.catalog.compile import compile_catalog
from tieline.flows.connect import Attempt, connect
from tieline.sdk import ApiKey, Context, Identified, Provider, Vulnerability
from tieline.store.db import Db
from tieline.store.organizations import create_organization
from tieline.store.runs import Run
from tieline.vault import LocalKeyRing

RECORDS = [
    {
        "id": f"v-{number}",
        "title": f"Weakness {number}",
        "severity": "high",
        "state": "open",
        "found": "2020-01-01T00:00:00Z",
    }
    for number in range(5_000)
]


async def whoami(_: Context[Any]) -> Identified:
    return Identified("1", "One")


def provider_of(records: Sequence[dict[str, Any]]) -> Provider[Any]:
    """A provider whose records are at hand, in pages of a thousand."""
    made: Provider[Any] = Provider("memory", "Memory", "other", "https://x.example", ApiKey(header="x-key"), whoami)
    kept = Vulnerability.map(
        external_id="payload.id",
        title="payload.title",
        severity="payload.severity",
        status="payload.state",
        found_at="payload.found",
    )

    async def fetch(begin: int | None) -> tuple[Sequence[dict[str, Any]], int | None]:
        end = (begin or 0) + 1_000
        return records[begin or 0 : end], end if end < len(records) else None

    @made.sync(into=kept, every="1d")
    async def weaknesses(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(fetch):
            yield record

    return made


@pytest.fixture
async def memory(database_of_its_own: str, ring: LocalKeyRing) -> AsyncIterator[Bench]:
    """A connection to such a provider that has been read once."""
    db, clock = Db(database_of_its_own, pool_size=6), MovableClock()
    parts = parts_over(db, ring, clock)
    checks = [one for one in parts.catalog.checks if one.provider is None]
    parts = replace(parts, catalog=compile_catalog([provider_of(RECORDS)], checks))
    async with db.system() as work:
        org = await create_organization(work, slug="memory", name="Memory", now=clock.now())
    connection = await connect(parts, org.id, Attempt("memory", {}, {"api_key": "k" * 20}))
    bench = Bench(parts, clock, Sandbox("https://x.example", ""), connection)
    await bench.drain()
    yield bench
    await db.close()


async def read_again(bench: Bench) -> tuple[Run, int]:
    """A run, and how many bytes the server wrote to its log meanwhile."""
    begun = await log_position(bench)
    (run,) = (await bench.sync()).values()
    return run, await log_position(bench) - begun


async def log_position(bench: Bench) -> int:
    (row,) = await bench.query("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS at")
    return int(row["at"])


async def test_what_has_not_changed_costs_ten_bytes_a_record_at_most(memory: Bench) -> None:
    (first,) = await memory.runs()
    assert (first.created, first.findings_opened) == (len(RECORDS), len(RECORDS))
    before = await memory.query("SELECT id, xmin::text AS written FROM entities ORDER BY id")
    again = [await read_again(memory) for _ in range(3)]
    for run, _ in again:
        assert (run.records, run.unchanged, run.created, run.changed, run.removed) == (5_000, 5_000, 0, 0, 0)
        assert (run.findings_opened, run.findings_resolved, run.evidence) == (0, 0, 0)
    assert await memory.query("SELECT id, xmin::text AS written FROM entities ORDER BY id") == before
    assert min(written for _, written in again) <= 10 * len(RECORDS)  # the server also writes on its own account
