"""A contest: contestants do the same work by turns, each in a process and a database of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rig import machine
from rig.pages import Pages, Served
from rig.postgres import Database, Postgres

_HERE = Path(__file__).parent.parent
_SOURCE = _HERE.parent / "src"


@dataclass(frozen=True)
class Contestant:
    """Who competes: a script below `peers`, the Python that runs it, and the query that counts what it stored.

    The query gives the number of rows and of those that hold the text `(revision N)`, N being `$1`.
    """

    name: str
    script: str
    counted: str
    python: str = sys.executable
    migrated: bool = False
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """A piece of work, and what the page server lists meanwhile."""

    name: str
    served: Served


@dataclass(frozen=True)
class Taken:
    """What a phase took: seconds by the clock and of the processors, bytes of log and memory."""

    seconds: float
    client: float
    server: float
    wal: int
    memory: int
    records: int
    stages: dict[str, list[float]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds


Results = dict[tuple[str, str], list[Taken]]
"""By contestant and phase: what each round took."""


class LostError(Exception):
    """A contestant did not do its work."""


async def hold(
    postgres: Postgres, pages: Pages, contestants: Sequence[Contestant], phases: Sequence[Phase], *, rounds: int
) -> Results:
    """All rounds; in every second one the contestants come in the other order."""
    results: Results = {}
    for number in range(rounds):
        for contestant in list(contestants)[:: -1 if number % 2 else 1]:
            name = f"round_{number}_{time.monotonic_ns()}"
            async with postgres.database(name, migrated=contestant.migrated) as database:
                taken = await take_part(contestant, database, pages, phases)
            for phase, one in zip(phases, taken, strict=True):
                results.setdefault((contestant.name, phase.name), []).append(one)
            told = ", ".join(f"{phase.name} {one.rate:,.0f}/s" for phase, one in zip(phases, taken, strict=True))
            print(f"  round {number + 1}, {contestant.name}: {told}", flush=True)
    return results


async def take_part(contestant: Contestant, database: Database, pages: Pages, phases: Sequence[Phase]) -> list[Taken]:
    """All phases of one contestant, in a database that is there."""
    taken = []
    with _started(contestant, database.url, pages.url) as process:
        for phase in phases:
            await asyncio.to_thread(pages.set, phase.served)
            await database.settle()
            taken.append(await _run(process, database, phase))
            await _check(contestant, database, phase)
    return taken


async def _run(process: subprocess.Popen[str], database: Database, phase: Phase) -> Taken:
    client, server, wal = machine.cpu_seconds(process.pid), await database.cpu(), await database.wal()
    process.stdin.write(phase.name + "\n")
    process.stdin.flush()
    answer = await asyncio.to_thread(_read, process.stdout)
    return Taken(
        seconds=answer["seconds"],
        client=machine.cpu_seconds(process.pid) - client,
        server=await database.cpu() - server,
        wal=await database.wal() - wal,
        memory=machine.peak_memory(process.pid),
        records=phase.served.records,
        stages=answer.get("stages", {}),
    )


async def _check(contestant: Contestant, database: Database, phase: Phase) -> None:
    """Refuse a contestant that has not stored what it was to store."""
    rows, revised = await database.owner.fetchrow(contestant.counted, f"%(revision {phase.served.version})%")
    wanted = -(-phase.served.records // 100) if phase.served.version else phase.served.records
    if (rows, revised) != (phase.served.records, wanted):
        raise LostError(f"{contestant.name} has {rows:,} rows after {phase.name}, {revised:,} of them of this version")


@contextmanager
def _started(contestant: Contestant, url: str, pages_url: str) -> Any:
    path = os.pathsep.join(str(one) for one in (_HERE, _HERE / "provider", _SOURCE))
    command = [contestant.python, str(_HERE / "peers" / contestant.script), url, pages_url, *contestant.arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIELINE_")}
    environment |= {"PYTHONPATH": path, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryDirectory(prefix="tieline-peer-") as folder:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, cwd=folder, env=environment
        )
        try:
            _read(process.stdout)
            yield process
        except LostError as error:
            said.seek(0)
            raise LostError(f"{contestant.name}: {error}\n{said.read()[-3_000:]}") from None
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _read(answers: TextIO) -> dict[str, Any]:
    line = answers.readline()
    if not line:
        raise LostError("ended before its time")
    return json.loads(line)
