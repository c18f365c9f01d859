"""What it costs to keep what entities were: the same pages stored with and without, by turns.

    python benchmarks/history.py [--entities 20000] [--rounds 7]

A round reads every page again with a share of its records changed (one field of eleven in a record of 1.5 KB), compares, writes what
changed and commits, once with history and once without, on a connection each. Commits do not wait for the disk, whose mood would
hide the rest, and the time is that of the processors, of this process and of its one connection to PostgreSQL together. Printed are
the ratio of the two with its spread, what is written more to the write-ahead log for a changed record, and the bytes that a version
takes in the table and its indexes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import asyncpg
from tests.conftest import new_organization
from tests.stages.steps import Step, make_step

from tieline.sdk import Account
from tieline.store import entities as store
from tieline.store.bulk import insert_many
from tieline.store.db import Db
from tieline.store.embedded import running
from tieline.store.entity_versions import BEGINS_WHEN_OVERWRITTEN
from tieline.store.migrate import migrate

PAGE = 1_000
PERSON = Account.map(
    external_id="payload.id",
    email="payload.email",
    username="payload.email",
    display_name="payload.name",
    title="payload.title",
    department="payload.department",
    status="payload.status",
    mfa="payload.mfa",
    admin="payload.admin",
    created_at="payload.since",
    url="payload.url",
)


async def without(work: Any, rows: Any, *, same: Any, **_: Any) -> None:
    """How pages were written before anything was kept."""
    plain = store._OVERWRITE.replace(BEGINS_WHEN_OVERWRITTEN, "excluded.since")
    await insert_many(work, store.entities, store._COLUMNS, rows, same=same, on_conflict=plain)


ARMS: dict[str, Any] = {"with": store.upsert, "without": without}


def person(number: int, version: int) -> dict[str, Any]:
    """A person; another version has another title."""
    return {
        "id": f"per_{number:07}",
        "email": f"person.{number}@larkfield.example",
        "name": f"Person Number {number}",
        "title": f"Engineer of degree {version}",
        "department": f"Department {number % 40}",
        "status": "active",
        "mfa": bool(number % 3),
        "admin": not number % 50,
        "since": "2024-03-01T08:00:00Z",
        "url": f"https://people.example/{number}",
        "profile": {f"attribute_{one}": f"a value that is not mapped, {number + one}" for one in range(20)},
    }


async def read_again(step: Step, arm: str, count: int, version: int, share: float) -> float:
    """Store every page; seconds of both processors, without making the records."""
    async with step.db.system() as work:
        server = Path(f"/proc/{await (await work.driver()).fetchval('SELECT pg_backend_pid()')}/schedstat")
    store.upsert = ARMS[arm]
    every, spent = round(1 / share) if share else 0, 0.0
    for first in range(0, count, PAGE):
        records = [
            person(one, version if every and not one % every else 0) for one in range(first, min(first + PAGE, count))
        ]
        made = step.made(PERSON, *records)
        began = busy(server)
        await step.store(made)
        spent += busy(server) - began
    return spent


def busy(server: Path) -> float:
    """How long this process and the other one have been on a processor, in seconds."""
    return time.process_time() + int(server.read_text().split()[0]) / 1e9


async def measure(url: str, count: int, rounds: int) -> None:
    """Both arms by turns, with nothing, a hundredth and everything changed."""
    await migrate(url)
    owner = await asyncpg.connect(url)
    await owner.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
    await owner.close()
    db = Db(url, pool_size=1)
    steps = {arm: await make_step(db, await new_organization(db)) for arm in ARMS}
    print(
        f"{count:,} entities, {rounds} rounds\n{'':18}{'ratio':>8}{'spread':>15}{'µs a record with':>18}{'without':>10}{'WAL +':>9}"
    )
    version = 0
    spent = {arm: [await read_again(step.later(minutes=-1), arm, count, 0, 0)] for arm, step in steps.items()}
    tell("first sync", spent, count, None)
    for share, name in ((0, "nothing changed"), (0.01, "1 % changed"), (1, "100 % changed")):
        spent, logged = {arm: [] for arm in ARMS}, {arm: list[int]() for arm in ARMS}
        for turn in range(rounds):
            version += 1
            for arm in sorted(ARMS, reverse=bool(turn % 2)):
                before = await wal(db)
                step = steps[arm].later(minutes=version)
                spent[arm].append(await read_again(step, arm, count, version, share))
                logged[arm].append(await wal(db) - before)
        more = median(logged["with"]) - median(logged["without"])
        tell(name, spent, count, more / (count * share) if share else None)
    await tell_size(db)
    await db.close()


async def wal(db: Db) -> int:
    """Where the write-ahead log stands, in bytes."""
    async with db.system() as work:
        return int(await (await work.driver()).fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def tell_size(db: Db) -> None:
    """How many bytes a version takes."""
    async with db.system() as work:
        driver = await work.driver()
        row = await driver.fetchrow(
            """SELECT pg_relation_size('entity_versions') AS rows, pg_indexes_size('entity_versions') AS indexes,
                      pg_relation_size('entities') AS entities"""
        )
        count = await driver.fetchval("SELECT count(until) FROM entity_versions")
    told = f"{row['rows'] / count:.0f} bytes in the table and {row['indexes'] / count:.0f} in its indexes"
    print(f"\na version takes {told} ({count:,} versions)")


def tell(name: str, spent: dict[str, list[float]], count: int, logged: float | None) -> None:
    """A line of the table."""
    ratios = sorted(one / other for one, other in zip(spent["with"], spent["without"], strict=True))
    each = [median(spent[arm]) / count * 1e6 for arm in ("with", "without")]
    told = f"{name:18}{median(ratios):8.3f}{f'{ratios[0]:.2f} … {ratios[-1]:.2f}':>15}{each[0]:18.1f}{each[1]:10.1f}"
    print(told + (f"{logged:9.0f}" if logged is not None else ""))


def main() -> None:
    """Run the benchmark in a database of its own."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--entities", type=int, default=20_000)
    arguments.add_argument("--rounds", type=int, default=7)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o711)
        with running(Path(place) / "data", state_dir=Path(place) / "state") as server:
            asyncio.run(measure(server.url, given.entities, given.rounds))


if __name__ == "__main__":
    main()
