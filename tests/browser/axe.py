"""axe-core, the checker of accessibility: what it finds on a page as it stands, against WCAG 2.2 at level AA."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from playwright.async_api import Page
from tests.emulators.npm import install

PACKAGE = "axe-core@4.14.1"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]


def load() -> Callable[..., Awaitable[list[str]]]:
    """The checker; raises `MissingCounterpartError` where it cannot be had."""
    source = (install(PACKAGE) / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")

    async def check(page: Page, *, only: list[str] | None = None, within: str = ":root") -> list[str]:
        """Each finding as `rule: element, why`, of each rule the first five; `only` names rules, `within` a part of the page."""
        # Through the debugging protocol, for the policy lets no page run a script from elsewhere; once for each context.
        if not await page.evaluate("Boolean(window.axe)"):
            await page.context.add_init_script(source)
            await page.evaluate(source)
        wish: dict[str, Any] = {
            "runOnly": {"type": "rule", "values": only} if only else {"type": "tag", "values": TAGS}
        }
        wish |= {"resultTypes": ["violations"], "preload": not only}
        found = await page.evaluate("([within, wish]) => axe.run(within, wish)", [within, wish])
        return [_told(one, node) for one in found["violations"] for node in one["nodes"][:5]]

    return check


def _told(violation: dict[str, Any], node: dict[str, Any]) -> str:
    why = "; ".join(one["message"] for one in node["any"] + node["all"] + node["none"])
    return f"{violation['id']}: {' '.join(map(str, node['target']))}, {why or violation['help']}"
