"""The watch that all browser tests rely on: it sees what a page does wrong."""

from __future__ import annotations

import pytest
from tests.browser.conftest import Visits
from tests.browser.house import House

from tieline.web.route import POLICY

_WRONGS = {
    "Content Security Policy": "<p style='color: red'>Styled in place</p>",
    "404 for": "<img src='/static/nothing.png' alt=''>",
}


@pytest.mark.parametrize("told", _WRONGS)
async def test_a_page_that_does_wrong_is_told_of(visit: Visits, house: House, told: str) -> None:
    page = await visit(None)
    answer = {"body": _WRONGS[told], "headers": {"Content-Security-Policy": POLICY}, "content_type": "text/html"}
    await page.route("**/sign-in", lambda route: route.fulfill(**answer))  # type: ignore[arg-type]
    await page.goto("/sign-in", wait_until="networkidle")
    visit.watch_of(page).forgive(told)


async def test_an_error_in_a_script_is_told_of(visit: Visits) -> None:
    page = await visit(None)
    await page.goto("/sign-in")
    await page.evaluate("setTimeout(() => { throw new Error('it broke') })")
    await page.wait_for_timeout(50)
    visit.watch_of(page).forgive("it broke")


async def test_a_page_that_does_nothing_wrong_passes(visit: Visits) -> None:
    page = await visit("operator")
    answer = await page.goto("/")
    assert answer
    assert answer.status == 200
    assert visit.watch_of(page).wrong == []
