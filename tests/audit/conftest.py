"""A chain to look at: an organization, and the hands of somebody who has the database but not the keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any
from uuid import uuid4

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
    """Parts over a database, an organization in it, and an intruder."""

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


@asynccontextmanager
async def furnished(url: str, ring: LocalKeyRing) -> AsyncIterator[House]:
    """A house in a database."""
    db = Db(url, pool_size=10)
    parts = Parts(db, compile_catalog([], []), Vault(ring), SystemClock(), AddressPolicy.parse(""), ring)
    made = await create_organization(parts, slug=f"house-{uuid4().hex[:12]}", name="House")
    connection = await asyncpg.connect(url)
    intruder = Intruder(connection, made.id)
    await connection.execute("SELECT set_config('tieline.org', $1, false)", str(intruder.org))
    yield House(parts, made.id, intruder, url)
    await connection.close()
    await db.close()


@pytest.fixture
async def house(database_url: str, ring: LocalKeyRing) -> AsyncIterator[House]:
    """A house among others."""
    async with furnished(database_url, ring) as made:
        yield made


@pytest.fixture
async def lone_house(fresh_database_url: str, ring: LocalKeyRing) -> AsyncIterator[House]:
    """A house in a database of its own, whose tables and rights a test may change."""
    async with furnished(fresh_database_url, ring) as made:
        yield made
