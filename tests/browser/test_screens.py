"""Every screen, found by itself: WCAG 2.2 AA in both themes, and a layout that holds from 320 to 1440 pixels."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import expect
from tests.browser.conftest import Visits
from tests.browser.house import House
from tests.browser.looks import faults_of, faults_of_layout
from tests.web.test_every_page import ROUTES, method_of, path_of

Axe = Callable[..., Awaitable[list[str]]]

STREAM = "/live"
"""How the address of a stream ends, which is a part of a page."""
SCREENS = [one for one in ROUTES if method_of(one) == "GET" and not one.path.endswith(STREAM)]
LISTS = [one.path for one in SCREENS if "{" not in one.path]


@pytest.fixture
def paths(house: House) -> list[str]:
    """The address of every screen in the furnished organization."""
    return [path_of(one, house.scene.ids) for one in SCREENS]


async def test_no_screen_has_a_fault(visit: Visits, paths: list[str], axe: Axe) -> None:
    async def walk(part: list[str]) -> dict[str, str]:
        page, found = await visit("operator"), {}
        for path in part:
            await page.set_viewport_size({"width": 1440, "height": 900})
            answer = await page.goto(path)
            assert answer
            assert answer.status == 200, path
            found[path] = await faults_of(page, axe)
        return found

    first, second = await asyncio.gather(walk(paths[::2]), walk(paths[1::2]))
    assert {path: faults for path, faults in (first | second).items() if faults} == {}


async def test_no_screen_without_anything_has_a_fault(visit: Visits, house: House, axe: Axe) -> None:
    page, found = await visit("operator", org_id=house.scene.other_org_id, width=320), {}
    for path in LISTS:
        await page.goto(path)
        found[path] = await axe(page) + await faults_of_layout(page)
    assert {path: faults for path, faults in found.items() if faults} == {}


async def test_the_frame_has_no_fault_in_either_theme_wide_or_narrow(visit: Visits, axe: Axe) -> None:
    page = await visit("operator")
    await page.goto("/audit")
    await page.emulate_media(color_scheme="dark")
    assert await axe(page) == []
    await page.set_viewport_size({"width": 320, "height": 900})
    await page.locator("summary").filter(has_text="Menu").click()
    await expect(page.get_by_role("link", name="Findings", exact=True)).to_be_visible()
    assert await axe(page) == []
    await page.emulate_media(color_scheme="light")
    assert await axe(page) == []
    assert await faults_of_layout(page) == []
