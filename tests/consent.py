"""A person before the page that asks whether to connect: who reads it, agrees or declines, and is led on."""

from __future__ import annotations

import html
import re

import httpx2


def form_in(page: str) -> dict[str, str]:
    """What the page's form carries."""
    (consent,) = re.findall(r'name="consent" value="([^"]+)"', page)
    return {"consent": consent}


def address_in(page: str) -> str:
    """The address that a page leads on to: by itself, and by its link."""
    (by_itself,) = re.findall(r'http-equiv="refresh" content="0;url=([^"]+)"', page)
    (linked,) = re.findall(r'<a href="([^"]+)"', page)
    assert by_itself == linked
    return html.unescape(linked)


async def agree(client: httpx2.AsyncClient, url: str, answer: str = "continue") -> httpx2.Response:
    """Open a begin address and answer the page; the page that was refused, or the one after the answer."""
    asked = await client.get(url)
    if asked.status_code != 200:
        return asked
    return await client.post(url, data=form_in(asked.text) | {"answer": answer})
