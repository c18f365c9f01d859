"""Lives: the same story lived undisturbed, and lived with kills, step by step; each process that dies is followed by another."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
from tests.kills.standing import take_standing
from tests.kills.worker import Order, StoryClock, parts_at
from tests.kills.world import PAGE, World

from tieline.store.admission import admit
from tieline.store.db import Db
from tieline.store.organizations import create_organization
from tieline.vault import load_or_create, save, with_new_key

BEGINNING = datetime(2026, 3, 2, 6, tzinfo=UTC)
"""When every story begins, so that nothing depends on the day on which it is told."""

BETWEEN = timedelta(hours=2)
"""Between two steps; tokens end and schedules become due meanwhile."""

RESTART = timedelta(seconds=90)
"""Between a death and the next process."""

BOTH = ("people", "laptops")


@dataclass(frozen=True)
class Step:
    """A part of a story: acts one after the other, each in a process of its own.

    `due` are the operations that the calendar calls, in this order. `troubles` is what the provider does on the way: beginning of a
    request, what, how often. `lost` takes the jobs of what was admitted away, as a queue restored from yesterday would.
    """

    acts: Sequence[tuple[str, str]]
    chapter: int = 0
    due: Sequence[str] = ()
    troubles: Sequence[tuple[str, str, int]] = ()
    lost: bool = False
    new_key: bool = False


ASK, WORK = ("ask", ""), ("work", "")
SYNCS = (
    Step([("connect", "ann")]),
    Step([WORK], due=BOTH),
    Step([ASK, WORK], 1, BOTH),
    Step([WORK], 2, BOTH),
    Step(
        [("ask", "people"), WORK],
        3,
        ["people"],
        [("/people?after=8", "bug", 3), ("/people?after=16", "limit", 2)],
    ),
    Step([("ask", "laptops"), WORK], 3, ["laptops"], [("/laptops?after=8", "bug", 2), ("/laptops", "limit", 3)]),
    Step([WORK], 4, ["people"], lost=True),
    Step([ASK, WORK], 5, BOTH),
    Step([WORK], 5, ["laptops"], lost=True),
    Step([ASK, WORK], 6, BOTH),
)
"""One connection: connected, synced by trigger and by calendar, through faults, limits and a queue that forgets."""


def comings_and_goings(accounts: Sequence[str]) -> tuple[Step, ...]:
    """Connections that are made, whose secrets come under a new key, and that end."""
    return (
        Step([("connect", one) for one in accounts]),
        Step([("rewrap", "")], new_key=True),
        Step([("disconnect", one) for one in accounts]),
        Step([("revoke", "")]),
        Step([("revoke", "")]),
    )


Plan = Callable[[int, str, int], Sequence[str]]
"""Where the processes of a step's act die, one after the other, each as in TIELINE_FAULT: by place of the step, act, and deaths so far."""


def undisturbed(_: int, __: str, ___: int) -> Sequence[str]:
    """Nowhere."""
    return ()


