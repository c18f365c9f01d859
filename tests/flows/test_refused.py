"""An entity whose record is refused stays as it was stored, and is judged so: time turns its answers, and attests nothing anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.flows.bench import Bench
from tests.flows.memory import connected_to, provider_of

from tieline.sdk import Account
from tieline.vault import LocalKeyRing

PERSON = Account.map(
    external_id="payload.id",
    email="payload.email",
    mfa="payload.mfa",
    last_login_at="payload.seen",
)


@pytest.fixture
async def people() -> dict[str, list[Any]]:
    return {"people": []}


@pytest.fixture
async def ann(database_of_its_own: str, ring: LocalKeyRing, people: dict[str, list[Any]]) -> AsyncIterator[Bench]:
    """A connection to a provider of one person, who signed in 80 days ago."""
    async with connected_to(database_of_its_own, ring, provider_of(people, PERSON)) as bench:
        seen = (bench.clock.now() - timedelta(days=80)).isoformat()
        people["people"] = [{"id": "ann", "email": "ann@x.example", "mfa": True, "seen": seen}]
        await bench.sync()
        yield bench


async def sync_later(bench: Bench, **by: float) -> None:
    bench.clock.ahead += timedelta(**by)
    (run,) = (await bench.sync()).values()
    assert run.status == "succeeded"


async def outcome(bench: Bench, check: str) -> str:
    found: str = (await bench.entities("account"))["ann"].outcomes[check][0]
    return found


async def statements(bench: Bench, check: str) -> list[str]:
    return [one.stance for one in await bench.evidence(check)]


async def test_time_turns_an_answer_about_one_whose_record_is_refused(ann: Bench, people: dict[str, list[Any]]) -> None:
    assert await outcome(ann, "account-used-recently") == "pass"
    people["people"][0]["email"] = 5
    await sync_later(ann, days=9)
    assert await outcome(ann, "account-used-recently") == "pass"
    await sync_later(ann, days=2)
    assert await outcome(ann, "account-used-recently") == "fail"
    assert list(await ann.findings("account-used-recently", status="open")) == ["ann"]
    assert await statements(ann, "account-used-recently") == ["supports", "contradicts"]
    await sync_later(ann, days=1)
    assert await statements(ann, "account-used-recently") == ["supports", "contradicts"]


async def test_nothing_is_attested_anew_about_one_whose_record_is_refused_until_it_is_read_again(
    ann: Bench, people: dict[str, list[Any]]
) -> None:
    assert await statements(ann, "mfa-enabled") == ["supports"]
    people["people"][0]["email"] = 5
    await sync_later(ann, days=31)
    await sync_later(ann, days=31)
    assert await outcome(ann, "mfa-enabled") == "pass"
    assert await statements(ann, "mfa-enabled") == ["supports"]
    people["people"][0]["email"] = "ann@x.example"
    await sync_later(ann, days=1)
    assert await statements(ann, "mfa-enabled") == ["supports", "supports"]
