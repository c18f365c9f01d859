"""Re-wrapping what is stored: all tables, under load, cut off by kill -9, by two at once; and the end of a key."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, text
from tests.conftest import new_organization, parts_of
from tests.vault.stock import SLOT, Stock, fill, open_all, start_rewrapping

from tieline.clock import SetClock
from tieline.errors import Conflict, KeyRingError, VaultError
from tieline.flows.parts import Parts
from tieline.flows.rewrap import RESTS_FOR, Rewrapped, key_usage, list_keys, retire_key, rewrap
from tieline.ids import from_uuid, new_id
from tieline.store.credentials import credentials
from tieline.store.db import Db
from tieline.store.sealed import SEALED, count_by_key, sealed_tables
from tieline.store.tables import metadata
from tieline.store.types import Ciphertext, Sealed
from tieline.vault import KeyRingFile, LocalKeyRing, Place, Vault, load_or_create, save, with_new_key

ROWS = 6_000  # benchmarks/rewrap.py has the full figure


@pytest.fixture
async def stock(fresh_database_url: str, place: Path) -> Stock:
    """A database of its own and the file of a key ring."""
    path = place / f"keys-{new_id('x')}.json"
    load_or_create(path, may_create=True)
    return Stock(fresh_database_url, path)


def rotate(path: Path) -> str:
    """Add a key, which is current from now on; its name."""
    ring = with_new_key(load_or_create(path, may_create=False))
    save(ring, path)
    return ring.current_id


# The registry


def test_every_table_with_a_sealed_column_is_known_and_no_other() -> None:
    holding = {table.name for table in metadata.tables.values() for one in table.c if isinstance(one.type, Sealed)}
    assert {each.name for each in sealed_tables()} == holding
    assert {"credentials", "oauth_apps", "attempts", "connect_sessions", "revocations", "issuer_keys"} <= set(SEALED)


def test_every_sealed_column_stands_beside_the_name_of_its_key() -> None:
    for each in sealed_tables():
        assert {"id", "sealed", "key_id"} <= set(each.table.c.keys())
        assert [one.name for one in each.table.c if isinstance(one.type, Sealed)] == ["sealed"]


@pytest.mark.parametrize("each", sealed_tables(), ids=lambda each: each.name)
async def test_the_platform_may_replace_a_sealed_value_and_no_other_column(db: Db, each: object) -> None:
    name = each.name  # type: ignore[attr-defined]
    async with db.system() as work:
        may = text(
            """SELECT column_name FROM information_schema.column_privileges
                WHERE table_name = :name AND grantee = 'tieline_system' AND privilege_type = 'UPDATE'"""
        )
        assert set((await work.connection.execute(may, {"name": name})).scalars()) == {"sealed", "key_id"}


# The work


async def test_rows_of_all_organizations_come_under_the_current_key(stock: Stock) -> None:
    async with stock.parts() as parts:
        first, second = await fill(parts, 30), await fill(parts, 20)
        new = rotate(stock.keys)
        heard: list[Rewrapped] = []
        state = await rewrap(parts, batch=8, told=heard.append)
        assert (state.total, state.done, state.failed, state.left) == (50, 50, 0, 0)
        assert [one.done for one in heard] == sorted(one.done for one in heard)
        assert await key_usage(parts) == {new: 50}
        assert await open_all(parts, first) == 30
        assert await open_all(parts, second) == 20
        again = await rewrap(parts)
        assert (again.total, again.done) == (0, 0)


async def test_a_damaged_row_is_counted_and_stops_nothing(stock: Stock) -> None:
    async with stock.parts() as parts:
        org = await fill(parts, 30)
        async with parts.db.work(org) as work:
            some = (await work.connection.execute(select(credentials.c.id).limit(1).offset(11))).scalar_one()
            await work.connection.execute(
                credentials.update().where(credentials.c.id == some).values(sealed=Ciphertext(b"\1damaged"))
            )
        rotate(stock.keys)
        state = await rewrap(parts, batch=8)
        assert (state.total, state.done, state.failed, state.left) == (30, 29, 1, 1)


async def test_rows_whose_key_is_lost_do_not_hold_up_the_others(stock: Stock) -> None:
    async with stock.parts() as parts:
        await fill(parts, 10)
    lost = load_or_create(stock.keys, may_create=False).current_id
    stock.keys.unlink()
    load_or_create(stock.keys, may_create=True)
    async with stock.parts() as parts:
        await fill(parts, 10)
        new = rotate(stock.keys)
        state = await rewrap(parts, batch=4)
        assert (state.done, state.left) == (10, 10)
        assert await key_usage(parts) == {lost: 10, new: 10}
        assert [(one.id, one.lives_in, one.current) for one in await list_keys(parts) if one.in_use] == [
            (new, "key ring", True),
            (lost, "missing", False),
        ]


async def test_nothing_is_touched_while_the_current_key_cannot_be_used(stock: Stock) -> None:
    class Away(KeyRingFile):
        async def current(self) -> str:
            raise ConnectionError("kms.internal refused")

    async with stock.parts() as parts:
        await fill(parts, 5)
        before = await key_usage(parts)
        rotate(stock.keys)
        away = replace(parts, vault=Vault(Away(stock.keys, load_or_create(stock.keys, may_create=False))))
        with pytest.raises(VaultError, match=r"^Credential encryption failed$"):
            await rewrap(away)
        assert await key_usage(parts) == before
        assert not [one for one in await list_keys(away) if one.current]


async def test_a_slice_leaves_the_rest_for_later(stock: Stock) -> None:
    async with stock.parts() as parts:
        await fill(parts, 50)
        rotate(stock.keys)
        state = await rewrap(parts, batch=10, at_most=20)
        assert (state.done, state.left) == (20, 30)
        assert (await rewrap(parts)).left == 0


async def test_what_changed_meanwhile_stays_as_it_was_made(stock: Stock) -> None:
    """A grant is refreshed between the reading and the writing of a batch, under the key that was current then."""
    async with stock.parts() as parts:
        org = await fill(parts, 3)
        former = load_or_create(stock.keys, may_create=False)
        rotate(stock.keys)
        async with parts.db.work(org) as work:
            row = (await work.connection.execute(select(credentials).limit(1))).one()
        place = Place(org, row.connection_id, row.slot, row.version, row.serial + 1)
        refreshed = await Vault(former).seal(b"refreshed", place)

        class Slow(Vault):
            async def rewrap_many(self, several: object) -> list[bytes | VaultError | None]:
                async with parts.db.work(org) as work:
                    mine = credentials.update().where(credentials.c.id == row.id)
                    await work.connection.execute(mine.values(sealed=Ciphertext(refreshed), serial=row.serial + 1))
                return await super().rewrap_many(several)  # type: ignore[arg-type]

        slow = Slow(KeyRingFile(stock.keys, former))
        state = await rewrap(replace(parts, vault=slow))
        assert (state.done, state.left) == (2, 1)
        async with parts.db.work(org) as work:
            kept = (
                await work.connection.execute(select(credentials.c.sealed).where(credentials.c.id == row.id))
            ).scalar_one()
        assert await parts.vault.open(kept.sealed, place) == b"refreshed"


async def test_thousands_are_rewrapped_under_load_through_a_kill_by_two_at_once(stock: Stock, place: Path) -> None:
    """Readers and writers never notice; what the killed one had done stays done."""
    killed = place / f"killed-{new_id('x')}"
    async with stock.parts() as parts:
        org = await fill(parts, ROWS)
        old = next(iter(await key_usage(parts)))
        new = rotate(stock.keys)
        told: Counter[str] = Counter()
        load = asyncio.create_task(_load(parts, org, told))

        victim = start_rewrapping(stock, fault="rewrap.batch:5", killed=killed)
        assert await asyncio.to_thread(_wait, victim) == -signal.SIGKILL
        assert killed.read_text() == "rewrap.batch\n"
        usage = await key_usage(parts)
        assert 0 < usage[old] < ROWS, "it was killed in the middle"

        both = [start_rewrapping(stock), start_rewrapping(stock)]
        assert [await asyncio.to_thread(_wait, one) for one in both] == [0, 0]
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        assert not told["read errors"]
        assert told["read"] > 100
        assert told["written"] > 5
        assert set(await key_usage(parts)) == {new}
        assert await open_all(parts, org) == ROWS + told["written"]


def _wait(process: object) -> int | None:
    process.join(120)  # type: ignore[attr-defined]
    code: int | None = process.exitcode  # type: ignore[attr-defined]
    return code


async def _load(parts: Parts, org: str, told: Counter[str]) -> None:
    """Read at random, and store new credentials, until cancelled."""
    chance = int.from_bytes(os.urandom(4), "big")
    async with parts.db.work(org) as work:
        connection_id = (await work.connection.execute(select(credentials.c.connection_id).limit(1))).scalar_one()
    here = (credentials.c.connection_id == connection_id) & (credentials.c.slot == SLOT)
    while True:
        told["rounds"] += 1
        wanted = (chance * told["rounds"]) % ROWS + 1
        async with parts.db.work(org) as work:
            row = (
                await work.connection.execute(select(credentials).where(here, credentials.c.version == wanted))
            ).first()
        if row:
            told["read"] += 1
            place = Place(org, row.connection_id, row.slot, row.version, row.serial)
            try:
                await parts.vault.open(row.sealed.sealed, place)
            except VaultError:
                told["read errors"] += 1
        if told["rounds"] % 10 == 0:
            await fill(parts, 1, org=org, first=ROWS + told["written"] + 1)
            told["written"] += 1


# The end of a key


async def test_a_key_is_retired_when_nothing_needs_it_and_it_has_rested(stock: Stock) -> None:
    old = load_or_create(stock.keys, may_create=False).current_id
    async with stock.parts() as parts:
        await fill(parts, 5)
        new = rotate(stock.keys)
        later = replace(parts, clock=SetClock(datetime.now(UTC) + RESTS_FOR + timedelta(seconds=1)))
        with pytest.raises(Conflict, match=f"5 stored values still need {old}"):
            await retire_key(later, stock.keys, old)
        await rewrap(parts)
        with pytest.raises(Conflict, match="was current until a moment ago"):
            await retire_key(parts, stock.keys, old)
        await retire_key(later, stock.keys, old)
        assert load_or_create(stock.keys, may_create=False).ids == parts.vault.local_keys == [new]


async def test_the_current_key_and_a_key_that_is_not_there_are_not_retired(stock: Stock) -> None:
    new = rotate(stock.keys)
    async with stock.parts() as parts:
        later = replace(parts, clock=SetClock(datetime.now(UTC) + 2 * RESTS_FOR))
        with pytest.raises(KeyRingError, match="current key cannot be retired"):
            await retire_key(later, stock.keys, new)
        with pytest.raises(KeyRingError, match="has no such key"):
            await retire_key(later, stock.keys, from_uuid("kek", UUID(int=7)))
    assert len(load_or_create(stock.keys, may_create=False).ids) == 2


async def test_keys_are_counted_over_all_tables(db: Db, ring: LocalKeyRing) -> None:
    parts = parts_of(db, ring)
    organization = await new_organization(db)
    async with db.system() as work:
        before = await count_by_key(work)
    await fill(parts, 3, org=organization.id)
    async with db.system() as work:
        assert (await count_by_key(work))[ring.current_id] == before[ring.current_id] + 3
