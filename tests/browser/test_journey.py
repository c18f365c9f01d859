"""The whole job, in a browser: from the link that the first start shows to an evidence pack that verifies offline."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from zipfile import ZipFile

from playwright.async_api import Page, expect
from tests.browser import steps
from tests.browser.conftest import Visits, new_database


@asynccontextmanager
async def tieline(*command: str, database_url: str, folder: Path) -> AsyncIterator[asyncio.StreamReader]:
    """`tieline …` as a process of its own; what it writes."""
    settings = {
        "TIELINE_DATABASE_URL": database_url, "TIELINE_DATA_DIR": str(folder), "TIELINE_ALLOW_PRIVATE_ADDRESSES": "127.0.0.1",
        "TIELINE_HEARTBEAT_SECONDS": "2", "TIELINE_LOG_LEVEL": "error",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tieline", *command, stdout=asyncio.subprocess.PIPE, env=os.environ | settings
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        process.send_signal(signal.SIGTERM)
        await process.stdout.read()
        assert await process.wait() == 0


async def read_link(out: asyncio.StreamReader) -> str:
    """The link that the first start shows."""
    async with asyncio.timeout(60):
        async for line in out:
            if found := re.search(rb"http://\S+/sign-in/link/\S+", line):
                return found[0].decode()
    raise AssertionError("no link was shown")


async def test_from_the_first_start_to_an_evidence_pack(
    visit: Visits, server: str, template: str, sandbox_url: str, tmp_path: Path
) -> None:
    place = {"database_url": await new_database(server, template), "folder": tmp_path}
    async with tieline("serve", "--port", "0", "--role", "api", **place) as out:
        link = await read_link(out)
        page = await visit(None, url=link.partition("/sign-in")[0])
        await steps.sign_in_as_the_first(page, link)
        await steps.connect_the_sandbox(page, sandbox_url)
        await steps.go(page, "Runs")
        await page.locator("#list tbody th a").filter(has_text="people").first.click()
        await expect(page.locator("#state")).to_have_text("Queued")
        await page.evaluate("() => { window.unchanged = true }")
        async with tieline("worker", **place):
            await expect(page.locator("#state")).to_have_text("Succeeded", timeout=60_000)
            assert await page.evaluate("window.unchanged"), "the run was followed by loading the page anew"
            await look_at_entities(page)
            await steps.mute_a_finding(page)
            await look_at_a_control(page)
            await take_a_pack(page, tmp_path)
            await page.get_by_role("button", name="Sign out").first.click()
            await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
            await page.goto("/findings")
            assert page.url.endswith("/sign-in?next=/findings")


async def look_at_entities(page: Page) -> None:
    """Look at an account and what the checks say of it."""
    await steps.go(page, "Entities")
    await page.get_by_role("link", name=re.compile("Account")).first.click()
    await page.locator("#list tbody th a").first.click()
    await expect(page.get_by_role("heading", name=re.compile("check", re.IGNORECASE)).first).to_be_visible()


async def look_at_a_control(page: Page) -> None:
    """Look at the control that the muted finding speaks against."""
    await page.goto("/controls/soc2:CC6.1")
    await expect(page.get_by_role("heading", name="Latest evidence against it")).to_be_visible()
    await expect(page.locator("#contradicts + ul li, #contradicts").first).to_be_visible()


async def take_a_pack(page: Page, folder: Path) -> None:
    """Export the evidence and verify it with the script that it carries, by a Python that knows nothing of Tieline."""
    await steps.go(page, "Evidence")
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Export as an evidence pack").click()
    download = await downloading.value
    await download.save_as(folder / "pack.zip")
    with ZipFile(folder / "pack.zip") as pack:
        pack.extractall(folder / "pack")
        script = next(one for one in pack.namelist() if one.endswith("verify.py"))
    verifying = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(folder / "pack" / script), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await verifying.communicate()
    assert verifying.returncode == 0, told
