"""Without JavaScript every page still does its job."""

from __future__ import annotations

from playwright.async_api import expect
from tests.browser import steps
from tests.browser.conftest import Visits
from tests.browser.house import House

from tieline.flows.sign_in import make_first_link


async def test_the_main_path_needs_no_script(visit: Visits, house: House) -> None:
    link = await make_first_link(house.parts, await house.new_organization())
    assert link
    page = await visit(None, script=False)
    await steps.sign_in_as_the_first(page, link.url(house.url))
    await steps.connect_the_sandbox(page, house.sandbox_url)
    async with house.working():
        await steps.go(page, "Runs")
        await page.locator("#list tbody th a").filter(has_text="people").first.click()
        await steps.reload_until(page, "Succeeded")
    await steps.mute_a_finding(page)
    await steps.go(page, "Evidence")
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Export as an evidence pack").click()
    assert (await downloading.value).suggested_filename.endswith(".zip")
    await page.get_by_role("button", name="Sign out").first.click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_the_theme_is_chosen_without_script(visit: Visits) -> None:
    page = await visit("auditor", script=False)
    await page.goto("/findings")
    for theme in ("Dark", "Light"):
        await page.get_by_role("button", name=theme, exact=True).locator("visible=true").click()
        await expect(page.locator("html")).to_have_attribute("data-theme", theme.lower())
        assert page.url.endswith("/findings")
