"""A worker in a process of its own, as a script: `worker.py URL CONNECTION ORG KEYS SLOTS BATCH`.

It works until no run of the connection is unfinished, or dies where TIELINE_FAULT says. KEYS is a key ring file. BATCH is how many
records are stored together: few, so that there are many transactions to die in.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from tieline.catalog import load_catalog
from tieline.clock import SystemClock
from tieline.engine import Engine, EngineLimits
from tieline.flows.parts import Parts
from tieline.flows.sync import run_sync
from tieline.sdk.addresses import AddressPolicy
from tieline.stages import collect
from tieline.store.db import Db
from tieline.store.schedules import list_schedules
from tieline.vault import Vault, load_or_create


async def work_until_done(url: str, connection: str, org: str, keys: str, slots: int) -> None:
    db = Db(url, pool_size=6)
    ring = load_or_create(Path(keys), may_create=False)
    parts = Parts(db, load_catalog(), Vault(ring), SystemClock(), AddressPolicy.parse("127.0.0.1"))

    async def sync(hold: Any) -> None:
        await run_sync(parts, hold)

    second = timedelta(seconds=1)
    # A row whose worker died stays held until its job is given to the next worker: then runs follow one another as if undisturbed.
    limits = EngineLimits(org_cap=slots, heartbeat=second, tick=second / 10, stale_after=120 * second, grace=second / 10)
    until = asyncio.Event()
    engine = asyncio.create_task(Engine(db, {"sync": sync}, clock=parts.clock, limits=limits).run(until=until))
    while True:
        async with db.work(org) as work:
            schedules = await list_schedules(work, connection)
        if not any(one.enabled and (one.run_id or one.generation > one.ran_generation) for one in schedules):
            break
        await asyncio.sleep(0.1)
    until.set()
    await engine
    await db.close()


if __name__ == "__main__":
    url, connection, org, keys, slots, batch = sys.argv[1:]
    collect.MAX_RECORDS = int(batch)
    asyncio.run(work_until_done(url, connection, org, keys, int(slots)))
