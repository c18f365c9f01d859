"""How fast stored credentials come under another key, while readers read: from one local key to the next, into a key service, inside it.

    python benchmarks/rewrap.py [--rows 20000] [--no-services]

The database is an embedded PostgreSQL of its own; the services are a real OpenBao and moto's AWS KMS on the loopback, so that their
figures say what one machine does for both sides. The services get a tenth of the rows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from sqlalchemy import select
from tests.conftest import parts_of
from tests.emulators.openbao import start_openbao
from tests.vault import keepers
from tests.vault.stock import SLOT, fill

from tieline.flows.parts import Parts
from tieline.flows.rewrap import rewrap
from tieline.store.credentials import credentials
from tieline.store.db import Db
from tieline.store.embedded import running
from tieline.store.migrate import migrate
from tieline.vault import ComposedKeys, LocalKeyRing, Place, Vault, with_new_key


async def main() -> None:
    """Run the benchmark and print its table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--no-services", action="store_true")
    given = arguments.parse_args()
    print(f"{'from → to':<28}{'rows':>8}{'rows/s':>10}{'reads':>8}{'read p99 ms':>13}{'errors':>8}")
    async with _parts() as (parts, ring):
        org = await fill(parts, given.rows)
        rotated = with_new_key(ring)
        await _measure("key ring → key ring", replace(parts, vault=Vault(rotated)), org)
    if not given.no_services:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with start_openbao() as bao, keepers.transit(bao, patience=30.0) as keeper:
            await _through("OpenBao", keeper, given.rows // 10)
        with tempfile.TemporaryDirectory() as folder, keepers.start_moto(folder) as moto, keepers.aws(moto) as keeper:
            await _through("AWS KMS (moto)", keeper, given.rows // 10)


async def _through(name: str, keeper: keepers.Keeper, rows: int) -> None:
    async with _parts() as (parts, ring):
        org = await fill(parts, rows)
        composed = ComposedKeys(ring, [keeper.service], current=keeper.service)
        inside = replace(parts, vault=Vault(composed))
        await _measure(f"key ring → {name}", inside, org)
        keeper.rotate()
        await _measure(f"{name} → its next key", inside, org)
        await composed.close()


async def _measure(what: str, parts: Parts, org: str) -> None:
    stop, waits, errors = asyncio.Event(), list[float](), list[str]()
    readers = [asyncio.create_task(_read(parts, org, stop, waits, errors)) for _ in range(2)]
    begun = time.perf_counter()
    state = await rewrap(parts)
    seconds = time.perf_counter() - begun
    stop.set()
    await asyncio.gather(*readers)
    p99 = sorted(waits)[int(len(waits) * 0.99)] * 1000 if waits else 0.0
    print(f"{what:<28}{state.done:>8}{state.done / seconds:>10,.0f}{len(waits):>8}{p99:>13.1f}{len(errors):>8}")


async def _read(parts: Parts, org: str, stop: asyncio.Event, waits: list[float], errors: list[str]) -> None:
    """Read one credential after the other until told to stop, and note how long each takes."""
    version = 0
    async with parts.db.work(org) as work:
        connection_id = (await work.connection.execute(select(credentials.c.connection_id).limit(1))).scalar_one()
    here = (credentials.c.connection_id == connection_id) & (credentials.c.slot == SLOT)
    while not stop.is_set():
        version += 1
        begun = time.perf_counter()
        async with parts.db.work(org) as work:
            row = (
                await work.connection.execute(select(credentials).where(here, credentials.c.version == version))
            ).first()
        if row is None:
            version = 0
            continue
        try:
            await parts.vault.open(row.sealed.sealed, Place(org, row.connection_id, row.slot, row.version, row.serial))
        except Exception as error:  # noqa: BLE001  any of them is the benchmark's result
            errors.append(type(error).__name__)
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def _parts() -> AsyncIterator[tuple[Parts, LocalKeyRing]]:
    with tempfile.TemporaryDirectory(prefix="tieline-rewrap-") as name:
        folder = Path(name)
        os.chmod(name, 0o711)  # noqa: PTH101  PostgreSQL may run as an account of its own
        with running(folder / "data", state_dir=folder / "state") as server:
            await migrate(server.url)
            db, ring = Db(server.url, pool_size=6), LocalKeyRing.generate()
            try:
                yield parts_of(db, ring), ring
            finally:
                await db.close()


if __name__ == "__main__":
    asyncio.run(main())
