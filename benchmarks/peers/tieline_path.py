"""Tieline, whole path: connected by the public flow, carried out by its engine, judged by the checks of its catalogue."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
from rig.child import compete
from rig.stages import timed

from tieline.app import Tieline, running
from tieline.flows.connect import Attempt, connect
from tieline.flows.sync import request_sync
from tieline.settings import read_settings
from tieline.store import runs

PROVIDER = "bench-findings"


async def main() -> None:
    """Start Tieline with its engine and sync whenever asked to; the first time by connecting."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("pages")
    arguments.add_argument("--profile", action="store_true", help="time the stages")
    arguments.add_argument("--account", default="benchmark", help="the account that is connected")
    arguments.add_argument("--keys", type=Path, help="the key ring of a database that has been used before")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        settings = read_settings(
            data_dir=Path(place), database_url=asked.url, key_ring=asked.keys, allow_private_addresses="127.0.0.1"
        )
        async with running(settings) as tieline:
            stop = asyncio.Event()
            engine = asyncio.create_task(tieline.engine().run(until=stop))
            watch = await asyncpg.connect(asked.url)
            await compete(Syncs(tieline, watch, asked).run)
            stop.set()
            await engine
            await watch.close()


class Syncs:
    """One connection and its syncs."""

    def __init__(self, tieline: Tieline, watch: asyncpg.Connection[Any], asked: argparse.Namespace) -> None:
        self.tieline = tieline
        self.watch = watch
        self.asked = asked
        self.connection = ""

    async def run(self, _: str) -> dict[str, Any]:
        """A sync, from the request to the end of its run."""
        if not self.asked.profile:
            return {"seconds": await self._sync()}
        with timed() as spent:
            return {"seconds": await self._sync(), "stages": spent}

    async def _sync(self) -> float:
        parts, org = self.tieline.parts, self.tieline.organization.id
        began = time.time()
        if self.connection:
            await request_sync(parts, org, self.connection)
        else:
            attempt = Attempt(PROVIDER, {"base_url": self.asked.pages}, {"api_key": self.asked.account})
            self.connection = (await connect(parts, org, attempt)).id
        return await self._finished() - began

    async def _finished(self) -> float:
        """When the newest run ended, once it has; raises if it did not end well."""
        newest = "SELECT status, extract(epoch FROM finished_at)::float AS at FROM runs ORDER BY id DESC LIMIT 1"
        while True:
            await asyncio.sleep(0.1)
            row = await self.watch.fetchrow(newest)
            if row["status"] not in runs.UNFINISHED:
                assert row["status"] == "succeeded", row["status"]
                return float(row["at"])


if __name__ == "__main__":
    asyncio.run(main())
