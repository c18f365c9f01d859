"""What people say about when an operation is read, and what of that survives whatever happens to the connection."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flows.bench import Bench

from tieline.access.actor import acting_as
from tieline.catalog import compile_catalog
from tieline.errors import Conflict, Invalid, NotFound
from tieline.flows.connect import replace_credential
from tieline.flows.connect import test_connection as try_connection
from tieline.flows.disconnect import disconnect
from tieline.flows.members import invite_member, remove_member
from tieline.flows.owners import present_actor
from tieline.flows.pauses import pause, resume
from tieline.flows.reconfigure import reconfigure
from tieline.flows.run_days import read_days
from tieline.flows.timetables import LONGEST, SHORTEST, change_timetable, parse_period, write_period
from tieline.store.audit import list_story
from tieline.store.listing import Paging
from tieline.store.outbox import list_outbox
from tieline.store.schedules import Schedule
from tieline.store.timetables import last_reads

HOUR = timedelta(hours=1)


async def change(bench: Bench, operation: str = "people", **what: Any) -> Schedule:
    return await change_timetable(bench.parts, bench.org, bench.connection.id, operation, **what)


@pytest.mark.parametrize("text", ["4m", "31d", "0h", "6", "h", "six", "6w", "6 h", "-6h", "99999d", "6h\n6h", "٦h"])
def test_what_is_no_period_within_bounds_is_refused_beside_its_field(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_period(text)
    assert refused.value.details["fields"] == [
        {"field": "every", "problem": "must be a period from 5m to 30d, such as 15m, 6h or 1d"}
    ]


@given(st.integers(min_value=5, max_value=30 * 24 * 60))
def test_every_period_within_bounds_is_read_as_it_is_written(minutes: int) -> None:
    period = timedelta(minutes=minutes)
    assert SHORTEST <= period <= LONGEST
    assert parse_period(write_period(period)) == period


async def test_what_a_person_switched_off_stays_off_whatever_happens(synced: Bench) -> None:
    about = synced.parts, synced.org, synced.connection.id
    await change(synced, enabled=False)
    await pause(*about)
    await resume(*about)
    await try_connection(*about)
    await replace_credential(*about, {"token": synced.sandbox.token})
    stopped = await synced.schedule("people")
    assert (stopped.enabled, stopped.switched_on, stopped.off_reason) == (False, False, None)
    assert all(one.enabled for one in await synced.schedules() if one.operation != "people")
    runs = len(await synced.runs("people"))
    synced.clock.ahead += timedelta(days=2)
    await synced.run_due()
    assert len(await synced.runs("people")) == runs


async def test_switching_on_undoes_no_pause_and_the_end_of_the_pause_no_switching_off(synced: Bench) -> None:
    about = synced.parts, synced.org, synced.connection.id
    await change(synced, enabled=False)
    await pause(*about)
    switched = await change(synced, enabled=True)
    assert (switched.enabled, switched.switched_on, switched.off_reason) == (False, True, "paused")
    assert await synced.run_due() == 0
    await resume(*about)
    await synced.drain()
    assert (await synced.runs("people"))[0].cause == "resume"


async def test_what_a_missing_permission_stopped_is_not_switched_on_by_a_person(synced: Bench) -> None:
    synced.sandbox.spoil("/v1/devices", status=403, times=None)
    await synced.sync("devices")
    stopped = await synced.schedule("devices")
    assert (stopped.switched_on, stopped.enabled) == (True, False)
    assert stopped.off_reason
    assert (await change(synced, "devices", enabled=False)).off_reason == stopped.off_reason
    assert not (await change(synced, "devices", enabled=True)).enabled


async def test_switching_off_ends_the_run_that_waits_and_switching_on_begins_a_new_one(synced: Bench) -> None:
    (waiting,) = await synced.request("people")
    await change(synced, enabled=False)
    ended = await synced.run(waiting.id)
    assert (ended.status, ended.error_message) == ("cancelled", "The operation was switched off")
    with pytest.raises(Conflict, match="switched off") as refused:
        await synced.request("people")
    assert "--on" in refused.value.what_to_do
    await change(synced, enabled=True)
    await synced.drain()
    newest = (await synced.runs("people"))[0]
    assert (newest.status, newest.cause) == ("succeeded", "switch")


async def test_switching_off_and_on_again_during_a_run_ends_it_and_reads_anew(synced: Bench) -> None:
    synced.sandbox.spoil(r"GET /v1/people\?.*after=", delay_ms=1500)
    (run,) = await synced.request("people")
    (hold,) = await synced.admit()
    running = asyncio.create_task(synced.carry_out(hold))
    while (await synced.run(run.id)).pages == 0:
        await asyncio.sleep(0.02)
    await change(synced, enabled=False)
    await change(synced, enabled=True)
    await running
    synced.sandbox.heal()
    assert (await synced.run(run.id)).status == "cancelled"
    await synced.drain()
    assert (await synced.runs("people"))[0].status == "succeeded"


async def test_a_shorter_period_pulls_the_next_run_forward_and_a_longer_one_puts_it_off(synced: Bench) -> None:
    ended = (await synced.runs("people"))[0].finished_at
    assert ended
    assert (await change(synced, every="2d")).next_run_at == ended + timedelta(days=2)
    assert (await change(synced, every="10m")).next_run_at == ended + timedelta(minutes=10)
    synced.clock.ahead += HOUR
    due = (await change(synced, every="15m")).next_run_at
    assert due
    assert due <= synced.clock.now()
    assert await synced.run_due()
    run, later = (await synced.runs("people"))[0], (await synced.schedule("people")).next_run_at
    assert run.started_at
    assert later
    assert timedelta(minutes=15) <= later - run.started_at < timedelta(minutes=16)


async def test_no_period_is_the_providers_again(synced: Bench) -> None:
    provided = (await synced.schedule("people")).every
    changed = await change(synced, every="7h")
    assert (changed.every, changed.own_every, changed.period) == (provided, 7 * HOUR, 7 * HOUR)
    back = await change(synced, every="")
    assert (back.own_every, back.period) == (None, provided)


async def test_a_period_that_is_changed_during_a_run_holds_from_its_end(synced: Bench) -> None:
    synced.sandbox.spoil(r"GET /v1/people\?.*after=", delay_ms=800)
    (run,) = await synced.request("people")
    (hold,) = await synced.admit()
    running = asyncio.create_task(synced.carry_out(hold))
    while (await synced.run(run.id)).pages == 0:
        await asyncio.sleep(0.02)
    await change(synced, every="20d")
    await running
    ended, planned = (await synced.run(run.id)).finished_at, (await synced.schedule("people")).next_run_at
    assert ended
    assert planned
    assert planned >= ended + timedelta(days=20)


async def test_a_run_that_is_wanted_now_is_not_put_off_by_a_longer_period(synced: Bench) -> None:
    await synced.request("people")
    planned = (await change(synced, every="30d")).next_run_at
    assert planned
    assert planned <= synced.clock.now()


async def test_a_release_of_the_provider_changes_its_period_and_not_a_persons(synced: Bench) -> None:
    await change(synced, "devices", every="7h")
    sandbox = synced.parts.catalog.provider("sandbox")
    slower = [replace(one, every=timedelta(days=9)) for one in sandbox.operations]
    changed = compile_catalog([replace(sandbox, operations=slower)], synced.parts.catalog.checks)
    synced.parts = replace(synced.parts, catalog=changed)
    for operation in ("devices", "people"):
        await synced.sync(operation)
    own, other = await synced.schedule("devices"), await synced.schedule("people")
    assert (own.every, own.period) == (timedelta(days=9), 7 * HOUR)
    assert other.period == timedelta(days=9)
    assert own.next_run_at
    assert other.next_run_at
    assert other.next_run_at - own.next_run_at > timedelta(days=8)


async def test_it_is_audited_and_announced_once_for_each_thing_that_changed(synced: Bench) -> None:
    await change(synced, enabled=False, every="6h")
    await change(synced, enabled=False, every="6h")
    async with synced.parts.db.work(synced.org) as work:
        entries = await list_story(work, synced.connection.id, limit=5)
        events = (await list_outbox(work, Paging(limit=1000))).items
    assert [(one.action, one.details) for one in entries[:2]] == [
        ("operation.rescheduled", {"operation": "people", "every_seconds": 6 * 3600}),
        ("operation.switched_off", {"operation": "people"}),
    ]
    assert len([one for one in entries if one.action.startswith("operation.")]) == 2
    assert {"connection.operation_switched_off", "connection.operation_rescheduled"} <= {one.type for one in events}


async def test_an_operation_that_it_has_not_and_a_connection_that_is_no_more_are_refused(synced: Bench) -> None:
    with pytest.raises(NotFound):
        await change(synced, "nonsense", enabled=False)
    await disconnect(synced.parts, synced.org, synced.connection.id)
    with pytest.raises(Conflict):
        await change(synced, enabled=False)


async def test_when_each_operation_was_last_read_to_the_end_is_known(synced: Bench) -> None:
    before = synced.clock.now()
    synced.clock.ahead += HOUR
    synced.sandbox.spoil("/v1/devices", status=400, times=None)
    await synced.sync("devices")
    await synced.sync("people")
    async with synced.parts.db.work(synced.org) as work:
        read = (await last_reads(work, [synced.connection.id]))[synced.connection.id]
        assert await last_reads(work, []) == {}
    assert read["devices"] < before < read["people"]


async def test_runs_are_counted_by_day_and_how_they_ended(synced: Bench) -> None:
    synced.sandbox.spoil("/v1/devices", status=400, times=None)
    await synced.sync("devices")
    about = synced.parts, synced.org, synced.connection.id
    rows = (await read_days(*about, days=2))["items"]
    runs = await synced.runs()
    assert {one["status"] for one in rows} == {"succeeded", "failed"}
    assert sum(one["runs"] for one in rows) == len(runs)
    assert sum(one["records"] for one in rows) == sum(one.records for one in runs)
    of_devices = (await read_days(*about, operation="devices", days=2))["items"]
    assert {one["status"]: one["runs"] for one in of_devices} == {"succeeded": 1, "failed": 1}
    synced.clock.ahead += timedelta(days=3)
    assert (await read_days(*about, days=2))["items"] == []


async def test_whoever_connects_owns_it_if_they_are_a_member(bench: Bench) -> None:
    assert (await bench.standing()).owner_id is None
    invited = await invite_member(bench.parts, bench.org, email="anna@example.com", role="admin")
    async with bench.parts.db.work(bench.org) as work:
        with acting_as(invited.member.id):
            assert await present_actor(work) == invited.member.id
        with acting_as("mem_01k0c4m2w8eyv9x3f5t7h1n6qp"):
            assert await present_actor(work) is None


async def test_a_member_who_leaves_passes_on_what_they_own_or_leaves_it_to_nobody(bench: Bench) -> None:
    about = bench.parts, bench.org
    anna, bela = [(await invite_member(*about, email=f"{one}@example.com", role="admin")).member for one in "ab"]
    await reconfigure(*about, bench.connection.id, owner=anna.id)
    with pytest.raises(Invalid):
        await remove_member(*about, anna.id, heir=anna.id)
    gone = await remove_member(*about, anna.id, heir=bela.id)
    assert (gone.connections, gone.heir, (await bench.standing()).owner_id) == (1, bela, bela.id)
    with pytest.raises(Invalid):
        await reconfigure(*about, bench.connection.id, owner=anna.id)
    assert (await remove_member(*about, bela.id)).connections == 1
    assert (await bench.standing()).owner_id is None
