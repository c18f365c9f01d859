"""Operator in the console: the engine in words, keys with the re-wrap, organizations, and nothing for other roles."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from tests.api.shapes import Scene
from tests.web.conftest import Signs
from tests.web.test_every_page import check_page

from tieline.flows.parts import Parts
from tieline.ids import new_id
from tieline.settings import Settings, describe_settings, read_settings
from tieline.store.admission import EngineCounts
from tieline.store.audit import list_entries
from tieline.store.listing import Paging
from tieline.store.workers import HOUR, Worker, note_worker, prune_workers
from tieline.web.pages.operator import judge_engine

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("waiting", "held", "minutes", "alive", "tone", "told"),
    [
        (0, 0, 0, 1, "good", "Nothing that is due waits"),
        (0, 0, 0, 0, "bad", "No worker runs"),
        (3, 2, 1, 1, "good", "being taken up"),
        (3, 2, 30, 1, "warn", "Start another"),
        (3, 0, 30, 1, "bad", "nothing runs"),
    ],
)
def test_the_engine_is_told_in_words(waiting: int, held: int, minutes: int, alive: int, tone: str, told: str) -> None:
    oldest = NOW - timedelta(minutes=minutes) if waiting else None
    found, sentence = judge_engine(EngineCounts(waiting, held, oldest), alive, NOW)
    assert found == tone
    assert told in sentence


@pytest.fixture
async def two_workers(parts: Parts) -> AsyncIterator[None]:
    """One that is alive and one that fell silent; both gone afterwards."""
    now = parts.clock.now()
    half = timedelta(seconds=30)
    made = [
        Worker(new_id("wrk"), "host-alive", "server", "1.2.3", 8, 4, 64, half, 3, now - HOUR, now),
        Worker(new_id("wrk"), "host-silent", "worker", "1.2.2", 8, 4, 64, half, 0, now - HOUR, now - 2 * half),
    ]
    async with parts.db.system() as work:
        for one in made:
            await note_worker(work, one, jobs=7)
    yield
    async with parts.db.system() as work:
        await prune_workers(work, silent_since=now + HOUR, hours_before=now + HOUR)


@pytest.mark.usefixtures("two_workers")
async def test_workers_are_shown_with_what_they_do_and_silent_ones_are_marked(sign_in: Signs, scene: Scene) -> None:
    answer = await (await sign_in(scene.org_id, "operator")).get("/operator")
    check_page(answer)
    rows = {one: row for row in answer.text.split("<tr>") for one in ("host-alive", "host-silent") if one in row}
    assert "Alive" in rows["host-alive"]
    assert "3 of 8" in rows["host-alive"]
    assert "Silent" in rows["host-silent"]
    assert "1 alive" in answer.text
    assert '<th scope="row">' in answer.text
    assert '<td class="number">14</td>' in answer.text  # jobs of this hour, in the table behind the chart


async def test_settings_are_shown_with_where_they_come_from_and_secrets_are_not(
    sign_in: Signs, app: FastAPI, parts: Parts, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIELINE_DATABASE_URL", "postgresql://tieline:hunter2@db.internal/tieline")
    monkeypatch.setenv("TIELINE_WORKER_SLOTS", "5")
    app.state.parts = replace(parts, settings=describe_settings(read_settings(org_slots=3)))
    answer = await (await sign_in(scene.org_id, "operator")).get("/operator")
    check_page(answer)
    assert "hunter2" not in answer.text
    rows = {
        name[1]: row for row in answer.text.split("<tr>") if (name := re.search(r"<code>(TIELINE_\w+)</code>", row))
    }
    told = {name: re.sub(r"<[^>]+>|\s+", " ", row).split() for name, row in rows.items()}
    assert len(rows) >= len(Settings.model_fields) - 2  # two families have no name of their own
    for name, words in (
        ("TIELINE_DATABASE_URL", ["Set", "Environment"]),
        ("TIELINE_WORKER_SLOTS", ["5", "Environment"]),
        ("TIELINE_ORG_SLOTS", ["3", "Command"]),
        ("TIELINE_TRANSIT_TOKEN", ["Not", "set", "Default"]),
        ("TIELINE_LOG_LEVEL", ["info", "Default"]),
    ):
        assert told[name][-len(words) :] == words


async def test_the_operator_sees_engine_keys_organizations_and_settings(
    sign_in: Signs, parts: Parts, scene: Scene
) -> None:
    answer = await (await sign_in(scene.org_id, "operator")).get("/operator")
    check_page(answer)
    for expected in (await parts.vault.current_key(), scene.org_id, scene.other_org_id, "Seals now"):
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
