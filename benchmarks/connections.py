"""How many small connections one process keeps in step: 2,000 of 50 records each, several at once.

    python benchmarks/connections.py [--connections 2000] [--records 50] [--rounds 2]

They belong to 20 organizations, are connected by the public flow and become due all at once. A first sync of all, then, by turns, syncs
in which nothing changed with few and with many slots, from a provider that answers at once and from one that takes 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parent / "provider"))

from rig import machine, postgres
from rig.pages import Pages, Served, serving
from rig.postgres import Database
from rig.report import Goal, Report, Table, at_least, ratio, spread

from tieline.app import Tieline, running
from tieline.flows.connect import Attempt, connect
from tieline.flows.organizations import create_organization
from tieline.settings import read_settings

ORGANIZATIONS = 20
FEW, MANY = 2, 8
SLOW = 20
"""Milliseconds that the slow provider takes to answer."""

_BUSY = "SELECT count(*) FROM schedules WHERE held_by IS NOT NULL OR next_run_at <= now()"


@dataclass(frozen=True)
class Taken:
    """What it took to sync all connections once."""

    connections: int
    seconds: float
    client: float
    server: float

    @property
    def rate(self) -> float:
        """Syncs a second."""
        return self.connections / self.seconds


async def main() -> None:
    """Connect all, sync them all again and again, and tell."""
    asked = _arguments()
    taken: dict[tuple[str, int, int], list[Taken]] = {}
    with serving() as pages, tempfile.TemporaryDirectory() as place:
        async with postgres.started() as server, server.database("connections", migrated=True) as database:
            about = machine.describe(server.version)
            settings = read_settings(
                data_dir=Path(place), database_url=database.url, allow_private_addresses="127.0.0.1"
            )
            async with running(settings) as tieline:
                pages.set(Served(asked.records))
                await _connect_all(tieline, pages, asked.connections)
                taken["first", 0, MANY] = [await _sync_all(tieline, database, MANY)]
                await _check(database, asked.connections, asked.records)
                for turn in range(asked.rounds):
                    for delay in (0, SLOW):
                        for slots in (FEW, MANY)[:: -1 if turn % 2 else 1]:
                            pages.set(Served(asked.records, delay=delay))
                            done = await _sync_all(tieline, database, slots)
                            taken.setdefault(("unchanged", delay, slots), []).append(done)
    _report(about, asked, taken).tell(asked.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=2_000)
    parser.add_argument("--records", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    return parser.parse_args()


async def _connect_all(tieline: Tieline, pages: Pages, count: int) -> None:
    """Connect so many accounts, a few at once, each with a key of its own."""
    orgs = [
        (await create_organization(tieline.parts, slug=f"small-{one}", name=f"Small {one}")).id
        for one in range(ORGANIZATIONS)
    ]
    numbers: Iterator[int] = iter(range(count))

    async def connect_some() -> None:
        while taken := list(islice(numbers, 1)):
            attempt = Attempt("bench-findings", {"base_url": pages.url}, {"api_key": f"account-{taken[0]}"})
            await connect(tieline.parts, orgs[taken[0] % ORGANIZATIONS], attempt)

    await asyncio.gather(*(connect_some() for _ in range(4)))


async def _sync_all(tieline: Tieline, database: Database, slots: int) -> Taken:
    """Make all due, and let one engine carry them out."""
    await database.settle()
    await database.owner.execute("UPDATE schedules SET next_run_at = now()")
    count = await database.owner.fetchval(_BUSY)
    engine = replace(tieline, settings=tieline.settings.model_copy(update={"worker_slots": slots})).engine()
    stop = asyncio.Event()
    client, server, began = time.process_time(), await database.cpu(), time.perf_counter()
    work = asyncio.create_task(engine.run(until=stop))
    while await database.owner.fetchval(_BUSY):  # noqa: ASYNC110  it is the rows that say when all is done
        await asyncio.sleep(0.1)
    taken = Taken(count, time.perf_counter() - began, time.process_time() - client, await database.cpu() - server)
    stop.set()
    await work
    return taken


async def _check(database: Database, connections: int, records: int) -> None:
    """Refuse a result that is not all there."""
    stored = await database.owner.fetchval("SELECT count(*) FROM entities")
    failed = await database.owner.fetchval("SELECT count(*) FROM runs WHERE status <> 'succeeded'")
    if stored != connections * records or failed:
        raise SystemExit(f"{stored:,} entities are stored and {failed} runs did not succeed")


def _report(about: str, asked: argparse.Namespace, taken: dict[tuple[str, int, int], list[Taken]]) -> Report:
    rows = []
    for (phase, delay, slots), found in taken.items():
        syncs = spread([one.rate for one in found])
        each = [
            spread([1000 * figure / one.connections for one, figure in pairs]).middle
            for pairs in ([(one, one.client) for one in found], [(one, one.server) for one in found])
        ]
        name = f"{phase}, {slots} slots" + (f", {delay} ms a request" if delay else "")
        rows.append(
            (name, syncs.told(".1f"), f"{syncs.middle * asked.records:,.0f}", f"{each[0]:.1f}", f"{each[1]:.1f}")
        )
    head = ("", "syncs/s", "records/s", "CPU ms a sync: client", "PostgreSQL")
    table = Table(f"{asked.connections:,} connections of {asked.records} records, in one process", head, rows)
    return Report("Many small connections.", about, [_goal(taken)], [table])


def _goal(taken: dict[tuple[str, int, int], list[Taken]]) -> Goal:
    """What time a provider takes must be spent on other connections."""
    slow, quick = taken["unchanged", SLOW, MANY], taken["unchanged", 0, MANY]
    name = f"small connections: rate with {SLOW} ms a request against none, {MANY} at once"
    return at_least(name, ratio(slow, quick, lambda one: one.rate), 0.85, "at least 0.85×")


if __name__ == "__main__":
    asyncio.run(main())
