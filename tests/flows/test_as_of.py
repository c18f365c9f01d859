"""Where controls stood at the end of a day, and that the tallies by which they stand now are what the entities say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from tests.flows.bench import Bench

from tieline.errors import Invalid
from tieline.flows.controls import STANDS_FOR, Standing, get_control, list_controls
from tieline.flows.disconnect import disconnect
from tieline.flows.reconfigure import reconfigure
from tieline.store.evidence import latest_by_check

RECOUNT = """
    SELECT answer.key AS check_id, answer.value ->> 0 AS outcome, count(*) AS entities
      FROM entities, jsonb_each(outcomes) AS answer WHERE removed_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
TALLIED = "SELECT check_id, outcome, entities FROM tallies WHERE entities <> 0 ORDER BY 1, 2"


def counts(standings: list[Standing]) -> dict[str, tuple[int, int]]:
    return {one.control.id: (one.supporting, one.contradicting) for one in standings}


async def as_of(bench: Bench, day: date) -> dict[str, tuple[int, int]]:
    return counts(await list_controls(bench.parts, bench.org, as_of=day))


async def now(bench: Bench) -> dict[str, tuple[int, int]]:
    return counts(await list_controls(bench.parts, bench.org))


async def today(bench: Bench) -> date:
    return bench.clock.now().date()


async def assert_tallied(bench: Bench) -> None:
    tallied = await bench.query(TALLIED)
    assert len(tallied) > 10
    assert tallied == await bench.query(RECOUNT)


async def test_a_day_is_as_it_was_whatever_comes_later(synced: Bench) -> None:
    await assert_tallied(synced)
    first_day, then = await today(synced), await now(synced)
    assert sum(against for _, against in then.values()) > 0
    assert await as_of(synced, first_day) == then, "what stands now is what the evidence says"
    synced.clock.ahead += timedelta(days=3)
    synced.sandbox.control("story")
    synced.sandbox.change("rotate_key", 3)
    await synced.sync()
    await assert_tallied(synced)
    assert await now(synced) != then
    assert await as_of(synced, first_day) == then
    assert await as_of(synced, first_day + timedelta(days=2)) == then
    synced.clock.ahead += timedelta(days=1)
    await disconnect(synced.parts, synced.org, synced.connection.id)
    assert set((await now(synced)).values()) == {(0, 0)}
    assert await as_of(synced, first_day) == then, "it was connected then"
    assert set((await as_of(synced, await today(synced))).values()) == {(0, 0)}


async def test_what_was_gone_for_a_while_does_not_count_for_that_time(synced: Bench) -> None:
    async def read_only(filter: str | None) -> None:
        own = {"people": {"filter": filter}} if filter else {}
        await reconfigure(synced.parts, synced.org, synced.connection.id, overrides=own)
        await synced.sync("people")
        await assert_tallied(synced)

    synced.clock.ahead += timedelta(days=1)
    await read_only("payload.employment_type != 'contractor'")
    then, day = await now(synced), await today(synced)
    assert then != await as_of(synced, day - timedelta(days=1))
    synced.clock.ahead += timedelta(days=1)
    await read_only(None)
    assert await as_of(synced, day) == then
    assert await as_of(synced, await today(synced)) == await now(synced) != then


async def test_what_was_not_stated_again_in_time_no_longer_speaks(synced: Bench) -> None:
    first_day = await today(synced)
    synced.clock.ahead += STANDS_FOR + timedelta(days=2)
    assert await as_of(synced, first_day + STANDS_FOR - timedelta(days=1)) == await as_of(synced, first_day)
    last = await list_controls(synced.parts, synced.org, as_of=first_day + STANDS_FOR + timedelta(days=1))
    assert {one.status for one in last} == {"no-evidence"}
    assert {one.last_evidence_at for one in last} == {None}


async def test_one_control_stood_as_in_the_list_of_all(synced: Bench) -> None:
    day = await today(synced)
    listed = {one.control.id: one for one in await list_controls(synced.parts, synced.org, as_of=day)}
    told = [one for one in listed.values() if one.status != "no-evidence"]
    for one in [*told[:3], listed["soc2:CC1.1"]]:
        assert await get_control(synced.parts, synced.org, one.control.id, as_of=day) == one
        assert one.unknown is None
    spoken = {check for one in told for check in one.checks}
    async with synced.parts.db.work(synced.org) as work:
        latest = await latest_by_check(work)
    assert spoken == set(latest)
    assert {one.last_evidence_at for one in told} <= set(latest.values())


async def test_a_check_speaks_for_the_controls_that_it_named_then(synced: Bench) -> None:
    day = await today(synced)
    before = await as_of(synced, day)
    parts = replace(synced.parts, catalog=replace(synced.parts.catalog, checks=()))
    assert counts(await list_controls(parts, synced.org, as_of=day)) == before
    assert set(counts(await list_controls(parts, synced.org)).values()) == {(0, 0)}


@pytest.mark.parametrize(
    ("days", "told"), [(1, "still to come"), (-1, "no evidence yet"), (-700_000, "no evidence yet")]
)
async def test_a_day_of_which_nothing_can_be_known_is_refused(synced: Bench, days: int, told: str) -> None:
    with pytest.raises(Invalid, match=told) as refused:
        await list_controls(synced.parts, synced.org, as_of=await today(synced) + timedelta(days=days))
    assert refused.value.details["fields"][0]["field"] == "query.as_of"


async def test_without_any_evidence_no_day_can_be_asked_for(bench: Bench) -> None:
    with pytest.raises(Invalid) as refused:
        await list_controls(bench.parts, bench.org, as_of=await today(bench))
    assert refused.value.what_to_do == "There is none yet."
