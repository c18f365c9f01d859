"""A worker in a process of its own, which works until no run of a connection is unfinished.

Such processes are forked from one that has imported everything already: they start in a moment.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tieline.catalog import load_catalog
from tieline.clock import SystemClock
from tieline.engine import Engine, EngineLimits
from tieline.flows.parts import Parts
from tieline.flows.sync import run_sync
from tieline.sdk.addresses import AddressPolicy
from tieline.store.db import Db
from tieline.store.schedules import list_schedules
from tieline.vault import Vault, load_or_create

SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Work:
    """What to work on; `keys` is a key ring's file."""

    url: str
    org: str
    connection: str
    keys: str


def start_worker(work: Work) -> BaseProcess:
    """Start a worker."""
    forking = get_context("forkserver")
    forking.set_forkserver_preload(["tieline.flows.sync", "tieline.engine", "tieline.catalog"])
    process = forking.Process(target=run, args=(work,), daemon=True)
    process.start()
    return process


def run(work: Work) -> None:
    """What the process does."""
    asyncio.run(_work(work))


async def _work(work: Work) -> None:
    db, ring = Db(work.url, pool_size=6), load_or_create(Path(work.keys), may_create=False)
    parts = Parts(db, load_catalog(), Vault(ring), SystemClock(), AddressPolicy.parse("127.0.0.1"), ring)

    async def sync(hold: Any) -> None:
        await run_sync(parts, hold)

    limits = EngineLimits(tick=SECOND / 10, grace=SECOND / 10)
    until = asyncio.Event()
    engine = asyncio.create_task(Engine(db, {"sync": sync}, clock=parts.clock, limits=limits).run(until=until))
    while await _is_unfinished(db, work):
        await asyncio.sleep(0.1)
    until.set()
    await engine
    await db.close()


async def _is_unfinished(db: Db, work: Work) -> bool:
    async with db.work(work.org) as transaction:
        schedules = await list_schedules(transaction, work.connection)
    return any(one.enabled and (one.run_id or one.generation > one.ran_generation) for one in schedules)
