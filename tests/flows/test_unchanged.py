"""Reading again what has not changed: it writes next to nothing, and leaves everything as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.flows.bench import Bench
from tests.flows.memory import connected_to, provider_of

from tieline.sdk import Vulnerability
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


WEAKNESS = Vulnerability.map(
    external_id="payload.id",
    title="payload.title",
    severity="payload.severity",
    status="payload.state",
    found_at="payload.found",
)


@pytest.fixture
async def memory(database_of_its_own: str, ring: LocalKeyRing) -> AsyncIterator[Bench]:
    """A connection to a provider of these that has been read once, in pages."""
    async with connected_to(database_of_its_own, ring, provider_of({"weaknesses": RECORDS}, WEAKNESS)) as bench:
        yield bench


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
