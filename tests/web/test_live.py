"""Live parts of a page: sent when they change, over when what they show is, and no longer than the session lasts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from tests.api.shapes import Scene
from tests.web.conftest import HOST, Signs

from tieline.api.app import create_api
from tieline.errors import NotFound
from tieline.flows.parts import Parts
from tieline.store.sessions import end_sessions_of
from tieline.vault import LocalKeyRing
from tieline.web import live
from tieline.web.app import add_console
from tieline.web.page import AnyPage, Page
from tieline.web.route import ConsoleRoute

Script = Callable[[Page, int], Awaitable[tuple[str, bool]]]


@pytest.fixture
def follow(
    parts: Parts, ring: LocalKeyRing, sign_in: Signs, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Script], Awaitable[str]]:
    """All that is sent of a part that is scripted: `script(page, times)` for each look."""
    monkeypatch.setattr(live, "LOOK_EVERY", 0.0)

    async def run(script: Script) -> str:
        browser = await sign_in(scene.org_id, "auditor")
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(_app(parts, ring, script)), base_url=HOST
        ) as client:
            client.cookies = browser.client.cookies
            answer = await client.get("/part")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        return answer.text

    return run


def _app(parts: Parts, ring: LocalKeyRing, script: Script) -> FastAPI:
    app, router, looks = create_api(parts, ring), APIRouter(route_class=ConsoleRoute), iter(range(1, 100))

    @router.get("/part")
    async def part(page: AnyPage) -> object:
        return live.stream(page, lambda: script(page, next(looks)))

    app.include_router(router)
    add_console(app)
    return app


async def test_a_part_is_sent_when_it_changes_until_it_is_over(follow: Callable[[Script], Awaitable[str]]) -> None:
    async def script(_page: Page, times: int) -> tuple[str, bool]:
        return ("<p>a\nb</p>" if times < 4 else "<p>c</p>", times == 4)

    sent = await follow(script)
    assert sent.count("event: part") == 2
    assert "event: part\ndata: <p>a\ndata: b</p>\n\n" in sent
    assert sent.count(": still here") == 2
    assert sent.endswith("data: <p>c</p>\n\nevent: over\ndata: \n\n")


async def test_a_part_whose_thing_is_gone_ends(follow: Callable[[Script], Awaitable[str]]) -> None:
    async def script(_page: Page, times: int) -> tuple[str, bool]:
        if times == 2:
            raise NotFound("gone")
        return "a", False

    assert await follow(script) == "event: part\ndata: a\n\nevent: over\ndata: \n\n"


async def test_a_part_is_shown_no_longer_than_the_session_lasts(follow: Callable[[Script], Awaitable[str]]) -> None:
    async def script(page: Page, times: int) -> tuple[str, bool]:
        if times == 2:
            async with page.parts.db.work(page.org_id) as work:
                await end_sessions_of(work, page.signed_in.member.id)
        assert times < 3, "it looked on after the session had ended"
        return str(times), False

    assert (await follow(script)).count("event: part") == 2
