"""How a page is laid out: what reaches over the edge, what is cut, what is too small to be hit. And all that is looked for on a screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from playwright.async_api import Page

WIDTHS = (1440, 897, 641, 320)
"""The widest and the narrowest, and the narrowest of the two layouts between."""
OF_COLOUR = ["color-contrast", "link-in-text-block"]
"""The rules of axe whose answer depends on the theme."""
OF_SIZE = ["target-size"]
"""The rule whose answer depends on the width."""

_LOOK = r"""() => {
  const faults = [];
  const name = (one) => {
    const text = (one.innerText || one.value || "").trim().replace(/\s+/g, " ").slice(0, 40);
    const of = one.closest("[id]");
    return `${one.tagName.toLowerCase()}${one.id ? "#" + one.id : ""}${one.className?.baseVal ?? (one.className && "." + one.className)}` +
      `${of && of !== one ? " in #" + of.id : ""}${text ? ` “${text}”` : ""}`;
  };
  const heard = (one) => one && (getComputedStyle(one).clipPath !== "none" || heard(one.parentElement));  // by screen readers alone
  const shown = (one) => one.checkVisibility({visibilityProperty: true}) && !one.closest(".skip") && !heard(one);
  const scrolls = (one) => {
    for (let up = one; up && up !== document.body; up = up.parentElement)
      if (["auto", "scroll"].includes(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  const wide = document.documentElement.clientWidth;
  const all = [...document.body.querySelectorAll("*")].filter(shown);
  if (document.documentElement.scrollWidth > wide) {
    const over = all.filter((one) => one.getBoundingClientRect().right > wide + 0.5 && !scrolls(one));
    const inner = over.filter((one) => !over.some((other) => other !== one && one.contains(other)));
    faults.push(...inner.map((one) => `reaches ${Math.round(one.getBoundingClientRect().right - wide)} px over the edge: ${name(one)}`));
    if (!inner.length) faults.push(`the page is ${document.documentElement.scrollWidth - wide} px too wide`);
  }
  for (const one of all) {
    const style = getComputedStyle(one);
    const cuts = ["hidden", "clip"].includes(style.overflowX) || ["hidden", "clip"].includes(style.overflowY);
    if (cuts && one.innerText && (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1))
      faults.push(`is cut: ${name(one)}`);
    if (one.matches("th, td, dd, dt, .button, .badge, h1, h2, h3, p") && one.clientWidth && one.scrollWidth > one.clientWidth + 1 && !scrolls(one))
      faults.push(`does not fit its place by ${one.scrollWidth - one.clientWidth} px: ${name(one)}`);
    if (one.matches("button, select, textarea, summary, .button, input:not([type=checkbox], [type=radio], [type=hidden])")) {
      const box = one.getBoundingClientRect();
      if (box.width < 24 || box.height < 24)
        faults.push(`is ${Math.round(box.width)} × ${Math.round(box.height)} px, too small to be hit: ${name(one)}`);
    }
  }
  return faults;
}"""


_LONG = 12
_SHORTEN = f"document.querySelectorAll('tbody tr:nth-child(n + {_LONG}), .grid > article:nth-child(n + {_LONG})').forEach(one => one.remove())"


async def faults_of_layout(page: Page) -> list[str]:
    """What reaches over the right edge, what text is cut, and what is smaller than 24 px though it is to be hit."""
    found: list[str] = await page.evaluate(_LOOK)
    return found


async def faults_of(page: Page, axe: Callable[..., Awaitable[list[str]]]) -> str:
    """All that is looked for on a screen: WCAG 2.2 AA in both themes, and its layout from the widest to the narrowest.

    Of what axe asks, only what the theme or the width can change is asked again, and not of the frame, which is the same around each page;
    of a long list the first rows stand for the others.
    One line each; nothing is the empty text.
    """
    await page.evaluate(_SHORTEN)
    faults = await axe(page)
    await page.emulate_media(color_scheme="dark")
    faults += [f"dark: {one}" for one in await axe(page, only=OF_COLOUR, within="main")]
    await page.emulate_media(color_scheme="light")
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        faults += [f"at {width} px: {one}" for one in await faults_of_layout(page)]
    faults += [f"at {width} px: {one}" for one in await axe(page, only=OF_SIZE, within="main")]
    return "\n".join(faults)
