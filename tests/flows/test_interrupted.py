"""Runs that the provider does not let end well: nothing is closed, nothing passes, and the run goes on where it stood."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from tests.flows.bench import ALL, Bench

from tieline.catalog.compile import compile_catalog
from tieline.errors import Conflict
from tieline.flows.connect import replace_credential
from tieline.flows.connect import test_connection as try_connection
from tieline.flows.disconnect import disconnect
from tieline.flows.parts import Parts
from tieline.flows.pauses import pause, resume
from tieline.flows.reconfigure import reconfigure
from tieline.flows.sync import request_sync
from tieline.sdk import Account, Context, Identified, Operation, Options, PersonalToken, Provider
from tieline.store.outbox import list_outbox

SECOND_PAGE = r"GET /v1/people\?.*after="
FLAWS: dict[str, tuple[dict[str, Any], str]] = {
    "html": ({"html": True}, "unexpected-answer"),
    "truncated": ({"truncate": True}, "unexpected-answer"),
    "repeated-cursor": ({"repeat_cursor": True}, "unexpected-answer"),
    "forbidden": ({"status": 403}, "permission-missing"),
    "missing": ({"status": 404}, "unexpected-answer"),
    "empty": ({"body": {}}, "unexpected-answer"),
}


@pytest.mark.parametrize("flaw", FLAWS)
async def test_a_run_that_breaks_off_in_the_middle_closes_nothing(synced: Bench, flaw: str) -> None:
    rule, slug = FLAWS[flaw]
    people = await synced.entities("account")
    open_before = await synced.findings("mfa-enabled", status="open")
    synced.sandbox.spoil(SECOND_PAGE, times=None, **rule)
    run = (await synced.sync("people"))["people"]
    assert (run.status, run.error_slug, run.removed) == ("partial", slug, 0)
    assert 0 < run.records < len(people)
    assert await synced.entities("account") == people
    assert await synced.findings("mfa-enabled", status="open") == open_before


async def test_how_runs_end_and_what_becomes_of_their_connection_is_logged(
    synced: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tieline")
    await synced.sync("groups")
    synced.sandbox.spoil(SECOND_PAGE, status=429, headers={"Retry-After": "60"})
    await synced.sync("people")
    synced.sandbox.spoil(r"/v1/", status=401, times=None)
    await synced.sync("devices")
    told = [
        (one.levelname, one.message, one.__dict__.get("status"), one.__dict__.get("error"))
        for one in caplog.records
        if one.name in {"tieline.flows.endings", "tieline.flows.states"}
    ]
    assert told == [
        ("INFO", "The run ended", "succeeded", None),
        ("INFO", "The run waits", None, "rate-limited"),
        ("INFO", "The run ended", "succeeded", None),
        ("WARNING", "The run ended", "failed", "credential-rejected"),
        ("WARNING", "The connection changed its state", "needs_reconnect", "credential-rejected"),
    ]


async def test_the_next_complete_run_makes_up_for_a_partial_one(synced: Bench) -> None:
    synced.sandbox.change("rotate_key", 2)
    synced.sandbox.spoil(r"/v1/access-keys", html=True)
    failed = (await synced.sync("access_keys"))["access_keys"]
    assert (failed.status, failed.pages, failed.removed) == ("failed", 0, 0)
    assert failed.exchange
    assert (await synced.sync("access_keys"))["access_keys"].removed == 2


async def test_a_failed_read_never_becomes_a_pass(bench: Bench) -> None:
    bench.sandbox.spoil(r"/v1/groups/", status=403, times=None)
    await bench.drain()
    (run,) = await bench.runs("memberships")
    assert run.status in {"partial", "failed"}
    name = "closed-account-is-in-no-group"
    answers = {one.outcomes[name][0] for one in (await bench.entities("account")).values() if name in one.outcomes}
    assert answers == {"unknown"}
    assert await bench.evidence(name) == []


async def test_a_permission_that_is_missing_switches_one_operation_off(synced: Bench) -> None:
    synced.sandbox.spoil("/v1/devices", status=403, times=None)
    runs = await synced.sync()
    assert {name for name, run in runs.items() if run.status != "succeeded"} == {"devices"}
    assert (await synced.standing()).status == "degraded"
    schedule = await synced.schedule("devices")
    assert not schedule.enabled
    with pytest.raises(Conflict):
        await synced.request("devices")


async def test_a_provider_that_echoes_the_credential_as_a_scope_puts_it_nowhere(synced: Bench) -> None:
    echo = {"WWW-Authenticate": f'Bearer scope="{synced.sandbox.token}"'}
    synced.sandbox.spoil("/v1/devices", status=403, headers=echo, times=None)
    await synced.sync("devices")
    assert (await synced.schedule("devices")).off_reason == "***"


async def test_an_outage_is_waited_out_from_the_page_where_it_came(synced: Bench) -> None:
    synced.sandbox.spoil(SECOND_PAGE, status=503, times=4)
    run = (await synced.sync("people"))["people"]
    assert (run.status, run.attempts, run.error_slug) == ("succeeded", 2, None)
    asked = [one["request"] for one in synced.sandbox.requests("/v1/people")]
    assert len([one for one in asked if "after=" not in one]) == 1


async def test_a_run_that_waited_while_a_filter_was_taken_back_removes_nobody_whom_it_left_out(synced: Bench) -> None:
    people = await synced.entities("account")
    await wait_out(synced, {"filter": f"payload.id != '{min(people)}'"}, {})
    run = (await synced.runs("people"))[0]
    assert (run.status, run.removed, run.records, run.skipped) == ("succeeded", 0, 240, 0)
    assert (await synced.entities("account")).keys() == people.keys()


async def test_a_run_that_waited_while_a_filter_was_set_removes_all_whom_it_leaves_out(synced: Bench) -> None:
    someone, *others = sorted(await synced.entities("account"))
    await wait_out(synced, {}, {"filter": f"payload.id != '{someone}'"})
    assert (await synced.runs("people"))[0].removed == 1
    assert (await synced.entities("account")).keys() == set(others)


async def test_what_a_run_rejected_before_its_mapping_was_mended_is_no_part_of_its_reading(synced: Bench) -> None:
    await wait_out(synced, {"fields": {"external_id": "payload.nothing"}}, {})
    run = (await synced.runs("people"))[0]
    assert (run.status, run.unidentified, run.rejected, run.unchanged) == ("succeeded", 0, 0, 240)
    assert await synced.rejections(run.id) == []


async def test_outages_that_were_waited_out_before_a_page_was_stored_do_not_count_for_those_after_it(
    synced: Bench,
) -> None:
    synced.sandbox.spoil(SECOND_PAGE, status=503, times=4)
    await fail_already(synced, "people", 4)
    run = (await synced.sync("people"))["people"]
    assert (run.status, run.attempts, run.removed) == ("succeeded", 2, 0)
    assert (await synced.standing()).status == "active"


async def test_an_outage_that_lasts_ends_the_run_and_is_shown_on_the_connection(synced: Bench) -> None:
    synced.sandbox.spoil(SECOND_PAGE, status=500, times=None)
    await synced.request("people")
    await synced.run_due()
    await fail_already(synced, "people", 4)
    run = (await synced.sync("people"))["people"]
    assert (run.status, run.error_slug) == ("partial", "provider-unavailable")
    assert (await synced.standing()).status == "error"
    synced.sandbox.heal()
    await synced.sync("people")
    assert (await synced.standing()).status == "active"


async def test_a_provider_that_says_when_is_asked_again_then_and_from_that_page(synced: Bench) -> None:
    synced.sandbox.spoil(SECOND_PAGE, status=429, headers={"Retry-After": "7"})
    await synced.request("people")
    await synced.run_due()
    run = (await synced.runs("people"))[0]
    assert (run.status, run.error_slug, run.pages) == ("queued", "rate-limited", 1)
    assert run.resume_at
    assert 5 < (run.resume_at - synced.clock.now()).total_seconds() <= 7
    assert await synced.run_due() == 0
    await synced.drain()
    run = await synced.run(run.id)
    assert (run.status, run.error_slug, run.resume_at) == ("succeeded", None, None)
    assert run.unchanged == run.records == 240
    assert (await synced.standing()).status == "active"


async def test_a_revoked_token_stops_the_connection_until_it_has_a_new_one(synced: Bench) -> None:
    people = await synced.entities("account")
    synced.sandbox.spoil(r"/v1/people\?limit", delay_ms=50)
    await synced.request()
    replacement = synced.sandbox.control("revoke")["replacement"]
    await asyncio.gather(*(synced.carry_out(hold) for hold in await synced.admit()))
    assert synced.failures == []
    connection = await synced.standing()
    assert (connection.status, connection.status_slug) == ("needs_reconnect", "credential-rejected")
    assert not any(one.enabled or one.held_by or one.run_id for one in await synced.schedules())
    assert {run.status for run in (await synced.runs())[:11]} == {"failed"}
    assert await synced.entities("account") == people
    async with synced.parts.db.work(synced.org) as work:
        told = await list_outbox(work, ALL, type="connection.needs_reconnect")
    assert len(told.items) == 1
    with pytest.raises(Conflict):
        await request_sync(synced.parts, synced.org, synced.connection.id)
    await replace_credential(synced.parts, synced.org, synced.connection.id, {"token": replacement})
    assert (await synced.standing()).status == "active"
    await synced.run_due()
    assert {run.status for run in (await synced.runs())[:11]} == {"succeeded"}


async def test_whoever_asks_for_runs_while_one_fails_waits_until_it_has(
    synced: Bench, database_synced_once: str
) -> None:
    """Both are about all schedules of the connection: the one that fails has let go of its own, and stops the others next."""
    owner = await asyncpg.connect(database_synced_once)
    await synced.request("people")
    synced.sandbox.control("revoke")
    (hold,) = await synced.admit()
    async with owner.transaction():
        await owner.execute("LOCK TABLE outbox IN SHARE MODE")
        failing = asyncio.create_task(synced.carry_out(hold))
        await waiting(synced, 1)
        asking = asyncio.create_task(synced.request())
        await waiting(synced, 2)
    with pytest.raises(Conflict, match="needs_reconnect"):
        await asking
    await failing
    assert synced.failures == []
    assert (await synced.runs("people"))[0].status == "failed"
    assert not any(one.enabled for one in await synced.schedules())
    await owner.close()


async def test_a_token_revoked_between_two_pages_leaves_a_partial_run(synced: Bench) -> None:
    synced.sandbox.spoil(SECOND_PAGE, status=401, times=None)
    run = (await synced.sync("people"))["people"]
    assert (run.status, run.error_slug, run.removed) == ("partial", "credential-rejected", 0)
    assert (await synced.standing()).status == "needs_reconnect"


async def test_records_that_do_not_fit_are_counted_and_sampled(synced: Bench) -> None:
    good = {
        "id": "pol_new",
        "type": "password",
        "name": "New",
        "applies_to": "everyone",
        "enabled": True,
        "settings": {},
    }
    bad = [good | {"id": None}, good | {"id": 7}, good | {"name": 3}, "text", None, *[good | {"enabled": "so"}] * 20]
    synced.sandbox.spoil("/v1/policies", body={"data": [good, *bad], "paging": {"next": None}})
    run = (await synced.sync("policies"))["policies"]
    assert (run.status, run.records, run.created, run.rejected) == ("partial", 26, 1, 25)
    assert (run.error_slug, run.unidentified, run.removed) == ("unreadable-records", 4, 0)
    samples = await synced.rejections(run.id)
    assert len(samples) == 20
    assert {("policy", "external_id"), ("policy", "name"), ("policy", "record"), ("policy", "status")} == {
        (one.kind, one.field) for one in samples
    }
    assert bad[0] in [one.record for one in samples]


async def test_an_entity_whose_record_does_not_fit_this_time_stays_as_it_was(synced: Bench) -> None:
    before = await synced.entities("policy")
    odd = [
        {"id": one.external_id, "type": "password", "name": 3, "enabled": True, "settings": {}}
        for one in before.values()
    ]
    synced.sandbox.spoil("/v1/policies", body={"data": odd, "paging": {"next": None}})
    run = (await synced.sync("policies"))["policies"]
    assert (run.status, run.rejected, run.unidentified, run.removed) == ("succeeded", len(before), 0, 0)
    assert await synced.entities("policy") == before


async def test_text_that_the_database_refuses_is_kept_without_it(synced: Bench) -> None:
    nul = {
        "id": "pol\0x",
        "type": "password",
        "name": "a\0b",
        "applies_to": "everyone",
        "enabled": True,
        "settings": {},
    }
    synced.sandbox.spoil("/v1/policies", body={"data": [nul], "paging": {"next": None}})
    run = (await synced.sync("policies"))["policies"]
    assert (run.status, run.created) == ("succeeded", 1)
    assert (await synced.entities("policy"))["pol\ufffdx"].data["name"] == "a\ufffdb"


async def test_an_answer_with_nul_in_it_ends_the_run_and_is_shown(synced: Bench) -> None:
    synced.sandbox.spoil("/v1/policies", body="no\0JSON", times=None)
    run = (await synced.sync("policies"))["policies"]
    assert synced.failures == []
    assert (run.status, run.error_slug) == ("failed", "unexpected-answer")
    assert run.exchange
    assert run.exchange["body"] == "no\ufffdJSON"


async def test_a_run_goes_on_with_the_new_credential_when_the_old_one_is_refused(synced: Bench) -> None:
    async def rotate(parts: Parts, org: str, connection: str) -> None:
        replacement = synced.sandbox.control("revoke")["replacement"]
        await replace_credential(parts, org, connection, {"token": replacement})

    await stop_in_the_middle(synced, rotate)
    assert (await synced.standing()).status == "active"
    await synced.drain()
    run = (await synced.runs("people"))[0]
    assert (run.status, run.attempts, run.unchanged, run.removed) == ("succeeded", 1, 240, 0)


async def test_a_test_call_that_the_old_credential_fails_is_made_with_the_new_one(synced: Bench) -> None:
    about = (synced.parts, synced.org, synced.connection.id)
    replacement = synced.sandbox.control("revoke")["replacement"]
    synced.sandbox.spoil("/v1/", delay_ms=1500)
    trying = asyncio.create_task(try_connection(*about))
    await asyncio.sleep(0.5)
    await replace_credential(*about, {"token": replacement})
    assert (await trying).status == "active"


async def test_a_pause_in_the_middle_keeps_the_run_and_its_place(synced: Bench) -> None:
    await stop_in_the_middle(synced, pause)
    run = (await synced.runs("people"))[0]
    assert (run.status, run.pages) == ("queued", 1)
    assert await synced.run_due() == 0
    await resume(synced.parts, synced.org, synced.connection.id)
    await synced.drain()
    run = await synced.run(run.id)
    assert (run.status, run.unchanged, run.removed) == ("succeeded", 240, 0)


async def test_a_disconnection_in_the_middle_ends_the_run(synced: Bench) -> None:
    await stop_in_the_middle(synced, disconnect)
    run = (await synced.runs("people"))[0]
    assert (run.status, run.removed) == ("cancelled", 0)
    assert synced.failures == []


async def test_a_failure_after_a_pause_does_not_undo_the_pause(synced: Bench) -> None:
    synced.sandbox.control("faults", rules=[{"match": SECOND_PAGE, "delay_ms": 1500, "status": 403, "times": None}])
    await synced.request("people")
    (hold,) = await synced.admit()
    running = asyncio.create_task(synced.carry_out(hold))
    await stored_first_page(synced)
    await pause(synced.parts, synced.org, synced.connection.id)
    await running
    assert synced.failures == []
    assert (await synced.standing()).status == "paused"


async def test_provider_code_that_raises_is_tried_again_a_few_times_and_then_fails(bench: Bench) -> None:
    bench.parts = dataclasses.replace(bench.parts, catalog=compile_catalog([broken_provider()], []))
    for one in await bench.schedules():
        if one.operation != "people":
            await bench.query(f"UPDATE schedules SET switched_on = false WHERE operation = '{one.operation}'")
    await bench.drain()
    (run,) = await bench.runs("people")
    assert (run.status, run.error_slug, run.attempts) == ("partial", "internal", 5)
    assert (run.error_message or "").startswith("The run failed with KeyError at ")
    assert [type(error) for error in bench.failures] == [KeyError] * 4


async def test_a_run_whose_provider_is_not_installed_any_more_fails_and_says_so(synced: Bench) -> None:
    await synced.request("people")
    synced.parts = dataclasses.replace(synced.parts, catalog=compile_catalog([], []))
    await synced.run_due()
    assert synced.failures == []
    run = (await synced.runs("people"))[0]
    assert (run.status, run.error_slug) == ("failed", "not-found")
    assert (await synced.schedule("people")).held_by is None


def broken_provider() -> Provider[Any]:
    """The sandbox as somebody might have written it who forgot that a field may be missing."""

    async def identify(ctx: Context[Any]) -> Identified:
        raise NotImplementedError

    class Where(Options):
        base_url: str

    provider = Provider(
        slug="sandbox",
        name="Sandbox",
        category="identity",
        base_url="{base_url}/v1",
        options=Where,
        auth=PersonalToken(),
        identity=identify,
    )

    async def people(ctx: Context[Any]) -> AsyncIterator[Any]:
        """People."""
        yield {"id": "one"}
        await ctx._turn(0, "next")
        raise KeyError("a field")

    operation: Operation = provider.sync(Account.map(external_id="payload.id"), every="1h")(people)
    assert operation.id == "people"
    return provider


async def stop_in_the_middle(bench: Bench, stop: Any) -> None:
    """Begin a run of people and stop it once its first page is stored."""
    bench.sandbox.spoil(SECOND_PAGE, delay_ms=1500)
    await bench.request("people")
    (hold,) = await bench.admit()
    running = asyncio.create_task(bench.carry_out(hold))
    await stored_first_page(bench)
    await stop(bench.parts, bench.org, bench.connection.id)
    await running


async def wait_out(bench: Bench, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Run people to the end, with an outage before the second page during which the connection's own mapping becomes another one."""
    about = (bench.parts, bench.org, bench.connection.id)
    await reconfigure(*about, overrides={"people": before})
    bench.sandbox.spoil(SECOND_PAGE, status=503, times=4)
    (run,) = await bench.request("people")
    await bench.run_due()
    waiting = await bench.run(run.id)
    assert (waiting.status, waiting.pages) == ("queued", 1)
    await reconfigure(*about, overrides={"people": after})
    await bench.drain()


async def stored_first_page(bench: Bench) -> None:
    while (await bench.runs("people"))[0].pages == 0:
        await asyncio.sleep(0.02)


async def fail_already(bench: Bench, operation: str, times: int) -> None:
    """As if the operation had failed so often in a row."""
    await bench.query(f"UPDATE schedules SET attempt = {times} WHERE operation = '{operation}'")


async def waiting(bench: Bench, count: int) -> None:
    """Return when so many transactions wait for locks."""
    while len(await bench.query("SELECT FROM pg_locks WHERE NOT granted")) < count:
        await asyncio.sleep(0.02)
