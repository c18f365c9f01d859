"""A storm: random triggers on several schedules, worker processes killed, the database crashed; and a count of what went wrong.

    PYTHONPATH=. python -m tests.engine.storm [--runs 300] [--kills 10] [--crashes 2] [--processes 4] [--mutant "no hold"]

It needs no database: it runs one of its own. What is counted comes from what the toy noted and not from the engine's own rows. It ends
with 1 if anything was lost, overlapped or torn; with a mutant, it should.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess

import asyncpg
from sqlalchemy.exc import DBAPIError
from tests.engine.steps import Place, bad_pages, fire, lost_triggers, make_org, make_schedule, now, overlaps, own_server
from tests.engine.toy import Plan, ended, start_worker

from tieline.errors import DatabaseError
from tieline.ids import to_uuid
from tieline.store.db import Db
from tieline.store.schedules import Schedule

PAGES = 3
_RUNS = "SELECT count(*) FROM toy_runs"


@dataclass(frozen=True)
class Storm:
    """How long and how hard: at least so many runs, and exactly so many kills and crashes, `every` so many seconds one.

    A process is thought dead after `heartbeat` seconds: more than a busy machine makes a live one wait. After `patience` seconds from
    the first run on it is counted as it stands: with a mutant it may never be still.
    """

    runs: int = 300
    kills: int = 10
    crashes: int = 2
    processes: int = 4
    keys: int = 12
    every: tuple[float, float] = (2.5, 5.0)
    heartbeat: float = 5.0
    pause: float = 0.02
    patience: float = 900
    mutant: str = ""


@dataclass(frozen=True)
class Tally:
    """What there was, and what went wrong: triggers that no run followed, runs side by side, runs with a page missing or doubled."""

    triggers: int
    runs: int
    kills: int
    crashes: int
    lost: int
    overlapping: int
    torn: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.overlapping or self.torn)


async def rage(place: Place, storm: Storm) -> Tally:
    """Let it rage, wait until all is still, and count."""
    db = Db(place.url)
    organizations = [await make_org(db) for _ in range(3)]
    keys = [await make_schedule(db, organizations[number % 3]) for number in range(storm.keys)]
    async with _crew(place, storm) as crew:
        while not await place.count(_RUNS):
            await asyncio.sleep(0.02)
        with suppress(TimeoutError):
            async with asyncio.timeout(storm.patience):
                await _blow(place, storm, db, keys, crew)
    await db.close()
    # Only now: what a process had sent to be committed is committed after its death.
    over = (
        "UPDATE toy_calls SET ended = at FROM toy_deaths WHERE ended IS NULL AND toy_calls.process = toy_deaths.process"
    )
    await place.execute(over)
    count = place.count
    return Tally(
        triggers=await count("SELECT count(*) FROM toy_triggers"),
        runs=await count(_RUNS),
        kills=storm.kills,
        crashes=storm.crashes,
        lost=await lost_triggers(place),
        overlapping=await overlaps(place),
        torn=len(await bad_pages(place, PAGES)),
    )


async def _blow(place: Place, storm: Storm, db: Db, keys: list[Schedule], crew: list[BaseProcess]) -> None:
    """From the first trigger until all is still."""
    async with asyncio.TaskGroup() as group:
        blows = group.create_task(_strike(place, storm, crew))
        while (
            not blows.done() or await place.count(_RUNS) < storm.runs
        ):  # in this order: after the last crash it is back
            await asyncio.gather(*(_fire(db, key) for key in random.sample(keys, 4)))
            await asyncio.sleep(random.uniform(0, 0.1))
    await asyncio.gather(*(_fire_while_it_runs(place, db, key) for key in keys))
    while not await _is_still(place):
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _crew(place: Place, storm: Storm) -> AsyncIterator[list[BaseProcess]]:
    crew = [_start(place, storm) for _ in range(storm.processes)]
    try:
        yield crew
    finally:
        for process in crew:
            process.terminate()
        for process in crew:
            await ended(process)


def _start(place: Place, storm: Storm) -> BaseProcess:
    limits = {"heartbeat": storm.heartbeat, "org_cap": 16}
    return start_worker(Plan(place.url, PAGES, storm.pause, limits, mutant=storm.mutant))


async def _strike(place: Place, storm: Storm, crew: list[BaseProcess]) -> None:
    """Kill one process after another, each replaced by a new one, and crash the database in between."""
    blows = ["kill"] * storm.kills + ["crash"] * storm.crashes
    random.shuffle(blows)
    for blow in blows:
        await asyncio.sleep(random.uniform(*storm.every))
        if blow == "crash":
            await asyncio.to_thread(place.crash_and_restart)
            continue
        victim = random.randrange(len(crew))
        crew[victim].kill()
        await ended(crew[victim])
        died = f"('{now()}'::timestamptz, {crew[victim].pid})"
        crew[victim] = _start(place, storm)
        while not await _done(place.execute(f"INSERT INTO toy_deaths VALUES {died}")):
            await asyncio.sleep(0.1)


async def _fire(db: Db, key: Schedule) -> None:
    await _done(fire(db, key))


async def _fire_while_it_runs(place: Place, db: Db, key: Schedule) -> None:
    """The last trigger of each comes during a run: that is the one which is easily lost."""
    running = f"SELECT count(*) FROM toy_runs WHERE ended IS NULL AND schedule_id = '{to_uuid(key.id, 'sched')}'"
    while True:
        await fire(db, key)
        for _ in range(40):
            if await place.count(running):
                await fire(db, key)
                return
            await asyncio.sleep(0.005)


async def _done(doing: object) -> bool:
    """Whether it was done: the database may just be away."""
    try:
        await doing
    except (DatabaseError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False
    return True


async def _is_still(place: Place) -> bool:
    busy = "held_by IS NOT NULL OR next_run_at IS NOT NULL"
    return not await place.count(f"SELECT count(*) FROM schedules WHERE {busy}")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("runs", "kills", "crashes", "processes", "keys"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Storm, name))
    parser.add_argument("--mutant", choices=["", "no hold", "no re-arm"], default="")
    with own_server() as place:
        tally = asyncio.run(rage(place, Storm(**vars(parser.parse_args()))))
    for name, number in asdict(tally).items():
        sys.stdout.write(f"{name:12}{number:6,}\n")
    return 0 if tally.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
