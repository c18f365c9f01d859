"""A stock of sealed credentials in a database, and processes that re-wrap it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from sqlalchemy import select
from tests.conftest import new_organization, parts_of

from tieline import faults
from tieline.clock import SystemClock
from tieline.flows.parts import Parts
from tieline.flows.rewrap import rewrap
from tieline.ids import new_id, to_uuid
from tieline.store.bulk import insert_many
from tieline.store.connections import Connection, save_connection
from tieline.store.credentials import credentials
from tieline.store.db import Db
from tieline.vault import KeyRingFile, Place, Vault, key_id_of, load_or_create

SLOT = "token"
COLUMNS = ("id", "org_id", "connection_id", "slot", "version", "serial", "sealed", "key_id", "fingerprint", "created_at",
           "created_by")  # fmt: skip


@dataclass(frozen=True)
class Stock:
    """A database and the file of a key ring."""

    url: str
    keys: Path

    @asynccontextmanager
    async def parts(self) -> AsyncIterator[Parts]:
        """The parts of a process that runs on them."""
        db, ring = Db(self.url, pool_size=4), load_or_create(self.keys, may_create=False)
        try:
            parts = parts_of(db, ring)
            object.__setattr__(parts, "vault", Vault(KeyRingFile(self.keys, ring)))
            yield parts
        finally:
            await db.close()


async def fill(parts: Parts, count: int, *, org: str | None = None, first: int = 1) -> str:
    """Store so many credentials, versions of one slot of a new connection; the organization."""
    now = SystemClock().now()
    org_id = org or (await new_organization(parts.db)).id
    connection = Connection(
        id=new_id("conn"), org_id=org_id, provider="acme", name="Acme", auth=SLOT, status="active", account_id=new_id("acc"),
        account_name="Acme", options={}, created_at=now, updated_at=now, validated_at=now,
    )  # fmt: skip
    rows = []
    for version in range(first, first + count):
        sealed = await parts.vault.seal(b"x" * 200, Place(org_id, connection.id, SLOT, version))
        ids = (to_uuid(new_id("cred"), "cred"), to_uuid(org_id, "org"), to_uuid(connection.id, "conn"))
        rows.append((*ids, SLOT, version, 0, sealed, key_id_of(sealed), "00000000", now, "tests"))
    async with parts.db.work(org_id) as work:
        await save_connection(work, connection)
        await insert_many(work, credentials, COLUMNS, rows)
    return org_id


async def open_all(parts: Parts, org: str) -> int:
    """Open every credential of an organization, in its place; how many there are."""
    async with parts.db.work(org) as work:
        rows = (await work.connection.execute(select(credentials))).all()
    for row in rows:
        place = Place(org, row.connection_id, row.slot, row.version, row.serial)
        assert row.key_id == key_id_of(row.sealed.sealed)
        assert await parts.vault.open(row.sealed.sealed, place) == b"x" * 200
    return len(rows)


def start_rewrapping(stock: Stock, *, fault: str = "", killed: Path | None = None) -> BaseProcess:
    """Re-wrap in a process of its own, which dies where `fault` says, as in TIELINE_FAULT, and notes that in `killed`."""
    forking = get_context("forkserver")
    forking.set_forkserver_preload(["tieline.flows.rewrap", "tieline.catalog"])
    process = forking.Process(target=_rewrap, args=(stock, fault, str(killed or "")), daemon=True)
    process.start()
    return process


def _rewrap(stock: Stock, fault: str, killed: str) -> None:
    os.environ |= {"TIELINE_FAULT": fault, "TIELINE_FAULT_LOG": killed}
    faults.arm()

    async def work() -> None:
        async with stock.parts() as parts:
            await rewrap(parts)

    asyncio.run(work())
