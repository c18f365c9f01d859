"""Two organizations in two browsers side by side: each sees its own rows alone, and the other's addresses lead nowhere."""

from __future__ import annotations

import re

from playwright.async_api import Page, expect
from tests.api.shapes import SANDBOX_TOKEN
from tests.browser.conftest import Visits
from tests.browser.house import House
from tests.web.test_every_page import ROUTES, SHARED, method_of, path_of

from tieline.flows.connect import Attempt, connect

LISTS = ("/", "/connections", "/runs", "/entities", "/findings", "/evidence", "/access", "/audit")


async def test_neither_sees_what_is_the_others(visit: Visits, house: House) -> None:
    other = await house.new_organization("Ferrow & Sons")
    attempt = Attempt("sandbox", {"base_url": house.sandbox_url}, {"token": SANDBOX_TOKEN}, "Ferrow's sandbox")
    connection = await connect(house.parts, other, attempt)
    ours, theirs = await visit("admin", name="Ada"), await visit("admin", org_id=other, name="Grace")
    for path in LISTS:
        for page in (ours, theirs):
            await page.goto(path)
        seen, shown = await ours.content(), await theirs.content()
        assert connection.id not in seen
        assert "Ferrow" not in seen
        assert not [one for name, one in house.scene.ids.items() if name not in {*SHARED, "ticket"} and one in shown]
        assert "Ferrow" in shown
    await expect(theirs.get_by_text("Grace").locator("visible=true").first).to_be_visible()
    assert await status_of(ours, f"/connections/{connection.id}") == 404
    assert await status_of(theirs, f"/connections/{connection.id}") == 200


async def test_the_addresses_of_one_lead_nowhere_in_the_other(visit: Visits, house: House) -> None:
    ours, theirs = await visit("admin"), await visit("admin", org_id=house.scene.other_org_id)
    tried = 0
    for route in ROUTES:
        if method_of(route) != "GET" or not set(re.findall(r"{(\w+)}", route.path)) - SHARED:
            continue
        path = path_of(route, house.scene.ids)
        assert (await theirs.request.get(path)).status == 404, path
        assert (await ours.request.get(path)).status == 200, path
        tried += 1
    assert tried > 5


async def test_signing_out_of_one_leaves_the_other_alone(visit: Visits, house: House) -> None:
    ours, theirs = await visit("admin"), await visit("admin", org_id=house.scene.other_org_id)
    await ours.goto("/")
    await ours.get_by_role("button", name="Sign out").locator("visible=true").click()
    await expect(ours.get_by_role("heading", name="Sign in")).to_be_visible()
    assert await status_of(theirs, "/") == 200
    await expect(theirs.get_by_role("heading", name="Home")).to_be_visible()


async def status_of(page: Page, path: str) -> int:
    """Open a page; its status."""
    answer = await page.goto(path)
    assert answer
    return answer.status
