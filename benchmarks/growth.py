"""What a sync and the lists cost once a lot is stored: in a database with a million entities, or ten, against an empty one.

    python benchmarks/growth.py [--entities 1000000] [--records 10000] [--rounds 3] [--data DIRECTORY]

A real sync of 1,000 findings is multiplied by the server: entities, evidence and findings, over connections of 100,000 entities each, half
of which belong to the organization that is then asked. So all is in the shape that a sync writes, whatever that is. Indexes are made
at the end, and the counts that triggers keep are told what came. Then Tieline syncs into it and into an empty database by turns, and
the API's lists and the console's chief screens are opened, each statement of which is explained by the server: none may read a large
table from end to end. With `--data` the database is kept there, or used again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parent / "provider"))

from rig import machine, postgres
from rig.contest import Contestant, Phase, Taken, take_part
from rig.multiplying import multiply
from rig.pages import Pages, Served, serving
from rig.plans import Opened, open_all
from rig.postgres import Database, Postgres
from rig.report import Goal, Report, Table, at_most, ratio, spread

SEED = 1_000
LARGE = ("entities", "evidence", "findings")
FIRST, UNCHANGED, CHANGED = "first", "unchanged", "1 % changed"
_NEWEST = "(SELECT id FROM connections ORDER BY created_at DESC LIMIT 1)"
TIELINE = Contestant(
    "Tieline",
    "tieline_path.py",
    f"SELECT count(*), count(*) FILTER (WHERE data ->> 'title' LIKE $1) FROM entities WHERE connection_id = {_NEWEST}",
    migrated=True,
)


async def main() -> None:
    """Fill, sync, look, and tell."""
    asked = _arguments()
    with serving() as pages, tempfile.TemporaryDirectory() as place:
        keys = (asked.data or Path(place)) / "benchmark-keys.json"
        async with postgres.started(asked.data) as server:
            about = machine.describe(server.version)
            async with server.database("grown", migrated=True, kept=asked.data is not None) as grown:
                filled = await _fill(grown, pages, keys, asked.entities)
                empty, full = await _sync_by_turns(server, grown, pages, keys, asked)
                opened = await open_all(grown, Path(place), keys, LARGE, rounds=asked.rounds)
    _report(about, filled, asked, (empty, full), opened).tell(asked.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="keep the database in this directory, or use what is there")
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    return parser.parse_args()


async def _fill(database: Database, pages: Pages, keys: Path, wanted: int) -> int:
    """Multiply what one sync wrote until so many entities are there; how many there are."""
    stored = int(await database.owner.fetchval("SELECT count(*) FROM entities"))
    if 0 < stored < wanted:
        raise SystemExit(f"That directory holds {stored:,} entities only: name another.")
    if not stored:
        await take_part(_arm("seed", keys), database, pages, [Phase("seed", Served(SEED))])
        began = time.monotonic()
        stored = await multiply(database, SEED, wanted // SEED - 1)
        print(f"Filled in {time.monotonic() - began:.0f} s.", flush=True)
    return stored


async def _sync_by_turns(
    server: Postgres, grown: Database, pages: Pages, keys: Path, asked: argparse.Namespace
) -> tuple[list[list[Taken]], list[list[Taken]]]:
    """What each phase took, round by round, in an empty database and in the one that has grown."""
    phases = [
        Phase(FIRST, Served(asked.records)),
        Phase(UNCHANGED, Served(asked.records)),
        Phase(CHANGED, Served(asked.records, version=1)),
    ]
    empty, full = [], []
    for turn in range(asked.rounds):
        await grown.owner.execute("UPDATE schedules SET switched_on = false")  # those of earlier rounds
        full.append(await take_part(_arm(f"round-{time.time_ns()}", keys), grown, pages, phases))
        async with server.database(f"empty_{turn}", migrated=True) as database:
            empty.append(await take_part(_arm("round"), database, pages, phases))
    return empty, full


def _arm(account: str, keys: Path | None = None) -> Contestant:
    ring = ("--keys", str(keys)) if keys else ()
    return replace(TIELINE, arguments=("--account", account, *ring))


def _report(
    about: str,
    filled: int,
    asked: argparse.Namespace,
    taken: tuple[list[list[Taken]], list[list[Taken]]],
    opened: list[Opened],
) -> Report:
    empty, full = taken
    goals, rows = [], []
    for place, name in enumerate((FIRST, UNCHANGED, CHANGED)):
        these, those = [one[place] for one in full], [one[place] for one in empty]
        cost = ratio(these, those, lambda one: (one.client + one.server) / one.records)
        clock = ratio(these, those, lambda one: one.seconds)
        log = ratio(these, those, lambda one: one.wal)
        server = ratio(these, those, lambda one: one.server)
        rows.append(
            (name, cost.told(".2f", "×"), server.told(".2f", "×"), clock.told(".2f", "×"), log.told(".2f", "×"))
        )
        goals.append(
            at_most(f"growth: cost of a record, {name}, {filled:,} stored against none", cost, 1.3, "within 1.3×")
        )
    head = ("", "CPU in all", "CPU of PostgreSQL", "time", "log")
    syncs = Table(f"A sync of {asked.records:,} records with {filled:,} entities stored, against none", head, rows)
    whole = sorted({f"{one.path}: {table}" for one in opened for table in one.read_whole})
    slowest = max(opened, key=lambda one: spread(one.took).middle)
    goals += [
        Goal(
            "growth: statements that read a large table from end to end", "none", ", ".join(whole) or "none", not whole
        ),
        at_most(
            f"growth: slowest list or screen ({slowest.path})",
            spread(slowest.took),
            150,
            "under 150 ms",
            unit=" ms",
            form=".0f",
        ),
    ]
    lists = Table(
        f"Lists and screens with {filled:,} entities stored, milliseconds: median (least … most)",
        ("", "ms", "statements", "reads whole"),
        [
            (one.path, spread(one.took).told(".0f"), str(one.statements), ", ".join(one.read_whole) or "nothing")
            for one in opened
        ],
    )
    return Report("What it costs once a lot is stored.", about, goals, [syncs, lists])


if __name__ == "__main__":
    asyncio.run(main())
