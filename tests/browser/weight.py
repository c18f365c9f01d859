"""What a visit transfers: requests made and bytes received, as the browser counts them (headers too, compressed as they came)."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.async_api import Page


@dataclass
class Weight:
    """Requests, bytes, and the bytes of each address."""

    requests: int
    bytes: int
    parts: dict[str, int]


async def weigh(page: Page, path: str) -> Weight:
    """Open an address and weigh all that comes, until nothing more is asked for."""
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    asked: dict[str, str] = {}
    came: dict[str, int] = {}
    session.on("Network.requestWillBeSent", lambda one: asked.update({one["requestId"]: one["request"]["url"]}))
    session.on("Network.loadingFinished", lambda one: came.update({one["requestId"]: int(one["encodedDataLength"])}))
    await page.goto(path, wait_until="networkidle")
    await session.detach()
    parts = {asked[one].partition("//")[2].partition("/")[2] or "/": size for one, size in came.items() if one in asked}
    return Weight(len(asked), sum(came.values()), parts)
