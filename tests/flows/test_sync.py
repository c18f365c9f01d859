"""A whole sync against the sandbox: what it finds, what a second one writes, and what changes do."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.flows.bench import Bench, Sandbox, connected, take_snapshot, work_as_owner
from tests.flows.worker import Work, start_worker

from tieline.catalog.compile import compile_catalog
from tieline.flows.reconfigure import reconfigure
from tieline.ids import to_uuid
from tieline.sdk import Account, check
from tieline.vault import load_or_create

COUNTED = {"access-keys": "access_key", "policies": "policy", "repositories": "repository"}
COUNTED |= {"vulnerabilities": "vulnerability", "people": "account"}


async def test_a_whole_sync_finds_what_the_sandbox_says(synced: Bench) -> None:
    facts = synced.sandbox.ask("facts")
    counts = {name: len(await synced.entities(COUNTED.get(name, name[:-1]))) for name in facts["counts"]}
    assert counts == facts["counts"]
    people, devices, code = facts["people"], facts["devices"], facts["repositories"]
    expected = {
        "mfa-enabled": people["active_without_mfa"],
        "admin-mfa-enabled": people["admins_without_mfa"],
        "account-used-recently": sorted(set(people["dormant"]) - set(people["active_services"])),
        "closed-account-is-in-no-group": people["suspended_members"],
        "disk-encrypted": devices["unencrypted"],
        "screen-locks": devices["without_screen_lock"],
        "device-seen-recently": devices["unseen"],
        "default-branch-protected": code["unprotected"],
        "repository-not-public": code["public"],
    }
    assert {name: sorted(await synced.findings(name, status="open")) for name in expected} == expected
    assert {run.status for run in await synced.runs()} == {"succeeded"}


async def test_a_sync_counts_what_it_did(synced: Bench) -> None:
    for run in await synced.runs():
        assert run.created == run.records > 0
        assert (run.changed, run.unchanged, run.removed, run.skipped, run.rejected) == (0, 0, 0, 0, 0)
    runs = await synced.runs()
    assert sum(run.findings_opened for run in runs) == len(await synced.all_findings())
    assert sum(run.evidence for run in runs) == len(await synced.evidence())


async def test_an_operation_that_the_provider_did_not_have_yet_is_planned_at_the_next_run_of_another(
    synced: Bench, database_synced_once: str
) -> None:
    await work_as_owner(database_synced_once, "DELETE FROM schedules WHERE operation = 'groups'")
    await synced.request("people")
    await synced.run_due()
    (planned,) = [one for one in await synced.unfinished() if one.operation == "groups"]
    await synced.drain()
    (run,) = [one for one in await synced.runs() if one.id == planned.run_id]
    assert (run.operation, run.status) == ("groups", "succeeded")


async def test_a_second_sync_writes_nothing(synced: Bench) -> None:
    before = await written_rows(synced)
    for run in (await synced.sync()).values():
        assert (run.status, run.unchanged) == ("succeeded", run.records)
    assert await written_rows(synced) == before


async def test_only_what_changed_is_written(synced: Bench) -> None:
    before = await written_rows(synced)
    (change,) = synced.sandbox.change("drop_mfa")
    runs = await synced.sync()
    assert {name: run.changed for name, run in runs.items() if run.changed} == {"people": 1}
    written = {(table, row) for table, row, _ in set(await written_rows(synced)) - set(before)}
    account = (await synced.entities("account"))[change["id"]]
    factors = await synced.entities("authenticator", removed=True)  # which went with it
    assert {one.data["account"] for one in factors.values()} == {change["id"]}
    expected = {str(to_uuid(one.id, "ent")) for one in (account, *factors.values())}
    assert {row for table, row in written if table in {"entities", "links"}} == expected
    assert await statuses(synced, "mfa-enabled", change["id"]) == ["opened"]


async def test_what_the_story_tells_opens_and_resolves_exactly_that(synced: Bench) -> None:
    before = await take_snapshot(synced)
    told = synced.sandbox.control("story")["changes"]
    await synced.sync()
    after = await take_snapshot(synced)
    moved = {name: events for name, events in after["histories"].items() if events != before["histories"].get(name)}
    did: dict[str, set[str]] = {}
    for change in told:
        did.setdefault(change["action"], set()).add(change["id"])
    assert about(moved, "mfa-enabled", ["opened"]) == did["hire"]
    assert about(moved, "default-branch-protected", ["opened"]) == did["unprotect"]
    assert about(moved, "default-branch-protected", ["opened", "resolved"]) == did["protect"]
    assert about(moved, "mfa-enabled", ["opened", "resolved"]) >= did["enrol_mfa"]
    strangers = {name.rpartition(":")[2] for name in moved} - set().union(*did.values())
    assert not strangers


async def test_a_leaver_is_not_accused_of_what_was_read_before_he_left(synced: Bench) -> None:
    (change,) = synced.sandbox.change("leave")
    await synced.request()
    await first(synced, "people")
    await synced.drain()
    assert [
        one.check_id for one in await synced.all_findings() if one.external_id == change["id"] and one.status == "open"
    ] == []
    assert await statuses(synced, "closed-account-is-in-no-group", change["id"]) == []
    assert await statuses(synced, "leaver-returned-devices", change["id"]) == []
    assert (await outcomes(synced, change["id"]))["closed-account-is-in-no-group"] == "pass"


async def test_what_is_gone_is_removed_by_a_complete_run_and_its_findings_are_resolved(synced: Bench) -> None:
    before = await synced.entities("access_key")
    synced.sandbox.change("rotate_key", 3)
    runs = await synced.sync()
    gone = set(before) - set(await synced.entities("access_key"))
    assert len(gone) == runs["access_keys"].removed == 3
    assert set(await synced.entities("access_key", removed=True)) == gone
    assert all(one.status == "resolved" for one in await synced.all_findings() if one.external_id in gone)


async def test_people_read_before_their_memberships_are_judged_once_those_are_read(bench: Bench) -> None:
    await first(bench, "people")
    suspended = bench.sandbox.ask("facts")["people"]["suspended_members"]
    assert sorted(await bench.findings("closed-account-is-in-no-group", status="open")) == suspended
    told = {one.stance for one in await bench.evidence("closed-account-is-in-no-group")}
    assert told == {"supports", "contradicts"}


async def test_people_read_while_memberships_end_are_judged_all_the_same(bench: Bench) -> None:
    """The first complete reading of memberships judges the accounts that are stored; those stored later judge themselves."""
    bench.sandbox.spoil(r"/v1/people\?.*after=", delay_ms=12_000, times=1)
    holds = {(await bench.schedule(one.operation)).operation: None for one in await bench.schedules()}
    assert len(holds) == 11
    by_id = {one.id: one.operation for one in await bench.schedules()}
    held = {by_id[hold.schedule_id]: hold for hold in await bench.admit()}
    people = asyncio.create_task(bench.carry_out(held.pop("people")))
    for hold in held.values():
        await bench.carry_out(hold)
    assert not people.done()
    await people
    await bench.drain()
    unknown = [
        one.external_id
        for one in (await bench.entities("account")).values()
        if one.outcomes.get("closed-account-is-in-no-group", ["pass"])[0] == "unknown"
    ]
    assert unknown == []
    facts = bench.sandbox.ask("facts")["people"]
    assert sorted(await bench.findings("closed-account-is-in-no-group", status="open")) == facts["suspended_members"]


async def test_a_connection_s_own_filter_leaves_records_out_and_removes_them(synced: Bench) -> None:
    own = {"people": {"filter": "payload.employment_type != 'contractor'"}}
    await reconfigure(synced.parts, synced.org, synced.connection.id, overrides=own)
    run = (await synced.sync("people"))["people"]
    contractors = synced.sandbox.ask("facts")["people"]["by_employment_type"]["contractor"]
    assert (run.status, run.skipped, run.removed) == ("succeeded", contractors, contractors)


async def test_a_connection_s_own_expression_cannot_eat_the_worker_s_memory(synced: Bench) -> None:
    before = len(await synced.entities("account"))
    bomb = "['aaaaaaaaaa']" + ".map(a, a + a)" * 29 + "[0]"
    own = {"people": {"fields": {"title": bomb}}}
    await reconfigure(synced.parts, synced.org, synced.connection.id, overrides=own)
    run = (await synced.sync("people"))["people"]
    assert (run.status, run.error_slug) == ("failed", "invalid")
    assert "too much memory" in str(run.error_message)
    assert len(await synced.entities("account")) == before


async def test_findings_call_their_subject_as_it_is_called_now(synced: Bench) -> None:
    async def override(fields: dict[str, str]) -> None:
        own = {"people": {"fields": fields}}
        await reconfigure(synced.parts, synced.org, synced.connection.id, overrides=own)
        await synced.sync("people")

    opened = await synced.findings("mfa-enabled", status="open")
    await override({"email": "payload.email.replace('@', '+new@')"})
    renamed = await synced.findings("mfa-enabled", status="open")
    assert {one.subject for one in renamed.values()} == {one.subject.replace("@", "+new@") for one in opened.values()}
    await override({"mfa": "true"})  # while it is resolved, it is what it was then
    await override({})
    again = await synced.findings("mfa-enabled", status="open")
    assert {name: (one.subject, one.reopened) for name, one in again.items()} == {
        name: (one.subject, 1) for name, one in opened.items()
    }


async def test_a_finding_that_comes_back_is_reopened(synced: Bench) -> None:
    async def override(fields: dict[str, str]) -> None:
        own = {"people": {"fields": fields}} if fields else {}
        await reconfigure(synced.parts, synced.org, synced.connection.id, overrides=own)
        await synced.sync("people")

    opened = await synced.findings("mfa-enabled", status="open")
    await override({"mfa": "true"})
    assert await synced.findings("mfa-enabled", status="open") == {}
    await override({})
    again = await synced.findings("mfa-enabled", status="open")
    assert set(again) == set(opened)
    assert {one.reopened for one in again.values()} == {1}
    assert await synced.history(next(iter(again.values()))) == ["opened", "resolved", "reopened"]


async def test_a_check_that_raises_gives_unknown_and_stops_nothing(bench: Bench) -> None:
    @check(Account, severity="low", controls=["soc2:CC6.1"])
    def email_is_short(account: Account) -> bool | None:
        """The address is short.

        Shorten it.
        """
        return len(account.username) < 3  # type: ignore[arg-type]  # the sandbox tells no user name: this raises

    catalog = bench.parts.catalog
    shared = [one for one in catalog.checks if one.provider is None]
    with_bad = compile_catalog(catalog.providers.values(), [*shared, email_is_short])
    bench.parts = dataclasses.replace(bench.parts, catalog=with_bad)
    await bench.drain()
    assert {run.status for run in await bench.runs()} == {"succeeded"}
    assert {one.outcomes["email-is-short"][0] for one in (await bench.entities("account")).values()} == {"unknown"}
    assert await bench.findings("email-is-short") == {}
    assert await bench.evidence("email-is-short") == []


async def test_two_processes_share_one_connection_without_doing_anything_twice(
    database_of_its_own: str, sandbox: Sandbox, place: Path, synced: Bench
) -> None:
    keys = place / "keys-of-two.json"
    async with connected(database_of_its_own, load_or_create(keys, may_create=True), sandbox) as bench:
        task = Work(database_of_its_own, bench.org, bench.connection.id, str(keys))
        workers = [start_worker(task) for _ in range(2)]
        for worker in workers:
            await asyncio.to_thread(worker.join, 120)
        assert [worker.exitcode for worker in workers] == [0, 0]
        found, alone = await take_snapshot(bench), await take_snapshot(synced)
        asked = Counter(one["request"] for one in sandbox.ask("log")["data"] if "/v1/me" not in one["request"])
        runs = await bench.runs()
    groups = asked.pop("GET /v1/groups?limit=200")
    assert groups == 2  # once for groups, once for memberships
    assert set(asked.values()) == {1}
    assert len(runs) == 11
    assert {run.status for run in runs} == {"succeeded"}
    for part in ("entities", "links", "findings", "histories", "evidence"):
        assert found[part] == alone[part], part


async def test_no_two_runs_of_an_operation_overlap(synced: Bench) -> None:
    for _ in range(2):
        await synced.request()
        await asyncio.gather(*(synced.run_due() for _ in range(3)))
        await synced.drain()
    for operation in {one.operation for one in await synced.schedules()}:
        runs = sorted(await synced.runs(operation), key=lambda run: run.started_at or run.created_at)
        assert len(runs) == 3
        assert all(
            one.finished_at <= two.started_at for one, two in pairwise(runs) if one.finished_at and two.started_at
        )


async def written_rows(bench: Bench) -> list[tuple[str, str, str]]:
    """Each row of what a sync writes, with the transaction that wrote it last."""
    found: list[tuple[str, str, str]] = []
    for table, key in {"entities": "id", "links": "source_id", "findings": "id", "finding_events": "id"}.items():
        rows = await bench.query(f"SELECT {key}::text AS key, xmin::text AS written FROM {table}")
        found += [(table, row["key"], row["written"]) for row in rows]
    for table in ("evidence", "provenances"):
        found += [(table, str(row["id"]), "") for row in await bench.query(f"SELECT id FROM {table}")]
    return sorted(found)


async def statuses(bench: Bench, name: str, external_id: str) -> list[str]:
    found = (await bench.findings(name)).get(external_id)
    return await bench.history(found) if found else []


async def outcomes(bench: Bench, external_id: str) -> dict[str, str]:
    found = (await bench.entities("account"))[external_id]
    return {name: outcome for name, (outcome, _) in found.outcomes.items()}


async def first(bench: Bench, operation: str) -> None:
    """Run one of the operations that are due before the others."""
    names = {one.id: one.operation for one in await bench.schedules()}
    holds = sorted(await bench.admit(), key=lambda hold: names[hold.schedule_id] != operation)
    for hold in holds:
        await bench.carry_out(hold)


def about(moved: dict[str, Any], name: str, events: list[str]) -> set[str]:
    """What the findings of a check are about that have this history."""
    return {one.rpartition(":")[2] for one, found in moved.items() if one.startswith(f"{name} ") and found == events}
