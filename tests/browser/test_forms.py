"""What forms ask for is asked by the browser too: each pattern is one that it understands, and what a field gives as an example fits."""

from __future__ import annotations

import re
from html import unescape

from tests.browser.conftest import Visits
from tests.browser.house import House

_FIELD = re.compile(r"<input [^>]*pattern=\"([^\"]+)\"")
_EXAMPLE = re.compile(
    r"</label>\s*<input [^>]*pattern=\"([^\"]+)\"[^>]*>\s*<p class=\"help\"[^>]*>[^<]*<code>([^<…]+)</code>"
)


async def test_browsers_understand_every_pattern_and_the_examples_fit(visit: Visits, house: House) -> None:
    page = await visit("admin")
    patterns, examples = set(), set()
    for slug in house.parts.catalog.providers:
        first = await (await page.request.get(f"/connect/{slug}")).text()
        for by in {"", *re.findall(rf"/connect/{slug}\?by=([\w-]+)", first)}:
            form = await (await page.request.get(f"/connect/{slug}", params={"by": by})).text() if by else first
            patterns |= {unescape(one) for one in _FIELD.findall(form)}
            examples |= {(unescape(one), unescape(example)) for one, example in _EXAMPLE.findall(form)}
    assert len(patterns) > 5
    assert len(examples) > 2
    await page.goto("/")
    fits = "pairs => pairs.filter(([pattern, text]) => !new RegExp(`^(?:${pattern})$`, 'v').test(text))"
    assert await page.evaluate(fits, sorted(examples)) == []
    understood = "all => all.filter(one => { try { new RegExp(one, 'v'); return false } catch { return true } })"
    assert await page.evaluate(understood, sorted(patterns)) == []
