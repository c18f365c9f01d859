"""Runs in the console: filters and CSV, one run with its failure told, live to its end, and what a person can do with it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs
from tests.web.test_every_page import HOSTILE, check_page

from tieline.flows.parts import Parts
from tieline.store.run_spans import Span, add_page
from tieline.store.runs import Run, create_run, save_rejections, update_run
from tieline.web.pages.runs import STATES
from tieline.web.timeline import draw

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
async def make(parts: Parts, scene: Scene) -> AsyncIterator[Any]:
    """Make a run of the furnished organization, in the state given."""

    async def made(**values: Any) -> Run:
        now = parts.clock.now()
        async with parts.db.work(scene.org_id) as work:
            driver = await work.driver()  # other tests may have stopped it
            await driver.execute("UPDATE connections SET status = 'active' WHERE disconnected_at IS NULL")
            await driver.execute("UPDATE schedules SET switched_on = true, off_reason = NULL")
            run = await create_run(
                work,
                connection_id=scene.ids["connection_id"],
                provider="sandbox",
                operation="people",
                kind="sync",
                cause="schedule",
                now=now,
            )
            await update_run(work, run.id, **({"started_at": now, "finished_at": now, "status": "failed"} | values))
        return run

    yield made
    async with parts.db.work(scene.org_id) as work:  # none is left unfinished, so that live parts end
        driver = await work.driver()
        await driver.execute("UPDATE runs SET status = 'cancelled' WHERE status IN ('queued', 'running', 'held')")
        await driver.execute("UPDATE schedules SET run_id = NULL, cancel_requested = false")


async def test_the_list_is_narrowed_by_state_and_operation(sign_in: Signs, scene: Scene, make: Any) -> None:
    browser, failed = await sign_in(scene.org_id, "auditor"), await make()
    shown = await browser.get("/runs", status="failed", operation="people")
    assert failed.id in shown.text
    assert scene.ids["run_id"] not in shown.text
    assert "status=failed" in shown.text  # in the API call that gives this
    for state in STATES:
        assert (await browser.get("/runs", status=state)).status_code == 200
    assert (await browser.get("/runs", status="odd")).status_code == 422


async def test_an_organization_without_runs_is_told_what_makes_them(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.other_org_id, "auditor")
    assert "Nothing was read yet" in (await browser.get("/runs")).text
    assert "No run is like that" in (await browser.get("/runs", status="failed")).text


async def test_the_csv_holds_the_rows_of_the_filter(sign_in: Signs, scene: Scene, make: Any) -> None:
    browser, failed = await sign_in(scene.org_id, "auditor"), await make(error_message="=1+1", error_slug="internal")
    answer = await browser.get("/runs", status="failed", format="csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    row = next(one for one in rows if one["id"] == failed.id)
    assert {one["state"] for one in rows} == {"failed"}
    assert (row["error"], row["message"]) == ("internal", "'=1+1")


async def test_a_failed_run_tells_why_what_to_do_and_what_was_exchanged(
    sign_in: Signs, scene: Scene, make: Any
) -> None:
    exchange = {
        "method": "GET", "path": f"/v1/{HOSTILE}", "params": [HOSTILE], "status": 500, "headers": {HOSTILE: HOSTILE}, "body": HOSTILE,
    }  # fmt: skip
    run = await make(error_slug="unexpected-answer", error_message=HOSTILE, exchange=exchange)
    answer = await (await sign_in(scene.org_id, "auditor")).get(f"/runs/{run.id}")
    assert "Report it with the exchange below" in answer.text
    assert "<script>alert" not in answer.text
    assert answer.text.count("&lt;script&gt;alert(1)") >= 5
    assert "Run again" not in answer.text  # an auditor changes nothing
    check_page(answer)


async def test_the_live_part_is_sent_and_ends_with_the_run(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    answer = await browser.get(f"/runs/{scene.ids['run_id']}/live")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith("event: part\n")
    assert answer.text.endswith("event: over\ndata: \n\n")
    assert 'data-live="' not in (await browser.get(f"/runs/{scene.ids['run_id']}")).text


async def test_an_unfinished_run_is_followed_and_can_be_cancelled(sign_in: Signs, scene: Scene, make: Any) -> None:
    run = await make(status="running", finished_at=None)
    browser = await sign_in(scene.org_id, "member")
    answer = await browser.get(f"/runs/{run.id}")
    assert f'data-live="/runs/{run.id}/live"' in answer.text
    assert f'action="/runs/{run.id}/cancel"' in answer.text
    assert (await browser.post(f"/runs/{run.id}/cancel")).status_code == 409  # no schedule names it


async def test_a_held_run_offers_to_be_released_and_the_newest_one_goes_on(
    sign_in: Signs, scene: Scene, make: Any
) -> None:
    run = await make(status="held", error_slug="brake", error_message="50 of 60 entities would be removed")
    browser = await sign_in(scene.org_id, "member")
    assert f'action="/runs/{run.id}/release"' in (await browser.get(f"/runs/{run.id}")).text
    answer = await browser.post(f"/runs/{run.id}/release")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{run.id}")
    assert "removes what it did not see" in (await browser.get(f"/runs/{run.id}")).text
    cancelled = await browser.post(f"/runs/{run.id}/cancel")
    assert cancelled.status_code == 303


async def test_a_finished_run_is_tried_again_as_a_new_one(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "member")
    await browser.get("/runs")
    answer = await browser.post(f"/runs/{scene.ids['run_id']}/retry")
    assert answer.status_code == 303
    new = answer.headers["location"]
    assert new.startswith("/runs/run_")
    assert new != f"/runs/{scene.ids['run_id']}"
    await browser.get(new)
    assert (await browser.post(f"{new}/cancel")).status_code == 303


async def test_rejected_records_show_reason_field_and_record_as_text(
    sign_in: Signs, parts: Parts, scene: Scene, make: Any
) -> None:
    run, browser = await make(rejected=1), await sign_in(scene.org_id, "auditor")
    assert "Nothing was rejected" in (await browser.get(f"/runs/{run.id}/rejections")).text
    sample = {"kind": "account", "field": "email", "reason": HOSTILE, "record": {"name": HOSTILE}}
    async with parts.db.work(scene.org_id) as work:
        await save_rejections(work, run.id, [sample], now=parts.clock.now())
    answer = await browser.get(f"/runs/{run.id}/rejections")
    assert "<code>email</code>" in answer.text
    assert answer.text.count("&lt;script&gt;alert(1)") == 2
    assert "<script>alert" not in answer.text


async def test_another_organizations_run_is_not_found(sign_in: Signs, scene: Scene) -> None:
    other: Browser = await sign_in(scene.other_org_id, "member")
    for path in ("", "/live", "/rejections"):
        assert (await other.get(f"/runs/{scene.ids['run_id']}{path}")).status_code == 404
    for action in ("cancel", "retry", "release"):
        assert (await other.post(f"/runs/{scene.ids['run_id']}/{action}")).status_code == 404


def run_at(begun: datetime, **values: Any) -> Run:
    run = Run("run_x", "org_x", "conn_x", "sandbox", "people", "sync", "schedule", "succeeded", begun)
    return replace(run, started_at=begun + SECOND, finished_at=begun + 60 * SECOND, **values)


def test_a_timeline_says_what_the_time_of_a_run_went_to() -> None:
    spans = [
        Span(1, "", 1, NOW + SECOND, NOW + 7 * SECOND, 5000, 2000, 500, 1000),
        Span(1, "rate-limited", 0, NOW + 7 * SECOND, NOW + 37 * SECOND),
        Span(2, "", 3, NOW + 37 * SECOND, NOW + 40 * SECOND, 2000, 0, 0, 400),
    ]
    drawn = draw(run_at(NOW, checkpoint={"collected": True}), spans, NOW)
    assert {(look, name): told for look, name, told in drawn.sums} == {
        ("reading", "Read"): "4.5 s",
        ("storing", "Stored"): "1.4 s",
        ("waiting", "Waited for a worker"): "1.0 s",
        ("waiting", "Waited for the rate limit, at rest"): "30.0 s",
        ("waiting", "Waited for the rate limit"): "2.0 s",
        ("waiting", "Waited before trying again"): "0.5 s",
        ("closing", "Closed what is gone"): "20.0 s",
    }
    assert [(one.name, one.after, one.read) for one in drawn.lines] == [
        ("Page 1", "1.0 s", "5.0 s"),
        ("Waited for the rate limit, at rest", "7.0 s", "30.0 s"),
        ("3 pages from page 2", "37.0 s", "2.0 s"),
    ]
    waits = re.findall(r'<rect class="waiting" fill="url\(#hatch\)" x="([\d.]+)" y="1" width="([\d.]+)"', drawn.drawn)
    assert [round(float(one) * 60) for pair in waits for one in pair] == [0, 1000, 1000, 2000, 3000, 500, 7000, 30_000]


def test_a_run_that_waits_shows_until_when_and_what_for() -> None:
    spans = [Span(0, "provider-unavailable", 0, NOW + 2 * SECOND, NOW + 2 * SECOND)]
    run = run_at(NOW, resume_at=NOW + 50 * SECOND)
    drawn = draw(replace(run, status="queued", finished_at=None), spans, NOW + 10 * SECOND)
    assert ("waiting", "Waited for the provider to come back", "8.0 s") in drawn.sums
    assert ("waiting", "Waits until it goes on", "40.0 s") in drawn.sums
    assert drawn.ends == ("0 s", "50.0 s")


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(*[st.integers(0, 90)] * 2, *[st.integers(0, 60_000)] * 4, st.sampled_from(["", "odd"])), max_size=6
    )
)
def test_nothing_is_drawn_outside_of_the_timeline(given_spans: list[Any]) -> None:
    spans = [
        Span(page, cause, 1, NOW + first * SECOND, NOW + (first + more) * SECOND, *times)
        for page, (first, more, *times, cause) in enumerate(given_spans)
    ]
    drawn = draw(run_at(NOW), sorted(spans, key=lambda one: one.begun_at), NOW + 60 * SECOND).drawn
    for x, width in re.findall(r' x="([-\d.]+)" y="\d+" width="([-\d.]+)"', drawn):
        assert -0.01 <= float(x) <= float(x) + float(width) <= 1000.02


async def test_the_page_of_a_run_draws_its_pages_and_tells_them_in_a_table(
    sign_in: Signs, parts: Parts, scene: Scene, make: Any
) -> None:
    run, now = await make(status="succeeded"), parts.clock.now()
    async with parts.db.work(scene.org_id) as work:
        await update_run(work, run.id, started_at=now, finished_at=now + 9 * SECOND, pages=1)
        await add_page(work, run.id, Span(1, "", 1, now, now + 4 * SECOND, 3000, 1500, 0, 800))
    answer = await (await sign_in(scene.org_id, "auditor")).get(f"/runs/{run.id}")
    check_page(answer)
    assert "Waited for the rate limit: 1.5 s" in answer.text
    assert 'data-label="Stored">0.8 s' in answer.text
    assert 'fill="url(#hatch)"' in answer.text
