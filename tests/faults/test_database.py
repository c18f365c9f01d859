"""The database crashes, drops connections, breaks transactions off and fills up: what is asked is refused clearly, runs go on by themselves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from tests.faults.conftest import Place, all_ended, ask, eventually, what_stands, working
from tests.flows.bench import Bench, take_snapshot

from tieline.errors import TielineError
from tieline.store.db import is_passing


async def pages(made: Bench) -> int:
    return sum(run.pages for run in await made.runs())


async def ends_as_if_undisturbed(made: Bench, undisturbed: object) -> None:
    """Every run succeeded, once, having counted no failure as its own, and the same stands."""
    runs = await made.runs()
    assert {run.status for run in runs} == {"succeeded"}
    assert len(runs) == len(await made.schedules())
    assert {one.attempt for one in await made.schedules()} == {0}
    assert what_stands(await take_snapshot(made)) == undisturbed


async def once_reachable(look: object) -> object:
    """What there is to see, or nothing while the database is away."""
    try:
        return await look
    except TielineError:
        return None
    except Exception as error:
        assert is_passing(error), error
        return None


@pytest.mark.usefixtures("small_batches")
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
    return await pages(made) > count


@pytest.mark.usefixtures("small_batches")
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
