"""Audit in the console: entries with names for people, filters and CSV, and the verdict in words."""

from __future__ import annotations

import csv
import io

from tests.api.shapes import Scene
from tests.web.conftest import Signs
from tests.web.test_every_page import HOSTILE, check_page

from tieline.flows.audit import Verdict, record
from tieline.flows.parts import Parts
from tieline.web.pages.audit import in_words, place_of


async def test_entries_are_narrowed_by_who_and_what(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    every = (await browser.get("/audit")).text
    assert "Session begun" in every
    assert "The auditor" in every
    mine = (await browser.get("/audit", actor=browser.member_id or "", action="session.begun")).text
    assert mine.count(browser.member_id or "?") >= 1
    assert "Nothing was done that is so" in (await browser.get("/audit", action="never.done")).text


async def test_the_csv_holds_the_entries_of_the_filter(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    answer = await browser.get("/audit", action="member.invited", format="csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {one["what"] for one in rows} == {"member.invited"}
    assert len(rows[0]["hash"]) == 64


async def test_periods_are_moments_that_the_api_takes_too(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    assert "Session begun" in (await browser.get("/audit", since="2001-01-01T00:00:00Z")).text
    assert "Nothing was done that is so" in (await browser.get("/audit", since="2999-01-01T00:00:00Z")).text
    for wrong in ("2026-13-45T00:00:00Z", "yesterday", "0"):
        assert (await browser.get("/audit", since=wrong)).status_code == 422


async def test_a_page_of_the_log_that_there_is_not_is_not_found(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    for cursor in ("x", "-1", "9" * 40):
        assert (await browser.get("/audit", cursor=cursor)).status_code == 404


async def test_a_whole_log_is_told_to_be_whole(sign_in: Signs, scene: Scene) -> None:
    answer = await (await sign_in(scene.org_id, "auditor")).get("/audit/verdict")
    assert "The log is whole: " in answer.text
    check_page(answer)


async def test_hostile_details_are_text(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.other_org_id, "auditor")
    async with parts.db.work(scene.other_org_id) as work:
        await record(work, parts, "connection.changed", HOSTILE, name=HOSTILE)
    answer = await browser.get("/audit", action="connection.changed")
    assert "<script>alert" not in answer.text
    assert answer.text.count("&lt;script&gt;alert(1)") >= 2
    check_page(answer)


def test_a_verdict_says_up_to_where_the_log_can_be_relied_on() -> None:
    assert in_words(Verdict(0, 0)).startswith("Nothing was written down yet")
    touched = in_words(Verdict(9, 1, 7, "The entry was changed"))
    assert "touched at entry 7: The entry was changed" in touched
    assert "up to number 6 can be relied on" in touched


def test_ids_lead_to_the_pages_of_what_they_name() -> None:
    assert place_of("run_1") == "/runs/run_1"
    assert place_of("key_1") is None
    assert place_of(None) is None
