"""What the first visit of Home costs whoever comes: few requests, few bytes; and the second one next to nothing."""

from __future__ import annotations

from tests.browser.conftest import Visits
from tests.browser.weight import weigh


async def test_the_first_visit_of_home_is_light(visit: Visits) -> None:
    page = await visit("operator")
    first = await weigh(page, "/")
    assert 1 <= first.requests <= 12
    assert 1000 < first.bytes < 100_000
    assert len(first.parts) == first.requests, "a part never came"

    again = await weigh(page, "/findings")
    assert again.bytes < 40_000, "what never changes was sent again"
