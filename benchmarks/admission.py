"""How long a tick of the scheduler takes: with nothing due, with many due of which one organization has most, and with a flood.

    python benchmarks/admission.py [--schedules 1000 100000 1000000] [--rounds 100]

A tick is what the engine does twice a second: count what waits in the queue, and give holds to what is due. The databases are asked by
turns and every tick is rolled back. Its fairness is looked at too: the whale must get no more than its cap, and the others their turn.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import asyncpg
from rig import machine, postgres
from rig.report import Goal, Report, Table, at_most, spread

from tieline.engine.limits import EngineLimits
from tieline.engine.queue import count_queued
from tieline.store.admission import admit
from tieline.store.db import Db, SystemWork

KINDS = ("sync",)
LIMITS = EngineLimits()
MANY = 500
"""Due schedules of a small installation and of a large one alike, so that only what is not due differs."""

FEWEST = 50
"""Organizations, of which as many have something due in a small installation as in a large one."""

FLOOD = 100_000
NOTHING_DUE, SOME_DUE, FLOODED = "nothing due", f"{MANY} due, 90 % of them one organization's", f"{FLOOD:,} due"

FILL = """
    INSERT INTO organizations (id, slug, name, created_at)
    SELECT md5('org' || number)::uuid, 'org-' || number, 'Organization ' || number, now() FROM generate_series(0, {orgs} - 1) AS number;

    INSERT INTO connections (id, org_id, provider, name, auth, status, account_id, account_name, options, created_at, updated_at, validated_at)
    SELECT md5('conn' || number)::uuid, md5('org' || number % {orgs})::uuid, 'provider-' || number % 40, 'Connection ' || number, 'api_key',
           'active', 'account-' || number, 'Account ' || number, '{{}}', now(), now(), now()
      FROM generate_series(1, {count}) AS number;

    INSERT INTO schedules (id, org_id, kind, provider, connection_id, operation, every, next_run_at, cause)
    SELECT md5('sched' || number)::uuid, md5('org' || number % {orgs})::uuid, 'sync', 'provider-' || number % 40,
           md5('conn' || number)::uuid, 'findings', interval '1 day', now() + interval '1 hour' + number % 86400 * interval '1 second', 'schedule'
      FROM generate_series(1, {count}) AS number;

    VACUUM ANALYZE organizations, connections, schedules
"""
DUE = """
    UPDATE schedules SET next_run_at = now() - number * interval '1 second', org_id = CASE
           WHEN number % 10 < 9 THEN md5('org0')::uuid ELSE org_id END
      FROM generate_series(1, $1::int) AS number WHERE id = md5('sched' || number)::uuid
"""


@dataclass(frozen=True)
class Stock:
    """A database with so many schedules."""

    count: int
    db: Db
    owner: asyncpg.Connection


async def main() -> None:
    """Fill a database for each size, tick in them by turns, and tell."""
    asked = _arguments()
    async with postgres.started() as server, AsyncExitStack() as stack:
        about = machine.describe(server.version)
        stocks = [await _fill(stack, server, count) for count in asked.schedules]
        found = {NOTHING_DUE: await _tick_by_turns(stocks, asked.rounds)}
        for one in stocks:
            await _make_due(one, MANY)
        found[SOME_DUE] = await _tick_by_turns(stocks, asked.rounds)
        large = [one for one in stocks if one.count >= FLOOD]
        for one in large:
            await _make_due(one, FLOOD)
        found[FLOODED] = await _tick_by_turns(large, max(asked.rounds // 5, 1))
        for one in stocks:
            await one.db.close()
    _report(about, asked.schedules, found).tell(asked.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    return parser.parse_args()


async def _fill(stack: AsyncExitStack, server: postgres.Postgres, count: int) -> Stock:
    database = await stack.enter_async_context(server.database(f"schedules_{count}", migrated=True))
    for statement in FILL.format(count=count, orgs=max(count // 100, FEWEST)).split(";"):
        await database.owner.execute(statement)
    return Stock(count, Db(database.url, pool_size=2), database.owner)


async def _make_due(stock: Stock, count: int) -> None:
    await stock.owner.execute(DUE, count)
    await stock.owner.execute("VACUUM ANALYZE schedules")


async def _tick_by_turns(stocks: list[Stock], rounds: int) -> dict[int, list[float]]:
    """Milliseconds of each tick, by the number of schedules."""
    took: dict[int, list[float]] = {one.count: [] for one in stocks}
    for turn in range(rounds + 3):
        for one in stocks:
            milliseconds = await _tick(one.db)
            if turn >= 3:  # connections have been opened and statements prepared
                took[one.count].append(milliseconds)
    return took


async def _tick(db: Db) -> float:
    began = time.perf_counter()
    async with db.system() as work:
        await _admit(work)
        ended = time.perf_counter()
        await work.connection.rollback()
    return (ended - began) * 1000


async def _admit(work: SystemWork) -> None:
    free = LIMITS.slots - await count_queued(work, KINDS)
    holds = await admit(
        work,
        now=datetime.now(UTC),
        kinds=KINDS,
        free_slots=free,
        org_cap=LIMITS.org_cap,
        provider_cap=LIMITS.provider_cap,
    )
    held = Counter(hold.org_id for hold in holds)
    if holds and (len(holds) < free or max(held.values()) > LIMITS.org_cap or len(held) < free / LIMITS.org_cap):
        raise SystemExit(f"The holds were not shared out fairly: {sorted(held.values())}")


def _report(about: str, sizes: list[int], found: dict[str, dict[int, list[float]]]) -> Report:
    rows = [
        (name, *(spread(took[size]).told(".1f") if size in took else "" for size in sizes))
        for name, took in found.items()
    ]
    table = Table(
        "A tick of the scheduler, milliseconds: median (least … most)",
        ("schedules", *(f"{one:,}" for one in sizes)),
        rows,
    )
    return Report(
        "What the scheduler does twice a second.",
        about,
        [_flat(name, found[name], sizes) for name in (NOTHING_DUE, SOME_DUE)],
        [table],
    )


def _flat(name: str, took: dict[int, list[float]], sizes: list[int]) -> Goal:
    """Whether the largest takes no longer than the smallest: by the quickest tick of each, which other work disturbed least."""
    quickest = spread(took[max(sizes)]).least / spread(took[min(sizes)]).least
    told = f"tick, {name}: {max(sizes):,} schedules against {min(sizes):,}"
    return at_most(told, spread([quickest]), 1.3, "flat (within 1.3×)")


if __name__ == "__main__":
    asyncio.run(main())
