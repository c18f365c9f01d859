"""What people do to runs and findings: cancel, release what the brake holds, mute, unmute."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.flows.bench import Bench

from tieline.errors import Conflict
from tieline.flows.findings import mute, unmute
from tieline.flows.pauses import pause, resume
from tieline.flows.reconfigure import reconfigure
from tieline.flows.runs import cancel_run, release_held
from tieline.ids import to_uuid

NONE_LEFT: dict[str, Any] = {"body": {"data": [], "paging": {"next": None}}}


async def test_a_run_in_which_too_much_would_vanish_stops_and_asks(synced: Bench) -> None:
    groups = await synced.entities("group")
    synced.sandbox.spoil(r"GET /v1/groups\?", **NONE_LEFT)
    run = (await synced.sync("groups"))["groups"]
    assert (run.status, run.error_slug, run.removed) == ("held", "brake", 0)
    assert await synced.entities("group") == groups


async def test_a_held_run_that_is_released_removes_what_it_did_not_see(synced: Bench) -> None:
    groups = await synced.entities("group")
    synced.sandbox.spoil(r"GET /v1/groups\?", **NONE_LEFT)
    held = (await synced.sync("groups"))["groups"]
    await release_held(synced.parts, synced.org, held.id)
    await synced.drain()
    run = await synced.run(held.id)
    assert (run.status, run.removed, run.error_slug) == ("succeeded", len(groups), None)
    assert await synced.entities("group") == {}


async def test_a_held_run_released_after_its_mapping_was_changed_reads_anew_and_is_held_again(synced: Bench) -> None:
    groups = await synced.entities("group")
    synced.sandbox.spoil(r"GET /v1/groups\?", times=None, **NONE_LEFT)
    held = (await synced.sync("groups"))["groups"]
    own = {"groups": {"filter": "payload.id != ''"}}
    await reconfigure(synced.parts, synced.org, synced.connection.id, overrides=own)
    for outcome in (("held", len(groups)), ("succeeded", 0)):
        await release_held(synced.parts, synced.org, held.id)
        await synced.drain()
        assert ((await synced.run(held.id)).status, len(await synced.entities("group"))) == outcome


async def test_a_held_run_says_nothing_once_a_newer_one_saw_everything(synced: Bench) -> None:
    synced.sandbox.spoil(r"GET /v1/groups\?", **NONE_LEFT)
    held = (await synced.sync("groups"))["groups"]
    assert (await synced.sync("groups"))["groups"].status == "succeeded"
    with pytest.raises(Conflict):
        await release_held(synced.parts, synced.org, held.id)


async def test_of_runs_held_one_after_the_other_only_the_newest_keeps_what_it_saw(synced: Bench) -> None:
    one_left = {"data": [{"id": "one", "name": "One"}], "paging": {"next": None}}
    synced.sandbox.spoil(r"GET /v1/groups\?", times=None, body=one_left)
    held = [(await synced.sync("groups"))["groups"] for _ in range(3)]
    assert {run.status for run in held} == {"held"}
    kept = await synced.query("SELECT run_id FROM run_pages")
    assert [row["run_id"] for row in kept] == [to_uuid(held[-1].id, "run")]
    await release_held(synced.parts, synced.org, held[-1].id)
    await synced.drain()
    assert (await synced.run(held[-1].id)).status == "succeeded"
    assert await synced.query("SELECT FROM run_pages") == []


async def test_what_vanished_and_came_back_is_there_again_with_its_findings(synced: Bench) -> None:
    before = await synced.findings("default-branch-protected", status="open")
    rows = {"data": [], "paging": {"next": None}}
    synced.sandbox.spoil("/v1/repositories", body=rows)
    held = (await synced.sync("repositories"))["repositories"]
    await release_held(synced.parts, synced.org, held.id)
    await synced.drain()
    assert await synced.findings("default-branch-protected", status="open") == {}
    run = (await synced.sync("repositories"))["repositories"]
    assert (run.status, run.created) == ("succeeded", 180)
    again = await synced.findings("default-branch-protected", status="open")
    assert set(again) == set(before)
    assert await synced.history(next(iter(again.values()))) == ["opened", "resolved", "reopened"]


async def test_a_queued_run_is_cancelled_before_it_asks_anything(synced: Bench) -> None:
    (run,) = await synced.request("people")
    asked = len(synced.sandbox.requests("/v1/people"))
    await cancel_run(synced.parts, synced.org, run.id)
    await synced.drain()
    assert (await synced.run(run.id)).status == "cancelled"
    assert len(synced.sandbox.requests("/v1/people")) == asked
    assert (await synced.sync("people"))["people"].status == "succeeded"


async def test_a_run_asked_for_again_after_its_cancellation_runs(synced: Bench) -> None:
    (run,) = await synced.request("people")
    await cancel_run(synced.parts, synced.org, run.id)
    (wanted,) = await synced.request("people")
    await synced.drain()
    assert (await synced.run(wanted.id)).status == "succeeded"


async def test_a_cancellation_meant_for_one_run_does_not_end_the_next(synced: Bench) -> None:
    about = (synced.parts, synced.org, synced.connection.id)
    (run,) = await synced.request("people")
    await cancel_run(synced.parts, synced.org, run.id)
    await pause(*about)
    assert (await cancel_run(synced.parts, synced.org, run.id)).status == "cancelled"
    await resume(*about)
    await synced.drain()
    assert (await synced.runs("people"))[0].id != run.id
    assert {one.status for one in await synced.runs("people")} == {"cancelled", "succeeded"}


async def test_a_running_run_is_cancelled_before_its_next_page(synced: Bench) -> None:
    run = await begin_and_cancel(synced, delay_ms=1500)
    assert (run.status, run.pages, run.removed) == ("cancelled", 1, 0)
    schedule = await synced.schedule("people")
    assert (schedule.run_id, schedule.cancel_requested) == (None, False)


async def test_a_cancellation_is_not_lost_when_the_provider_asks_to_wait_just_then(synced: Bench) -> None:
    run = await begin_and_cancel(synced, delay_ms=1500, status=429, headers={"Retry-After": "600"})
    assert (run.status, run.pages) == ("cancelled", 1)


async def test_a_muted_finding_stays_muted_while_it_fails_and_opens_when_the_time_is_over(synced: Bench) -> None:
    for_good, for_a_while, *_ = (await synced.findings("disk-encrypted", status="open")).values()
    soon = synced.clock.now() + timedelta(hours=1)
    for one, until in ((for_good, None), (for_a_while, soon)):
        await mute(synced.parts, synced.org, one.id, reason="being replaced", until=until, actor="someone")
    await synced.sync("devices")
    muted = await synced.findings("disk-encrypted", status="muted")
    assert {one.id for one in muted.values()} == {for_good.id, for_a_while.id}
    synced.clock.move_to(soon)
    await synced.sync("devices")
    muted = await synced.findings("disk-encrypted", status="muted")
    assert {one.id for one in muted.values()} == {for_good.id}
    assert await synced.history(for_a_while) == ["opened", "muted", "unmuted"]
    again = await unmute(synced.parts, synced.org, for_good.id, actor="someone")
    assert (again.status, again.muted_reason) == ("open", None)


async def test_however_many_mutes_are_over_together_the_run_ends_and_opens_them(synced: Bench) -> None:
    """There are more of them than a statement takes parameters."""
    await synced.query(
        """INSERT INTO findings (id, org_id, connection_id, provider, entity_id, kind, external_id, subject, check_id, title,
                severity, status, "values", opened_at, changed_at, muted_reason, muted_until)
            SELECT gen_random_uuid(), org_id, id, provider, gen_random_uuid(), 'account', number, number, 'mfa-enabled', 'MFA',
                'high', 'muted', '{}', now(), now(), 'later', now()
              FROM connections, generate_series(1, 32768) AS number"""
    )
    assert (await synced.sync("groups"))["groups"].status == "succeeded"
    assert await synced.query("SELECT FROM findings WHERE status = 'muted'") == []
    assert len(await synced.query("SELECT FROM finding_events WHERE event = 'unmuted'")) == 32_768


async def begin_and_cancel(bench: Bench, **flaw: Any) -> Any:
    """Begin a run of people, cancel it while it waits for its second page, and give it as it ended."""
    bench.sandbox.spoil(r"GET /v1/people\?.*after=", **flaw)
    (run,) = await bench.request("people")
    (hold,) = await bench.admit()
    running = asyncio.create_task(bench.carry_out(hold))
    while (await bench.run(run.id)).pages == 0:
        await asyncio.sleep(0.02)
    await cancel_run(bench.parts, bench.org, run.id)
    await running
    return await bench.run(run.id)
