"""The database crashes, drops connections, breaks transactions off and fills up: what is asked is refused clearly, runs go on by themselves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta

import asyncpg
import pytest
from tests.faults.conftest import (
    Place,
    all_ended,
    ask,
    breaking,
    client,
    ends_as_if_undisturbed,
    eventually,
    hurrying,
    once_reachable,
    working,
)
from tests.flows.bench import Bench

from tieline.flows.endings import MOST_ATTEMPTS
from tieline.vault import LocalKeyRing


@pytest.mark.timeout(480)
@pytest.mark.usefixtures("small_batches")
@pytest.mark.slow
async def test_runs_go_on_after_the_database_has_crashed_three_times(
    crashable: Place, crashable_bench: Bench, undisturbed: object
) -> None:
    made = crashable_bench
    async with working(made):
        for crash in range(3):
            await eventually(lambda so_far=6 * crash: once_reachable(more_than(made, so_far)))
            await asyncio.to_thread(crashable.crash_and_restart)
        await eventually(lambda: once_reachable(all_ended(made)))
    await ends_as_if_undisturbed(made, undisturbed)


async def more_than(made: Bench, count: int) -> bool:
    return sum(run.pages for run in await made.runs()) > count


@pytest.mark.timeout(480)
@pytest.mark.usefixtures("small_batches")
@pytest.mark.slow
async def test_runs_go_on_when_connections_are_dropped_in_the_middle_of_pages(
    bench: Bench, database_of_its_own: str, undisturbed: object
) -> None:
    dropped: Counter[str] = Counter()

    async def drop_one() -> None:
        """End a random backend; rather one in a transaction."""
        mine = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        found = await ask(
            database_of_its_own, f"SELECT pid, xact_start, application_name FROM pg_stat_activity WHERE {mine}"
        )
        busy = [one for one in found if one["xact_start"] and one["application_name"] == "tieline"]
        if busy or found:
            chosen = random.choice(busy or found)
            await ask(database_of_its_own, "SELECT pg_terminate_backend($1)", chosen["pid"])
            dropped["busy" if busy else "idle"] += 1

    async with working(bench):
        while dropped["busy"] < 6:
            assert dropped.total() < 400
            await drop_one()
            await asyncio.sleep(0.05)
        await eventually(lambda: once_reachable(all_ended(bench)))
    await ends_as_if_undisturbed(bench, undisturbed)


STATES = {
    "serialization failure": ("40001", "busy"),
    "deadlock": ("40P01", "busy"),
    "disk full": ("53100", "database"),
    "out of memory": ("53200", "database"),
    "shutting down": ("57P01", "database"),
}


@pytest.mark.parametrize("state", ["40001", "53100"])
async def test_a_run_outlasts_more_failures_of_the_database_than_it_has_attempts(
    synced: Bench, database_synced_once: str, state: str
) -> None:
    (run,) = await synced.request("people")
    await breaking(database_synced_once, "runs", state, times=3 * MOST_ATTEMPTS)
    async with working(synced, stale_after=timedelta(hours=1)), hurrying(synced):
        await eventually(lambda: all_ended(synced))
    ended = await synced.run(run.id)
    assert (ended.status, ended.unchanged, ended.error_slug) == ("succeeded", 240, None)
    assert (await synced.schedule("people")).attempt == 0


@pytest.mark.parametrize("failure", STATES)
async def test_a_request_that_the_database_breaks_off_is_refused_for_now_and_can_be_repeated(
    synced: Bench, database_synced_once: str, ring: LocalKeyRing, failure: str
) -> None:
    state, slug = STATES[failure]
    await breaking(database_synced_once, "schedules", state, times=1)
    async with client(synced, ring) as api:
        path = f"/v1/connections/{synced.connection.id}/sync"
        refused = await api.post(path, json={})
        assert (refused.status_code, refused.json()["slug"]) == (503, slug)
        assert refused.headers["retry-after"] == "1"
        assert "broken off" not in refused.text
        assert await synced.unfinished() == []
        assert (await api.post(path, json={})).status_code == 202
    assert len(await synced.unfinished()) == len(await synced.schedules())


async def test_what_fails_otherwise_is_no_failure_that_passes(
    synced: Bench, database_synced_once: str, ring: LocalKeyRing
) -> None:
    await breaking(database_synced_once, "schedules", "22012", times=1)
    async with client(synced, ring) as api:
        refused = await api.post(f"/v1/connections/{synced.connection.id}/sync", json={})
    assert (refused.status_code, refused.json()["slug"]) == (500, "internal")


async def test_two_transactions_that_wait_for_each_other_cost_a_run_nothing(
    synced: Bench, database_synced_once: str
) -> None:
    """A page takes its connection's turn first and its schedule's row last; somebody else does it the other way about."""
    other = await asyncpg.connect(database_synced_once, server_settings={"deadlock_timeout": "1min"})
    synced.sandbox.spoil("/v1/people", delay_ms=1500)
    (run,) = await synced.request("people")
    async with working(synced, stale_after=timedelta(minutes=1)):
        await eventually(lambda: is_running(synced, run.id))
        async with other.transaction():
            await other.execute("SELECT 1 FROM schedules WHERE operation = 'people' FOR UPDATE")
            await eventually(lambda: waits_for_a_lock(other))
            turn = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
            await other.execute(turn, str(synced.connection.id))
        await eventually(lambda: all_ended(synced))
    ended = await synced.run(run.id)
    assert (ended.status, ended.attempts, ended.unchanged) == ("succeeded", 2, 240)
    assert (await synced.schedule("people")).last_error is None
    assert await other.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 1
    await other.close()


async def is_running(made: Bench, run_id: str) -> bool:
    return (await made.run(run_id)).status == "running"


async def waits_for_a_lock(connection: asyncpg.Connection) -> bool:
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await connection.fetchval(count))


async def test_the_isolation_that_a_server_prefers_changes_nothing(synced: Bench, database_synced_once: str) -> None:
    name = database_synced_once.partition("?")[0].rpartition("/")[2]
    await ask(database_synced_once, f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    await synced.parts.db.close()  # what is open goes on as it began
    async with synced.parts.db.work(synced.org) as work:
        told = await (await work.driver()).fetchval("SELECT current_setting('transaction_isolation')")
    assert told == "read committed"
