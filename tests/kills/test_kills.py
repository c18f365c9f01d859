"""Kill -9 at every named point, start again, and the same stands as if nothing had happened."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kills.campaign import ONCE, ONCE_BESIDES, POINTS, once, planned
from tests.kills.mutants import MUTANTS
from tests.kills.standing import but_for_readings, differences
from tests.kills.story import SYNCS, Stage, comings_and_goings, live, workshop
from tests.kills.world import PAGE, served

import tieline
from tieline import faults

pytestmark = [pytest.mark.xdist_group("kills"), pytest.mark.timeout(600)]

REVEALED_AT: dict[str, list[str]] = {
    "the place of a page is committed before the page": ["page.entities:2"],
    "evidence is committed apart from its page": ["page.checkpoint:1"],
    "a hold is not fenced": ["page.fetched:2:freeze"],
}
"""Where a fault shows each mutant."""

FIRST_SYNC, TWO_SYNCS = SYNCS[:2], SYNCS[:3]


@pytest.fixture(scope="module")
def stage(server: str, template: str, place: Path) -> Iterator[Stage]:
    folder = place / "kills"
    folder.mkdir()
    with served() as world:
        yield Stage(server, template, world, folder)


def test_every_point_is_passed_somewhere_and_what_is_passed_is_in_the_register() -> None:
    source = "".join(path.read_text() for path in Path(tieline.__file__).parent.rglob("*.py"))
    passed = Counter(re.findall(r'faults\.passing\("([^"]+)"\)', source))
    assert passed == dict.fromkeys(faults.POINTS, 1)


async def test_lives_with_a_kill_at_each_point_end_as_if_undisturbed(stage: Stage) -> None:
    async with workshop() as shop, workshop() as other:
        for story, plan in ((SYNCS, ONCE), (comings_and_goings("ab"), ONCE_BESIDES)):
            quiet, killed = live(stage, shop, story), live(stage, other, story, once(plan))
            (undisturbed, _), (stands, faults) = await asyncio.gather(quiet, killed)
            assert sorted(faults) == sorted(planned(plan)), "each kill hit its window"
            assert differences(stands, undisturbed) == []
    killed_at = Counter(one.partition(":")[0] for one in [*planned(ONCE), *planned(ONCE_BESIDES)])
    assert {*killed_at} == {*POINTS}
    assert Counter(stage.log.read_text().split()) == killed_at


async def test_a_kill_within_a_page_that_is_stored_in_parts_loses_nothing_and_keeps_nothing_twice(stage: Stage) -> None:
    plan = {
        (1, "work"): ["page.committed:1", "page.checkpoint:2"],
        (2, "work"): ["page.committed:3", "page.committed:1"],
    }
    async with workshop() as shop:
        undisturbed, _ = await live(stage, shop, TWO_SYNCS, batch=PAGE - 3)
        stands, hit = await live(stage, shop, TWO_SYNCS, once(plan), batch=PAGE - 3)
    assert hit == planned(plan)
    assert differences(but_for_readings(stands), but_for_readings(undisturbed)) == []


async def test_what_is_wrong_on_purpose_shows(stage: Stage) -> None:
    async with workshop() as shop:
        undisturbed, _ = await live(stage, shop, FIRST_SYNC)
        for name, faults in REVEALED_AT.items():
            stands, hit = await live(stage, shop, FIRST_SYNC, once({(1, "work"): faults}), mutant=name)
            assert hit == faults
            assert differences(stands, undisturbed) != [], name
    assert set(REVEALED_AT) == set(MUTANTS)
