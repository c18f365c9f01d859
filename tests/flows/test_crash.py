"""Kill -9 at every named point of a run, start again, and the same stands as if nothing had happened."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.flows.bench import Bench, Sandbox, connected, start_sandbox, take_snapshot
from tests.flows.conftest import NewDatabase
from tests.flows.worker import Work, start_worker

import tieline
from tieline.vault import LocalKeyRing, load_or_create

PEOPLE = 60

OFTEN = (1, 2, 3, 1, 2)
"""At which of its passings a point kills, one after the other, if it is passed with every batch."""

ONCE = (1, 2, 1, 2, 1)
"""The same for points that are passed once in a run, of which there are eleven."""


def at(point: str, passings: tuple[int, ...]) -> list[str]:
    return [f"{point}:{passing}" for passing in passings]


@dataclass(frozen=True)
class Scenario:
    """Where to kill during the first sync, a second one with nothing new, one after the sandbox's story, and one after more left."""

    first: list[str]
    again: list[str]
    story: list[str]
    leavers: list[str]


@dataclass(frozen=True)
class Desk:
    """What the workers share: the file of the key ring, and the one in which each kill is noted."""

    keys: Path
    killed: Path


SWEPT = at("run.swept", (1, 1))
SCENARIOS = {
    "reading": Scenario(
        [*at("page.fetched", OFTEN), *at("page.entities", OFTEN)], at("run.collected", ONCE), SWEPT, SWEPT
    ),
    "concluding": Scenario(
        [*at("page.findings", OFTEN), *at("page.evidence", OFTEN)], at("run.judged", ONCE), SWEPT, SWEPT
    ),
    "keeping": Scenario(
        [*at("page.checkpoint", OFTEN), *at("page.committed", OFTEN)], at("run.finished", ONCE), SWEPT, SWEPT
    ),
}


def test_a_run_killed_at_any_point_ends_as_if_undisturbed(
    new_database: NewDatabase, template: str, place: Path
) -> None:
    keys, killed = place / "keys-of-the-killed.json", place / "killed"
    ring = load_or_create(keys, may_create=True)

    async def live_all(tales: list[Scenario], urls: list[str], sandboxes: list[Sandbox]) -> list[dict[str, Any]]:
        lives = zip(tales, urls, sandboxes, strict=True)
        return await asyncio.gather(*(live(*one, ring, Desk(keys, killed)) for one in lives))

    with ExitStack() as stack:
        tales = [Scenario([], [], [], []), *SCENARIOS.values()]
        urls = [stack.enter_context(new_database(template)) for _ in tales]
        sandboxes = [stack.enter_context(start_sandbox(PEOPLE)) for _ in tales]
        undisturbed, *others = asyncio.run(live_all(tales, urls, sandboxes))
    for name, found in zip(SCENARIOS, others, strict=True):
        for part in undisturbed:
            assert found[part] == undisturbed[part], f"{name}: {part} differ"
    kills = Counter(killed.read_text().split())
    assert set(kills) == set(points())
    assert min(kills.values()) >= 5, kills


def points() -> list[str]:
    """Every point that a run passes; those of connections are in test_killed.py."""
    source = "".join(path.read_text() for path in (Path(tieline.__file__).parent / "flows").glob("*.py"))
    return re.findall(r'faults\.passing\("((?:page|run)\.[a-z]+)"\)', source)


async def live(tale: Scenario, url: str, sandbox: Sandbox, ring: LocalKeyRing, desk: Desk) -> dict[str, Any]:
    """Live through a scenario; what stands at its end."""
    async with connected(url, ring, sandbox) as bench:
        await line_up(bench)
        await work(bench, url, desk, tale.first)
        await ask_again(bench)
        await work(bench, url, desk, tale.again)
        sandbox.control("story")
        await ask_again(bench)
        await work(bench, url, desk, tale.story)
        sandbox.change("leave", 3)
        sandbox.change("rotate_key")
        await ask_again(bench)
        await work(bench, url, desk, tale.leavers)
        return await take_snapshot(bench)


async def ask_again(bench: Bench) -> None:
    await bench.request()
    await line_up(bench)


async def line_up(bench: Bench) -> None:
    """Make the operations due one after the other, in the order of their names."""
    await bench.query(
        """UPDATE schedules SET next_run_at = now() - interval '1 minute' + place * interval '1 ms'
             FROM (SELECT id, row_number() OVER (ORDER BY operation) AS place FROM schedules) AS ordered
            WHERE ordered.id = schedules.id"""
    )


async def work(bench: Bench, url: str, desk: Desk, faults: list[str]) -> None:
    """Let one worker after the other do its part and die, then one that brings it to its end."""
    task = Work(url, bench.org, bench.connection.id, str(desk.keys), side_by_side=1)
    for fault in faults:
        assert await exit_of(start_worker(task, fault=fault, killed=str(desk.killed))) == -signal.SIGKILL, fault
    assert await exit_of(start_worker(task)) == 0


async def exit_of(process: BaseProcess) -> int | None:
    try:
        await asyncio.to_thread(process.join, 60)
        return process.exitcode
    finally:
        process.kill()
