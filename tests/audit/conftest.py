"""A chain to look at: an organization in a database of its own, and the hands of somebody who has the database but not the keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

import asyncpg
import pytest

from tieline.access.actor import acting_as
from tieline.catalog import compile_catalog
from tieline.clock import SystemClock
from tieline.flows.audit import record
from tieline.flows.organizations import create_organization
from tieline.flows.parts import Parts
from tieline.ids import to_uuid
from tieline.sdk.addresses import AddressPolicy
from tieline.store.db import Db
from tieline.vault import LocalKeyRing, Vault


@dataclass
class Intruder:
    """Somebody who may change whatever stands in the database."""

    connection: asyncpg.Connection[Any]
    org_id: str

    @property
    def org(self) -> Any:
        return to_uuid(self.org_id, "org")

    async def run(self, statement: str, *values: Any) -> None:
        """Carry out a statement; `$1` is the organization."""
        await self.connection.execute(statement, self.org, *values)

    async def ask(self, query: str, *values: Any) -> list[Any]:
        found: list[Any] = await self.connection.fetch(query, self.org, *values)
        return found


@dataclass
class House:
    """Parts over a database of their own, an organization in it, and an intruder."""

    parts: Parts
    org_id: str
    intruder: Intruder
    url: str
    numbers: Iterator[int] = field(default_factory=count)

    async def write(self, entries: int) -> None:
        """Write entries, each in a transaction of its own, no two alike."""
        for number in islice(self.numbers, entries):
            async with self.parts.db.work(self.org_id) as work:
                with acting_as(f"key_{number % 3}"):
                    await record(
                        work, self.parts, "thing.done", f"thing_{number}", number=number, name=f"Thing {number}"
                    )


@pytest.fixture
async def house(fresh_database_url: str, ring: LocalKeyRing) -> AsyncIterator[House]:
    db = Db(fresh_database_url, pool_size=10)
    parts = Parts(db, compile_catalog([], []), Vault(ring), SystemClock(), AddressPolicy.parse(""), ring)
    made = await create_organization(parts, slug="house", name="House")
    connection = await asyncpg.connect(fresh_database_url)
    intruder = Intruder(connection, made.id)
    await connection.execute("SELECT set_config('tieline.org', $1, false)", str(intruder.org))
    yield House(parts, made.id, intruder, fresh_database_url)
    await connection.close()
    await db.close()
