"""The storm of `storm.py`, a short one; and the proof that it would notice what it looks for."""

import pytest
from tests.engine.steps import Place
from tests.engine.storm import Storm, rage

from tieline.store.db import Db


async def test_in_a_storm_of_kills_no_trigger_is_lost_nothing_runs_twice_at_once_and_every_page_is_there_once(
    db: Db, place: Place
) -> None:
    tally = await rage(place, Storm(runs=40, kills=3, crashes=0, every=(0.5, 1.0)))
    assert tally.is_clean, tally
    assert tally.runs >= 40


async def test_when_the_database_crashes_in_a_storm_nothing_is_lost_or_runs_twice_or_side_by_side(
    db: Db, place: Place
) -> None:
    tally = await rage(place, Storm(runs=30, kills=1, crashes=1, every=(0.5, 1.0)))
    assert tally.is_clean, tally
    assert tally.runs >= 30


@pytest.mark.parametrize(
    ("mutant", "patience", "seen"),
    [("no hold", 4, ("overlapping", "torn")), ("no re-arm", 60, ("lost",))],
    ids=["no hold", "no re-arm"],
)
async def test_the_storm_shows_what_a_mutant_lacks(
    db: Db, place: Place, mutant: str, patience: float, seen: tuple[str, ...]
) -> None:
    tally = await rage(place, Storm(20, 0, 0, processes=2, keys=6, mutant=mutant, patience=patience))
    assert any(getattr(tally, one) for one in seen)
