"""How fast sealed credentials are read, with the local key ring.

    python benchmarks/vault.py [--reads 2000] [--rounds 5]

By turns: one AES-GCM decryption, which is the least that a read must do; opening a sealed value, which decrypts its data key and then
the value; and all of a read as a sync does it, with the row, the check of its form and the entry in the audit log that it leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parent / "provider"))

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rig import machine, postgres
from rig.pages import serving
from rig.report import Report, Table, ratio, spread

from tieline.app import Tieline, running
from tieline.flows.connect import Attempt, connect
from tieline.flows.credentials import open_credential, place_of
from tieline.settings import read_settings
from tieline.store.connections import Connection
from tieline.store.credentials import get_credential

Work = Callable[[int], Awaitable[None]]


async def main() -> None:
    """Run the benchmark and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    asked = parser.parse_args()
    with serving() as pages, tempfile.TemporaryDirectory() as place:
        async with postgres.started() as server, server.database("vault", migrated=True) as database:
            about = machine.describe(server.version)
            settings = read_settings(
                data_dir=Path(place), database_url=database.url, allow_private_addresses="127.0.0.1"
            )
            async with running(settings) as tieline:
                attempt = Attempt("bench-findings", {"base_url": pages.url}, {"api_key": "k" * 64})
                connection = await connect(tieline.parts, tieline.organization.id, attempt)
                work = await _work(tieline, connection)
                took = await _by_turns(work, asked.reads, asked.rounds)
    least = next(iter(took.values()))
    rows = [
        (
            name,
            spread(each).told(".1f"),
            f"{1e6 / spread(each).middle:,.0f}",
            ratio(each, least, float).told(".1f", "×"),
        )
        for name, each in took.items()
    ]
    table = Table("Reading a credential", ("", "µs", "a second", "× the least"), rows)
    Report("How fast sealed credentials are read.", about, (), [table]).tell(asked.json)


async def _work(tieline: Tieline, connection: Connection) -> dict[str, Work]:
    parts, org = tieline.parts, connection.org_id
    provider = parts.catalog.provider(connection.provider)
    async with parts.db.work(org) as work:
        row = await get_credential(work, connection.id, connection.auth)
    place, sealed = place_of(row), row.sealed.sealed
    cipher, nonce = AESGCM(os.urandom(32)), os.urandom(12)
    text = cipher.encrypt(nonce, b"k" * 100, b"place")

    async def decrypt(reads: int) -> None:
        for _ in range(reads):
            cipher.decrypt(nonce, text, b"place")

    async def open_sealed(reads: int) -> None:
        for _ in range(reads):
            await parts.vault.open(sealed, place)

    async def read(reads: int) -> None:
        for _ in range(reads):
            async with parts.db.work(org) as work:
                await open_credential(work, parts, provider, connection)

    return {"one decryption": decrypt, "a sealed value": open_sealed, "a sync's read, one after the other": read}


async def _by_turns(work: dict[str, Work], reads: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds of each read."""
    took: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for place, (name, one) in enumerate(work.items()):
            count = reads if place < len(work) - 1 else max(reads // 10, 1)
            began = time.perf_counter()
            await one(count)
            took[name].append((time.perf_counter() - began) * 1e6 / count)
    return took


if __name__ == "__main__":
    asyncio.run(main())
