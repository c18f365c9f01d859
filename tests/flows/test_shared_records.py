"""A record that several operations read: its entity belongs to the one that read it last, and goes when that no longer sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.flows.bench import Bench
from tests.flows.memory import connected_to, provider_of

from tieline.sdk import Account
from tieline.vault import LocalKeyRing

PERSON = Account.map(external_id="payload.id", mfa="payload.mfa")
ANN, BOB, CY = ({"id": name, "mfa": False} for name in ("ann", "bob", "cy"))


@pytest.fixture
async def lists() -> dict[str, list[Any]]:
    """What each operation of the provider gives."""
    return {"one": [ANN, BOB], "two": []}


@pytest.fixture
async def both(database_of_its_own: str, ring: LocalKeyRing, lists: dict[str, list[Any]]) -> AsyncIterator[Bench]:
    async with connected_to(database_of_its_own, ring, provider_of(lists, PERSON)) as bench:
        yield bench


async def owners(bench: Bench) -> dict[str, str]:
    return {name: one.operation for name, one in (await bench.entities("account")).items()}


async def test_what_moved_to_another_operation_goes_when_that_no_longer_sees_it(
    both: Bench, lists: dict[str, list[Any]]
) -> None:
    lists["two"] = [ANN, BOB]
    await both.sync("two")
    assert await owners(both) == {"ann": "two", "bob": "two"}
    lists["two"] = [ANN]
    assert (await both.sync("two"))["two"].removed == 1
    assert await owners(both) == {"ann": "two"}


async def test_what_another_operation_has_seen_since_stays(both: Bench, lists: dict[str, list[Any]]) -> None:
    lists["two"] = [BOB, CY]
    await both.sync("two")
    lists["one"] = [ANN]
    assert (await both.sync("one"))["one"].removed == 0
    assert await owners(both) == {"ann": "one", "bob": "two", "cy": "two"}


async def test_a_record_that_two_operations_read_in_turn_tells_nothing_new(
    both: Bench, lists: dict[str, list[Any]]
) -> None:
    lists["two"] = [BOB, CY]
    await both.sync("two")
    before = await told(both)
    for name in ("one", "two", "one", "two"):
        run = (await both.sync(name))[name]
        assert (run.created, run.changed, run.unchanged, run.removed) == (0, 1, 1, 0)
    assert await told(both) == before


async def told(bench: Bench) -> list[Any]:
    """Since when each entity is what it is, and all that was ever told of it."""
    since = {name: one.since for name, one in (await bench.entities("account")).items()}
    tables = ("entity_versions", "findings", "finding_events", "evidence", "outbox WHERE type LIKE 'finding%'")
    return [since, *[await bench.query(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables]]
