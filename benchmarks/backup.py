"""What a backup and a restore cost, beside PostgreSQL's own `pg_dump` and `pg_restore`, by turns on the same data.

    python benchmarks/backup.py [--people 3000] [--rounds 3]

A sandbox of so many people is read once through the whole path, so that the rows are what an installation has: entities, findings,
evidence and all else, about 22 rows for each person. Printed are seconds and rows per second of each round's best, the ratio to
PostgreSQL's own with its spread, the size of the file, and the peak memory of this process. The restore is the whole of it: an empty
database is migrated, filled, indexed, analysed and its audit log written on. What is restored is compared in counts.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import asyncpg
from tests.conftest import named
from tests.flows.bench import Bench, MovableClock, connected, parts_over, start_sandbox

from tieline.flows.backup import create_backup, restore_backup
from tieline.store.db import Db
from tieline.store.embedded import running
from tieline.store.migrate import migrate
from tieline.store.postgres_wheel import find_programs
from tieline.vault import LocalKeyRing

PROGRAMS = find_programs(None, Path())


async def on(url: str, statement: str) -> Any:
    """Run a statement; the first value."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def timed_program(name: str, *arguments: str) -> float:
    """Seconds of one of PostgreSQL's programs."""
    begun = time.perf_counter()
    subprocess.run([PROGRAMS / name, *arguments], check=True)
    return time.perf_counter() - begun


async def back_up(bench: Bench, url: str, place: Path) -> tuple[float, float, int]:
    """Seconds of ours and of theirs, and the rows."""
    begun = time.perf_counter()
    made = await create_backup(bench.parts, bench.org, place / "ours.zip")
    ours = time.perf_counter() - begun
    return ours, timed_program("pg_dump", "-Fc", "-Z1", "-f", str(place / "theirs"), url), made.manifest.rows


async def bring_back(server: str, ring: LocalKeyRing, place: Path, rows: int) -> tuple[float, float]:
    """Seconds of ours and of theirs, each into a database of its own."""
    seconds = []
    for name in ("ours", "theirs"):
        await on(server, f"CREATE DATABASE {name}")
        url, begun = named(server, name), time.perf_counter()
        if name == "ours":
            db = Db(url)
            done = await restore_backup(
                parts_over(db, ring, MovableClock()), url, place / "ours.zip", knows=lambda _: True
            )
            assert done.manifest.rows == rows
            await db.close()
        else:
            timed_program("pg_restore", "--single-transaction", "-d", url, str(place / "theirs"))
            await on(url, "ANALYZE")
        seconds.append(time.perf_counter() - begun)
    counts = [await on(named(server, one), "SELECT count(*) FROM entities") for one in ("ours", "theirs")]
    assert counts[0] == counts[1] > 0
    for name in ("ours", "theirs"):
        await on(server, f"DROP DATABASE {name} WITH (FORCE)")
    return seconds[0], seconds[1]


async def measure(server: str, place: Path, people: int, rounds: int) -> None:
    """Fill a database, then back it up and bring it back by turns."""
    await on(server, "CREATE DATABASE original")
    url, ring = named(server, "original"), LocalKeyRing.generate()
    await migrate(url)
    with start_sandbox(people) as sandbox:
        async with connected(url, ring, sandbox) as bench:
            await bench.drain()
            both: dict[str, list[tuple[float, float]]] = {"backup": [], "restore": []}
            for _ in range(rounds):
                ours, theirs, rows = await back_up(bench, url, place)
                both["backup"].append((ours, theirs))
                both["restore"].append(await bring_back(server, ring, place, rows))
                (place / "ours.zip").rename(place / "last.zip")
    size, other = (place / "last.zip").stat().st_size, (place / "theirs").stat().st_size
    print(f"{rows:,} rows; {size / 1e6:.1f} MB, pg_dump's {other / 1e6:.1f} MB\n")
    print(f"{'':10}{'seconds':>9}{'rows a second':>15}{'pg_dump, pg_restore':>21}{'ratio':>8}{'spread':>15}")
    for name, pairs in both.items():
        ratios = sorted(ours / theirs for ours, theirs in pairs)
        best, theirs = min(one for one, _ in pairs), min(one for _, one in pairs)
        spread = f"{ratios[0]:.2f} … {ratios[-1]:.2f}"
        print(f"{name:10}{best:9.1f}{rows / best:15,.0f}{theirs:21.1f}{median(ratios):8.2f}{spread:>15}")
    print(f"\npeak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def main() -> None:
    """Run the benchmark on a server of its own."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=3_000)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o711)
        with running(Path(place) / "data", state_dir=Path(place) / "state") as server:
            asyncio.run(measure(server.url, Path(place), given.people, given.rounds))


if __name__ == "__main__":
    main()
