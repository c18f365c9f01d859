"""The steps of the main path, as somebody takes them who reads what the pages say: with script or without, by mouse."""

from __future__ import annotations

import asyncio
import re

from playwright.async_api import Page, expect
from tests.api.shapes import SANDBOX_TOKEN


async def sign_in_as_the_first(page: Page, link: str, email: str = "ada@larkfield.example") -> None:
    """Open the first link, say who one is, and come to an empty Home."""
    await page.goto(link)
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Your name").fill("Ada")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_role("heading", name="Home")).to_be_visible()


async def connect_the_sandbox(page: Page, sandbox_url: str) -> None:
    """Choose the sandbox from the catalogue, fill its form in, and come to its connection."""
    await page.get_by_role("link", name="Choose from the catalogue").click()
    await page.get_by_role("searchbox", name="Search").fill("sandbox")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.locator("#list article")).to_have_count(1)
    await page.locator("#list").get_by_role("link", name="Sandbox").click()
    await page.get_by_role("link", name="Connect", exact=True).click()
    await page.get_by_label(re.compile("address|URL", re.IGNORECASE)).first.fill(sandbox_url)
    await page.locator("input[type=password]").first.fill(SANDBOX_TOKEN)
    await page.get_by_label("Name of the connection").fill("Larkfield")
    await page.get_by_role("button", name="Try it and connect").click()
    await expect(page.get_by_role("heading", name="Larkfield", level=1)).to_be_visible()


async def mute_a_finding(page: Page) -> None:
    """Open the gravest finding and mute it with a reason."""
    await go(page, "Findings")
    await page.locator("#list tbody th a").first.click()
    if not await page.get_by_role("button", name="Mute the finding").count():
        await page.locator("#list tbody th a").first.click()
    await page.get_by_role("textbox", name="Why", exact=True).fill("Accepted until the next review")
    await page.get_by_label("Until the end of").fill("2099-01-31")
    await page.get_by_role("button", name="Mute the finding").click()
    await expect(page.locator("main")).to_contain_text("Muted until")
    await expect(page.locator("main")).to_contain_text("Accepted until the next review")


async def go(page: Page, place: str) -> None:
    """Go to a place by the navigation."""
    await page.get_by_role("navigation", name="Main").get_by_role("link", name=place, exact=True).click()
    await expect(page.get_by_role("heading", name=place, level=1)).to_be_visible()


async def reload_until(page: Page, text: str) -> None:
    """Reload a page until it says something, as somebody without script does."""
    async with asyncio.timeout(60):
        while text not in await page.locator("main").inner_text():
            await asyncio.sleep(0.1)
            await page.reload()
