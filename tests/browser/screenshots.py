"""Pictures of every screen, into `docs/screens`: `scripts/screenshots`, or `python -m tests.browser.screenshots [NAME …]`.

The screens are found by themselves, as the tests find them; they show a company that has lived with Tieline for a week.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, async_playwright
from tests.browser.company import company
from tests.browser.house import House
from tests.browser.test_screens import SCREENS
from tests.browser.visits import ADVICE, find_chromium, options_here
from tests.browser.weight import Weight, weigh
from tests.web.test_every_page import path_of

from tieline.flows.connect_sessions import Offer, create_session

FOLDER = Path(__file__).parents[2] / "docs" / "screens"
HEIGHT = 1000
"""Of a picture at most: what a person sees without much scrolling."""
DARK = ("home", "findings", "finding", "connection")
NARROW = ("home", "findings", "connection", "connect-form")


@dataclass(frozen=True)
class Shot:
    """One picture: its name, what it shows, where that is, and how it is looked at."""

    name: str
    about: str
    path: str
    dark: bool = False
    width: int = 1440
    signed_in: bool = True


async def take(names: Sequence[str]) -> None:
    """Take the pictures of these names, or all, and write the page that shows them."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit(ADVICE)
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with company() as house, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=options_here())
        shots = await _shots(house)
        photographer = Photographer(
            browser, house, await house.member(house.scene.org_id, "operator", "Ines Halvorsen")
        )
        async with house.working():
            for shot in shots:
                if not names or shot.name in names:
                    await photographer.take(shot)
            light = await photographer.weigh()
        await browser.close()
    if not names:
        (FOLDER / "README.md").write_text(_page(shots, light), "utf-8")
    size = sum(one.stat().st_size for one in FOLDER.glob("*.png"))
    print(  # noqa: T201
        f"{len(shots)} pictures, {size / 1e6:.1f} MB; the first visit of Home: {light.requests} requests, {light.bytes} bytes"
    )


async def _shots(house: House) -> list[Shot]:
    known = [(one, one.name.removeprefix("show_").replace("_", "-")) for one in SCREENS]
    plain = [
        Shot(name, (one.endpoint.__doc__ or "").splitlines()[0], path_of(one, house.scene.ids)) for one, name in known
    ]
    session = await create_session(house.parts, house.scene.org_id, Offer())
    plain += [
        Shot(
            "connect-form",
            "Ask for what a provider's way needs, beside what is to be done there.",
            "/connect/aws?by=access_key",
        ),
        Shot("sign-in", "Say how to sign in.", "/sign-in", signed_in=False),
        Shot(
            "connect-session",
            "Connect, as a product's own customers meet it.",
            session.url.partition(house.url)[2],
            signed_in=False,
        ),
        Shot("nowhere", "Say that there is nothing at an address.", "/nowhere"),
    ]
    dark = [Shot(f"{one.name}-dark", one.about, one.path, dark=True) for one in plain if one.name in DARK]
    narrow = [Shot(f"{one.name}-narrow", one.about, one.path, width=320) for one in plain if one.name in NARROW]
    return plain + dark + narrow


@dataclass(frozen=True)
class Photographer:
    """Somebody signed in who takes pictures."""

    browser: Browser
    house: House
    cookie: str = field(repr=False)

    async def take(self, shot: Shot) -> None:
        """Take one picture, as high as the page is but no higher than `HEIGHT`."""
        context = await self._context(shot)
        page = await context.new_page()
        await page.goto(shot.path)
        high = await page.evaluate("document.documentElement.scrollHeight")
        await page.set_viewport_size({"width": shot.width, "height": min(max(high, 600), HEIGHT)})
        (FOLDER / f"{shot.name}.png").write_bytes(await pack(self.browser, await page.screenshot()))
        await context.close()

    async def weigh(self) -> Weight:
        """What the first visit of Home transfers."""
        context = await self._context(Shot("home", "", "/"))
        weight = await weigh(await context.new_page(), "/")
        await context.close()
        return weight

    async def _context(self, shot: Shot) -> BrowserContext:
        context = await self.browser.new_context(
            base_url=self.house.url,
            viewport={"width": shot.width, "height": 800},
            color_scheme="dark" if shot.dark else "light",
            reduced_motion="reduce",
        )
        if shot.signed_in:
            await context.add_cookies([{"name": "tieline_session", "value": self.cookie, "url": self.house.url}])
        return context


_FEW_COLOURS = """async (picture) => {
  const bitmap = await createImageBitmap(await (await fetch(picture)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  canvas.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(canvas.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
  const often = new Map();
  for (const one of pixels) often.set(one, (often.get(one) ?? 0) + 1);
  const palette = [...often].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([one]) => one);
  const parts = (one) => [one & 255, (one >> 8) & 255, (one >> 16) & 255];
  const known = palette.map(parts), place = new Map();
  for (const one of often.keys()) {
    const [r, g, b] = parts(one);
    let best = 0, least = Infinity;
    for (let i = 0; i < known.length; i++) {
      const far = (known[i][0] - r) ** 2 + (known[i][1] - g) ** 2 + (known[i][2] - b) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    place.set(one, best);
  }
  const lines = new Uint8Array((bitmap.width + 1) * bitmap.height);
  for (let y = 0; y < bitmap.height; y++)
    for (let x = 0; x < bitmap.width; x++) lines[y * (bitmap.width + 1) + x + 1] = place.get(pixels[y * bitmap.width + x]);
  let text = "";
  for (let at = 0; at < lines.length; at += 32768) text += String.fromCharCode(...lines.subarray(at, at + 32768));
  return {palette: known.flat(), lines: btoa(text)};
}"""


async def pack(browser: Browser, picture: bytes) -> bytes:
    """The PNG in its 256 commonest colours, which is all that a page of text needs: a third of the bytes. The browser counts."""
    page = await browser.new_page()
    few = await page.evaluate(_FEW_COLOURS, f"data:image/png;base64,{b64encode(picture).decode()}")
    await page.close()
    width, height = struct.unpack(">II", picture[16:24])
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": bytes(few["palette"]),
        b"IDAT": zlib.compress(b64decode(few["lines"]), 9),
        b"IEND": b"",
    }
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return picture[:8] + b"".join(framed)


def _page(shots: Sequence[Shot], light: Weight) -> str:
    lines = [
        "# Every screen of the console",
        "",
        (
            "Taken by `scripts/screenshots` of a made-up company that has lived with Tieline for a week. "
            f"The first visit of Home transfers {light.bytes / 1000:.0f} kB in {light.requests} requests."
        ),
    ]
    for one in shots:
        lines += ["", f"## {one.name}", "", one.about, "", f"![{one.about}]({one.name}.png)"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    asyncio.run(take(sys.argv[1:]))
