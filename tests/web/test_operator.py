"""Operator in the console: the engine in words, keys with the re-wrap, organizations, and nothing for other roles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Signs
from tests.web.test_every_page import check_page

from tieline.flows.parts import Parts
from tieline.store.admission import EngineCounts
from tieline.store.audit import list_entries
from tieline.store.listing import Paging
from tieline.web.pages.operator import judge_engine

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("waiting", "held", "minutes", "tone", "told"),
    [
        (0, 0, 0, "good", "Nothing that is due waits"),
        (3, 2, 1, "good", "being taken up"),
        (3, 2, 30, "warn", "Start another"),
        (3, 0, 30, "bad", "Is a worker running?"),
    ],
)
def test_the_engine_is_told_in_words(waiting: int, held: int, minutes: int, tone: str, told: str) -> None:
    oldest = NOW - timedelta(minutes=minutes) if waiting else None
    found, sentence = judge_engine(EngineCounts(waiting, held, oldest), NOW)
    assert found == tone
    assert told in sentence


async def test_the_operator_sees_engine_keys_organizations_and_settings(
    sign_in: Signs, parts: Parts, scene: Scene
) -> None:
    answer = await (await sign_in(scene.org_id, "operator")).get("/operator")
    check_page(answer)
    for expected in (await parts.vault.current_key(), scene.org_id, scene.other_org_id, parts.public_url, "Seals now"):
        assert expected in answer.text


async def test_nobody_else_sees_it_or_is_led_there(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "owner")
    assert (await browser.get("/operator")).status_code == 403
    assert 'href="/operator"' not in (await browser.get("/runs")).text
    assert (await browser.post("/operator/re-wrap")).status_code == 403


async def test_re_wrapping_says_what_it_did_and_is_written_down(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "operator")
    assert (await browser.get("/operator")).status_code == 200
    answer = await browser.post("/operator/re-wrap")
    assert (answer.status_code, answer.headers["location"]) == (303, "/operator")
    assert "0 left" in (await browser.get("/operator")).text
    async with parts.db.work(scene.org_id) as work:
        entries = await list_entries(work, Paging(limit=1), action="key.rewrap_requested")
    assert entries.items[0].actor == browser.member_id
