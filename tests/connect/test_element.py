"""The element: small, whole in one file, for any site, and asked for again."""

from __future__ import annotations

import importlib.resources
import re

from tests.oauth.conftest import World

_STATIC = importlib.resources.files("tieline.connect") / "static"


def test_it_is_under_three_kilobytes_and_imports_nothing() -> None:
    text = (_STATIC / "connect.js").read_bytes()
    assert len(text) < 3_000
    assert not re.search(rb"\bimport\s*[({\"'*\w]|\brequire\b|\beval\b|https?:", text)


def test_neither_script_posts_to_whoever_listens() -> None:
    for name in ("connect.js", "pages.js"):
        text = (_STATIC / name).read_text()
        assert '"*"' not in text
        assert "'*'" not in text
        assert all(call.endswith(", origin)") for call in re.findall(r"postMessage\([^)]*\)", text))


def test_all_that_the_pages_bring_is_small() -> None:
    assert sum(len((_STATIC / name).read_bytes()) for name in ("pages.js", "connect.css")) < 5_000


async def test_any_site_may_load_it_and_keeps_it_for_a_while(house: World) -> None:
    async with house.client() as client:
        answer = await client.get(
            "/connect.js", headers={"Origin": "https://app.example", "Accept-Encoding": "identity"}
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["cache-control"] == "public, max-age=600"
        assert "set-cookie" not in answer.headers
        again = await client.get("/connect.js", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        packed = await client.get("/connect.js", headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == answer.content


async def test_the_files_of_the_pages_are_kept_for_good(house: World) -> None:
    async with house.client() as client:
        page = await client.get("/connect-session/x")
        assert page.status_code == 404
        files = re.findall(r'(?:href|src)="(/(?:connect-)?static/[^"]+)"', page.text)
        assert len(files) == 4
        for path in files:
            answer = await client.get(path)
            assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True), path
        assert (await client.get("/connect-static/nothing.js")).status_code == 404
