"""The diagnosis: each thing that may be wrong is brought about, found, and told with what to do."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, update
from tests.flows.bench import Bench, work_as_owner

from tieline.flows.audit import record
from tieline.flows.diagnosis import (
    Diagnosis,
    examine_backups,
    examine_database,
    examine_disk,
    examine_engine,
    examine_keys,
)
from tieline.flows.reachability import examine_own_address, examine_providers
from tieline.flows.sign_in import make_first_link
from tieline.ids import new_id
from tieline.store.connections import connections
from tieline.store.workers import Worker, note_worker
from tieline.vault import LocalKeyRing, Vault
from tieline.vault.keys import SINGLE_KEYS

STALE = timedelta(minutes=2)
FIVE = timedelta(seconds=5)


async def database(bench: Bench) -> dict[str, Diagnosis]:
    return await by_subject(examine_database(bench.parts, where="embedded", machine=bench.clock))


async def engine(bench: Bench) -> dict[str, Diagnosis]:
    return await by_subject(examine_engine(bench.parts, stale_after=STALE))


async def by_subject(found: AsyncIterator[Diagnosis]) -> dict[str, Diagnosis]:
    return {one.subject: one async for one in found}


async def sign_on(bench: Bench, *, ago: timedelta = timedelta()) -> None:
    """A worker that was heard of so long ago."""
    now = bench.clock.now() - ago
    made = Worker(new_id("wrk"), "here", "worker", "0.1.0", 8, 4, 64, timedelta(seconds=30), 0, now, now)
    async with bench.parts.db.system() as work:
        await note_worker(work, made, jobs=0)


def wrong(found: Diagnosis) -> tuple[str, bool]:
    """How bad it is, and whether there is advice, which there must be for all that is not well."""
    return found.status, bool(found.advice)


async def test_all_is_well_where_nothing_is_wrong(synced: Bench) -> None:
    await sign_on(synced)
    found = {**await database(synced), **await engine(synced)}
    assert {name: (one.status, one.advice) for name, one in found.items()} == dict.fromkeys(
        ("database", "isolation", "clock", "engine", "holds", "workers", "upkeep"), ("ok", "")
    )
    assert (await examine_keys(synced.parts)).status == "ok"
    assert [one.status async for one in examine_providers(synced.parts)] == ["ok"]


async def test_a_table_that_no_longer_keeps_organizations_apart_is_an_error(
    synced: Bench, database_synced_once: str
) -> None:
    await work_as_owner(database_synced_once, "ALTER TABLE findings NO FORCE ROW LEVEL SECURITY")
    found = (await database(synced))["isolation"]
    assert wrong(found) == ("error", True)
    assert "findings" in found.said


@pytest.mark.parametrize("ahead", [timedelta(seconds=9), timedelta(seconds=-9)], ids=["ahead", "behind"])
async def test_clocks_that_differ_are_told_whichever_is_ahead(synced: Bench, ahead: timedelta) -> None:
    synced.clock.ahead = ahead
    found = (await database(synced))["clock"]
    assert wrong(found) == ("warning", True)
    assert ("behind" if ahead > timedelta() else "ahead of") in found.said


async def test_a_database_with_hardly_a_connection_left_is_told(synced: Bench, monkeypatch: Any) -> None:
    monkeypatch.setattr("tieline.flows.diagnosis._FEW", 100_000)
    assert wrong((await database(synced))["database"]) == ("warning", True)


@pytest.mark.parametrize(("free", "status"), [(50 << 30, "ok"), (500 << 20, "warning"), (50 << 20, "error")])
def test_a_full_disk_is_told(free: int, status: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "tieline.flows.diagnosis.shutil.disk_usage", lambda _path: SimpleNamespace(total=100 << 30, free=free)
    )
    found = examine_disk(tmp_path)
    assert (found.status, bool(found.advice)) == (status, status != "ok")


async def test_a_key_that_does_not_open_what_it_sealed_is_an_error(synced: Bench, ring: LocalKeyRing) -> None:
    material = {ring.current_id: os.urandom(32)}
    singles = {name: os.urandom(32) for name in SINGLE_KEYS}
    impostor = LocalKeyRing(material, current_id=ring.current_id, **singles)
    found = await examine_keys(replace(synced.parts, vault=Vault(impostor)))
    assert wrong(found) == ("error", True)
    assert ring.current_id in found.said


# The engine


async def test_what_waits_with_nobody_there_is_told(bench: Bench) -> None:
    assert (await engine(bench))["engine"].status == "ok", "it has only just become due"
    bench.clock.ahead += timedelta(minutes=3)
    found = (await engine(bench))["engine"]
    assert wrong(found) == ("warning", True)
    assert "nobody" in found.said
    await sign_on(bench)
    assert (await engine(bench))["engine"].status == "ok", "a worker is there and will come to it"
    bench.clock.ahead += timedelta(minutes=20)
    await sign_on(bench)
    assert wrong((await engine(bench))["engine"]) == ("warning", True)


@pytest.mark.parametrize("worker", [True, False], ids=["with a worker", "with none"])
async def test_holds_of_nobody_alive_are_told_with_since_when(bench: Bench, worker: bool) -> None:
    holds = await bench.admit()
    assert wrong((await engine(bench))["holds"]) == ("warning", True), "no worker is there at all"
    await sign_on(bench)
    assert (await engine(bench))["holds"].status == "ok"
    bench.clock.ahead += STALE + FIVE
    if worker:
        await sign_on(bench)
    found = (await engine(bench))["holds"]
    assert wrong(found) == ("warning", True)
    assert found.said.startswith(f"{len(holds)} run(s) are with workers of which nothing is heard, since ")
    assert ("restart" in found.advice) == worker


async def test_a_worker_that_fell_silent_is_told(bench: Bench) -> None:
    await sign_on(bench, ago=timedelta(minutes=5))
    await sign_on(bench)
    found = (await engine(bench))["workers"]
    assert wrong(found) == ("warning", True)
    assert found.said.startswith("1 worker(s) are heard of; 1 fell silent")


async def test_upkeep_that_nobody_does_is_told(bench: Bench) -> None:
    assert await make_first_link(bench.parts, bench.org)
    assert (await engine(bench))["upkeep"].status == "ok"
    bench.clock.ahead += timedelta(hours=2)
    assert wrong((await engine(bench))["upkeep"]) == ("warning", True)


# The network


async def move(bench: Bench, base_url: str) -> None:
    async with bench.parts.db.work(bench.org) as work:
        moved = func.jsonb_build_object("base_url", base_url)
        await work.connection.execute(update(connections).values(options=moved))


@pytest.mark.parametrize(
    ("base_url", "said"),
    [
        ("http://127.0.0.1:1", "cannot be reached (ConnectError)"),
        ("http://127.0.0.2:80", "may not be called"),
        ("https://nowhere.invalid", "cannot be reached"),
    ],
)
async def test_a_provider_that_cannot_be_reached_is_told(synced: Bench, base_url: str, said: str) -> None:
    await move(synced, base_url)
    (found,) = [one async for one in examine_providers(synced.parts)]
    assert wrong(found) == ("warning", True)
    assert said in found.said
    assert "sandbox at " in found.said


async def test_a_provider_whose_clock_differs_is_told(synced: Bench) -> None:
    synced.clock.ahead += timedelta(minutes=3)
    (found,) = [one async for one in examine_providers(synced.parts)]
    assert wrong(found) == ("warning", True)
    assert "its clock differs by -1" in found.said


async def test_providers_that_are_not_installed_or_not_connected_are_not_asked(synced: Bench) -> None:
    async with synced.parts.db.work(synced.org) as work:
        await work.connection.execute(update(connections).values(provider="gone"))
    assert [one async for one in examine_providers(synced.parts)] == []


async def test_a_public_address_that_leads_elsewhere_is_told(synced: Bench) -> None:
    elsewhere = await examine_own_address(replace(synced.parts, public_url=synced.sandbox.url))
    assert wrong(elsewhere) == ("warning", True)
    away = await examine_own_address(replace(synced.parts, public_url="http://127.0.0.1:1"))
    assert (away.status, "nothing answers" in away.said) == ("ok", True), "on this machine it is as it may be"
    gone = await examine_own_address(replace(synced.parts, public_url="https://nowhere.invalid"))
    assert wrong(gone) == ("warning", True)


async def test_a_backup_that_is_long_ago_is_told(bench: Bench) -> None:
    none = await examine_backups(bench.parts, bench.org)
    async with bench.parts.db.work(bench.org) as work:
        await record(work, bench.parts, "backup.created", bench.org, rows=7)
    fresh = await examine_backups(bench.parts, bench.org)
    bench.clock.ahead += timedelta(days=9)
    old = await examine_backups(bench.parts, bench.org)
    assert [wrong(one) for one in (none, fresh, old)] == [("ok", False), ("ok", False), ("warning", True)]
    assert "9 days ago" in old.said