class Workshop:
    """A process that forks those that do the acts, one at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.cpu = 0.0

    async def run(self, said: Order | int) -> dict[str, Any]:
        """Carry out an order, or wake a frozen process; how that ended: `code` is `None` if it froze."""
        assert self._process.stdin
        self._process.stdin.write((said.write() if isinstance(said, Order) else str(said)).encode() + b"\n")
        answer = await self._answer()
        self.cpu += answer["cpu"]
        return answer

    async def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self.cpu += (await self._answer())["cpu"]
        await self._process.wait()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(await asyncio.wait_for(self._process.stdout.readline(), 180))
        return answer


@asynccontextmanager
async def workshop() -> AsyncIterator[Workshop]:
    """A workshop, for as long as the block lasts."""
    command = (sys.executable, "-m", "tests.kills.worker")
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        start_new_session=True,  # so that those that it forked end with it, frozen ones too
    )
    made = Workshop(process)
    try:
        yield made
        await made.close()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@dataclass(frozen=True)
class Stage:
    """Where lives take place: a server with a migrated template, a provider, and a folder."""

    server: str
    template: str
    world: World
    folder: Path

    @property
    def log(self) -> Path:
        """The file in which each kill is noted."""
        return self.folder / "killed"


@dataclass
class Life:
    """A life under way."""

    stage: Stage
    shop: Workshop
    db: Db
    url: str
    org: str
    name: str
    now: datetime = BEGINNING
    asked: int = 0
    mutant: str = ""
    batch: int = PAGE + 1
    faults: list[str] = field(default_factory=list)

    @property
    def keys(self) -> Path:
        return self.stage.folder / f"keys-{self.name}.json"

    def order(self, act: str, about: str, fault: str = "") -> Order:
        return Order(
            act,
            about,
            self.now.isoformat(),
            self.url,
            self.org,
            str(self.keys),
            self.stage.world.url_of(self.name),
            self.asked,
            fault,
            str(self.stage.log),
            self.mutant,
            self.batch,
        )

    async def act(self, act: str, about: str, faults: Sequence[str]) -> None:
        """Do an act to its end, through so many deaths; a fault whose point is not passed so often kills nobody.

        Those that froze are woken once another has done their work.
        """
        frozen: list[int] = []
        for fault in (*faults, ""):
            ended = await self.shop.run(self.order(act, about, fault))
            self.now += RESTART
            if ended["code"] == 0:
                break
            assert fault, f"{act} {about} ended with {ended['code']} undisturbed"
            assert ended["code"] in {None, -signal.SIGKILL}, f"{act} {about} ended with {ended['code']} at {fault}"
            self.faults.append(fault)
            if ended["code"] is None:
                frozen.append(ended["pid"])
        for pid in frozen:
            woken = await self.shop.run(pid)
            assert woken["code"] == 0, f"{act} {about} woke and ended with {woken['code']}"
        self.asked += act == "ask"

    async def query(self, statement: str) -> None:
        async with self.db.work(self.org) as work:
            await (await work.driver()).execute(statement)

    async def make_due(self, operations: Sequence[str]) -> None:
        """Make these operations due, in this order, and no other."""
        at = f"timestamptz '{self.now.isoformat()}'"
        await self.query(f"UPDATE schedules SET next_run_at = {at} + interval '1 hour 30 minutes'")
        for place, operation in enumerate(operations):
            then = f"{at} - interval '1 minute' + {place} * interval '1 ms'"
            await self.query(f"UPDATE schedules SET next_run_at = {then} WHERE operation = '{operation}'")

    async def lose_jobs(self) -> None:
        """Give what is due to nobody: holds whose jobs are gone, and that have been silent for long."""
        limits = {"kinds": ["sync"], "free_slots": 8, "org_cap": 8, "provider_cap": 8}
        async with self.db.system() as work:
            assert await admit(work, now=self.now, **limits)  # type: ignore[arg-type]
        await self.query("UPDATE schedules SET beat_at = beat_at - interval '1 day' WHERE held_by IS NOT NULL")


async def live(
    stage: Stage,
    shop: Workshop,
    story: Sequence[Step],
    plan: Plan = undisturbed,
    *,
    mutant: str = "",
    batch: int = PAGE + 1,
) -> tuple[dict[str, Any], list[str]]:
    """Live through a story; what stands at its end, and the faults on the way."""
    async with _database(stage) as (url, name):
        db = Db(url, pool_size=2)
        async with db.system() as work:
            org = await create_organization(work, slug=name.replace("_", "-"), name="Test", now=BEGINNING)
        life = Life(stage, shop, db, url, org.id, name, mutant=mutant, batch=batch)
        load_or_create(life.keys, may_create=True)
        provider = stage.world.begin(name)
        for place, step in enumerate(story):
            life.now = BEGINNING + (place + 1) * BETWEEN
            provider.chapter, provider.troubles = step.chapter, [list(one) for one in step.troubles]
            await life.make_due(step.due)
            if step.lost:
                await life.lose_jobs()
            if step.new_key:
                save(with_new_key(load_or_create(life.keys, may_create=False)), life.keys)
            for act, about in step.acts:
                await life.act(act, about, plan(place, act, len(life.faults)))
        order = life.order("", "")
        standing = await take_standing(parts_at(order, db, StoryClock(life.now)), org.id, order.world)
        await db.close()
        return standing | {"revoked": sorted(set(provider.revoked))}, life.faults


@asynccontextmanager
async def _database(stage: Stage) -> AsyncIterator[tuple[str, str]]:
    """A copy of the template: its URL and its name."""
    name = f"life_{uuid4().hex[:12]}"
    await execute(stage.server, f"CREATE DATABASE {name} TEMPLATE {stage.template}")
    head, _, query = stage.server.partition("?")
    yield f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else ""), name
    await execute(stage.server, f"DROP DATABASE {name} WITH (FORCE)")


async def execute(url: str, statement: str) -> None:
    """One statement of the database's owner."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
