"""The main path by keyboard alone: the focus is always to be seen, is never lost, and is never caught."""

from __future__ import annotations

import re

from playwright.async_api import Locator, Page, expect
from tests.api.shapes import SANDBOX_TOKEN
from tests.browser.conftest import Visits
from tests.browser.house import House

from tieline.flows.sign_in import make_first_link

_FOCUS = r"""() => {
  const one = document.activeElement;
  if (!one || one === document.body) return "";
  const style = getComputedStyle(one), box = one.getBoundingClientRect();
  const name = `${one.tagName.toLowerCase()} “${(one.innerText || one.labels?.[0]?.innerText || one.value || "").trim().slice(0, 40)}”`;
  if (!one.checkVisibility({visibilityProperty: true, opacityProperty: true})) return `unseen: ${name}`;
  if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) return `without an outline: ${name}`;
  const x = Math.min(Math.max(box.x + box.width / 2, 0), innerWidth - 1);
  const y = box.height > innerHeight ? innerHeight / 2 : box.y + box.height / 2;
  if (y < 0 || y > innerHeight) return `out of sight: ${name}`;
  const there = document.elementFromPoint(x, y);
  if (!there || !(one.contains(there) || there.contains(one))) return `covered: ${name}`;
  one.dataset.nth ??= Math.random();
  return `${name} ${one.dataset.nth}`;
}"""
"""What has the focus, or what is wrong with that."""
_WRONG = ("unseen", "without", "out of sight", "covered")


async def focus(page: Page) -> str:
    """What has the focus; it is to be seen."""
    found: str = await page.evaluate(_FOCUS)
    assert not found.startswith(_WRONG), found
    return found


async def reach(page: Page, wanted: Locator) -> None:
    """Press Tab until something has the focus."""
    aim = await wanted.element_handle()
    for _ in range(150):
        if await page.evaluate("one => one === document.activeElement", aim):
            return
        await page.keyboard.press("Tab")
        await focus(page)
    raise AssertionError(f"the keyboard does not reach {wanted}")


async def press(page: Page, wanted: Locator) -> None:
    """Reach a link or a button and take it."""
    await reach(page, wanted)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")


async def skip(page: Page) -> None:
    """Skip to the page, as who works without a mouse does."""
    await page.keyboard.press("Tab")
    assert "Skip to the page" in await focus(page)
    await page.keyboard.press("Enter")


async def write(page: Page, wanted: Locator, text: str) -> None:
    """Reach a field and write into it."""
    await reach(page, wanted)
    await page.keyboard.type(text)


async def test_the_main_path_needs_no_mouse(visit: Visits, house: House) -> None:
    org_id = await house.new_organization()
    link = await make_first_link(house.parts, org_id)
    assert link
    page = await visit(None)
    await page.goto(link.url(house.url))
    await write(page, page.get_by_label("E-mail address"), "ada@larkfield.example")
    await press(page, page.get_by_role("button", name="Sign in", exact=True))

    await skip(page)
    await press(page, page.get_by_role("link", name="Choose from the catalogue"))
    await skip(page)
    await write(page, page.get_by_role("searchbox", name="Search"), "sandbox")
    await page.keyboard.press("Enter")
    await expect(page.locator("#list article")).to_have_count(1)
    await press(page, page.locator("#list").get_by_role("link", name="Sandbox"))
    await skip(page)
    await press(page, page.get_by_role("link", name="Connect", exact=True))
    await skip(page)
    await write(page, page.locator("input[type=url], input[name$=base_url]").first, house.sandbox_url)
    await write(page, page.locator("input[type=password]").first, SANDBOX_TOKEN)
    async with house.working():
        async with page.expect_navigation():
            await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Larkfield")
        await press(page, page.get_by_role("navigation", name="Main").get_by_role("link", name="Findings"))
        while not await page.locator("#list tbody tr").count():
            await page.reload()

    await skip(page)
    await press(page, page.locator("#list tbody th a").first)
    if await page.locator("#list tbody th a").count():
        await skip(page)
        await press(page, page.locator("#list tbody th a").first)
    await skip(page)
    await write(page, page.get_by_role("textbox", name="Why", exact=True), "Accepted until the next review")
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_contain_text("Muted for good: Accepted until the next review")


async def test_the_first_stop_skips_to_the_page(visit: Visits) -> None:
    page = await visit("admin")
    await page.goto("/findings")
    await page.keyboard.press("Tab")
    assert "Skip to the page" in await focus(page)
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.querySelector('main').contains(document.activeElement)")


async def test_filtering_keeps_the_focus_where_it_is(visit: Visits) -> None:
    page = await visit("admin")
    await page.goto("/runs")
    state = page.get_by_label("State", exact=True)
    await reach(page, state)
    async with page.expect_response(lambda answer: "status=" in answer.url):
        await page.keyboard.press("ArrowDown")
    await expect(page).to_have_url(re.compile("status="))
    await expect(state).to_be_focused()


async def test_tab_goes_around_each_kind_of_page(visit: Visits, house: House) -> None:
    page = await visit("operator")
    ids = house.scene.ids
    for path in (
        "/",
        "/findings/" + ids["finding_id"],
        "/connect/gcp",
        "/connections/" + ids["connection_id"],
        "/access",
    ):
        await page.goto(path)
        await page.keyboard.press("Tab")
        first, seen = await focus(page), 1
        assert "Skip" in first
        await page.keyboard.press("Tab")
        while (now := await focus(page)) and now != first:
            seen += 1
            assert seen < 400, f"the focus is caught on {path}: {now}"
            await page.keyboard.press("Tab")
        assert seen > 10, path


async def test_the_menu_of_a_narrow_screen_opens_by_key(visit: Visits) -> None:
    page = await visit("admin", width=320)
    await page.goto("/")
    await reach(page, page.locator("summary").filter(has_text="Menu"))
    await page.keyboard.press("Space")
    await press(page, page.get_by_role("navigation", name="Menu").get_by_role("link", name="Findings"))
    await expect(page.get_by_role("heading", name="Findings", level=1)).to_be_visible()
