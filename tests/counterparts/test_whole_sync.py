"""GitHub and Okta connected and synced as a user would, against emulators that nobody here wrote, with faults in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from tests.conftest import new_organization, parts_of
from tests.emulators.emulate import (
    GITHUB_INSTALLATION,
    GITHUB_TOKEN,
    OKTA_STATUSES,
    OKTA_TOKEN,
    ORGANIZATION,
    Emulated,
    app_key,
)

from tieline.engine import Engine, EngineLimits, Hold
from tieline.errors import Conflict, Invalid, Unauthorised
from tieline.flows.connect import Attempt, connect, establish, replace_credential
from tieline.flows.parts import Parts
from tieline.flows.sync import request_sync, run_sync
from tieline.providers.github.provider import github
from tieline.sdk import Installation, OAuthApp
from tieline.store import connections, entity_lists, evidence, findings, runs, schedules
from tieline.store.connections import Connection
from tieline.store.db import Db
from tieline.store.listing import Paging
from tieline.vault import LocalKeyRing

pytestmark = pytest.mark.xdist_group("emulators")
ALL = Paging(limit=5_000)
QUICK = EngineLimits(heartbeat=timedelta(seconds=2), stale_after=timedelta(seconds=6))


@dataclass(frozen=True)
class Bench:
    """A Tieline of its own, and what a test does with it."""

    parts: Parts
    org: str

    async def connect(self, provider: str, by: str, secret: dict[str, str], **options: str) -> Connection:
        return await connect(self.parts, self.org, Attempt(provider, options, secret, by=by))

    async def drain(self) -> None:
        """Work until no run is unfinished, or the only ones left wait for longer than a test may."""
        stop = asyncio.Event()
        engine = Engine(self.parts.db, {"sync": self._sync}, clock=self.parts.clock, limits=QUICK)
        worker = asyncio.create_task(engine.run(until=stop))
        try:
            async with asyncio.timeout(120):
                while await self._unfinished():
                    await asyncio.sleep(0.1)
        finally:
            stop.set()
            await worker

    async def sync(self, connection: Connection, operation: str | None = None) -> dict[str, runs.Run]:
        """Sync once more; the newest run of each operation."""
        await request_sync(self.parts, self.org, connection.id, operation=operation)
        await self.drain()
        return await self.newest(connection)

    async def newest(self, connection: Connection) -> dict[str, runs.Run]:
        async with self.parts.db.work(self.org) as work:
            listed = await runs.list_runs(work, ALL, connection_id=connection.id)
        return {run.operation: run for run in reversed(listed.items)}

    async def read(self, query: Any, *args: Any, **wanted: Any) -> Any:
        async with self.parts.db.work(self.org) as work:
            return await query(work, *args, **wanted)

    async def _sync(self, hold: Hold) -> None:
        await run_sync(self.parts, hold)

    async def _unfinished(self) -> bool:
        async with self.parts.db.work(self.org) as work:
            found = await runs.list_runs(work, ALL)
        soon = self.parts.clock.now() + timedelta(seconds=30)
        return any(
            run.status in runs.UNFINISHED and (run.resume_at is None or run.resume_at < soon) for run in found.items
        )


@pytest.fixture
async def bench(fresh_database_url: str, ring: LocalKeyRing) -> AsyncIterator[Bench]:
    db = Db(fresh_database_url, pool_size=5)
    organization = await new_organization(db)
    yield Bench(parts_of(db, ring), organization.id)
    await db.close()


async def connect_okta(bench: Bench, emulated: Emulated) -> Connection:
    return await bench.connect("okta", "api_key", {"api_token": OKTA_TOKEN}, org_url=emulated.okta_url)


async def connect_github(bench: Bench, emulated: Emulated) -> Connection:
    return await bench.connect(
        "github", "token", {"token": GITHUB_TOKEN}, base_url=emulated.github_url, organization=ORGANIZATION
    )


async def test_okta_is_read_whole_and_reading_it_again_writes_nothing(bench: Bench, emulated: Emulated) -> None:
    connection = await connect_okta(bench, emulated)
    await bench.drain()
    first = await bench.newest(connection)
    people = await bench.read(entity_lists.list_entities, ALL, kind="account", connection_id=connection.id)
    suspended = [one for one in people.items if one.status == "suspended"]
    before = await everything(bench)
    again = await bench.sync(connection)

    assert {name: run.status for name, run in first.items()} == dict.fromkeys(
        ("users", "groups", "applications", "factors"), "succeeded"
    ) | {"policies": "partial"}
    assert len(people.items) == emulated.users + 1
    assert len(suspended) == emulated.users // len(OKTA_STATUSES)
    assert all(run.created == run.changed == run.removed == run.evidence == 0 for run in again.values())
    assert again["users"].unchanged == emulated.users + 1
    assert await everything(bench) == before


async def test_an_account_without_factors_fails_only_once_all_factors_were_read(
    bench: Bench, emulated: Emulated
) -> None:
    emulated.okta.fail({"match": "/factors$", "status": 500})
    connection = await connect_okta(bench, emulated)
    await _until_operation_ended(bench, connection, "users")
    early = await bench.read(findings.list_findings, ALL, check_id="mfa-enabled")
    emulated.okta.fail()
    await bench.sync(connection, "factors")
    late = await bench.read(findings.list_findings, ALL, check_id="mfa-enabled")

    assert early.items == []
    assert late.items


async def test_github_is_read_whole_and_nothing_of_another_organization(bench: Bench, emulated: Emulated) -> None:
    connection = await connect_github(bench, emulated)
    await bench.drain()
    people = await bench.read(entity_lists.list_entities, ALL, kind="account")
    code = await bench.read(entity_lists.list_entities, ALL, kind="repository")
    unprotected = await bench.read(findings.list_findings, ALL, check_id="default-branch-protected")
    again = await bench.sync(connection)

    assert len(people.items) == emulated.users + 1
    assert len(code.items) == emulated.users
    assert not any("must-not-leak" in one.data["name"] for one in code.items)
    assert len(unprotected.items) == emulated.users
    assert all(run.status == "succeeded" and run.created == run.changed == 0 for run in again.values())


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "times": 2},
        {"status": 429, "headers": {"Retry-After": "1"}, "times": 2},
        {"status": 429, "headers": {"Retry-After": "5"}, "times": 1},
    ],
    ids=["500 twice", "429 for a second", "429 for five seconds"],
)
async def test_a_passing_fault_in_the_middle_of_a_sync_loses_nothing(
    bench: Bench, emulated: Emulated, fault: dict[str, Any]
) -> None:
    emulated.okta.fail({"match": "^/api/v1/users\\?.*(after|page)=", "skip": 2, **fault})
    connection = await connect_okta(bench, emulated)
    await bench.drain()
    people = await bench.read(entity_lists.list_entities, ALL, kind="account")

    assert (await bench.newest(connection))["users"].status == "succeeded"
    assert len(people.items) == emulated.users + 1


@pytest.mark.parametrize(
    "body",
    ["<html><body>Sign in</body></html>", '[{"id": "00u1", "status": "ACT'],
    ids=["HTML", "truncated JSON"],
)
async def test_an_answer_that_is_no_list_ends_the_run_and_closes_nothing(
    bench: Bench, emulated: Emulated, body: str
) -> None:
    connection = await connect_okta(bench, emulated)
    await bench.drain()
    before = await everything(bench)
    emulated.okta.fail({"match": "^/api/v1/users\\?.*(after|page)=", "skip": 2, "status": 200, "body": body})
    await request_sync(bench.parts, bench.org, connection.id, operation="users")
    await _until_operation_waits_or_ended(bench, connection, "users")
    run = (await bench.newest(connection))["users"]

    assert run.status in {"partial", "queued"}
    assert run.error_slug in {"unexpected-answer", "provider-unavailable"}
    assert run.removed == 0
    assert await everything(bench) == before


async def test_a_cursor_that_repeats_ends_the_run(bench: Bench, emulated: Emulated) -> None:
    url = f"{emulated.okta_url}/api/v1/users?limit=200&page=2"
    person = {"id": "00u1", "status": "ACTIVE", "profile": {"login": "a@acme.test", "email": "a@acme.test"}}
    emulated.okta.fail(
        {
            "match": "^/api/v1/users\\?",
            "skip": 0,
            "status": 200,
            "headers": {"Link": f'<{url}>; rel="next"'},
            "body": [person],
        }
    )
    connection = await connect_okta(bench, emulated)
    await _until_operation_ended(bench, connection, "users")
    run = (await bench.newest(connection))["users"]

    assert (run.status, run.error_slug) == ("partial", "unexpected-answer")
    assert "repeated its cursor" in (run.error_message or "")


async def test_a_token_revoked_in_the_middle_stops_the_schedules_until_a_new_one_is_given(
    bench: Bench, emulated: Emulated
) -> None:
    connection = await connect_github(bench, emulated)
    await bench.drain()
    before = await everything(bench)
    emulated.github.revoke(GITHUB_TOKEN)
    await bench.sync(connection, "repositories")
    stopped = await bench.read(connections.get_connection, connection.id)
    planned = await bench.read(schedules.list_schedules, connection.id)
    after = await everything(bench)
    with pytest.raises(Unauthorised, match="GitHub API key is invalid or expired"):
        await replace_credential(bench.parts, bench.org, connection.id, {"token": "gh-garbage"})
    with pytest.raises(Conflict, match="needs_reconnect"):
        await request_sync(bench.parts, bench.org, connection.id)
    emulated.github.reset()
    back = await replace_credential(bench.parts, bench.org, connection.id, {"token": GITHUB_TOKEN})
    await bench.drain()

    assert stopped.status == "needs_reconnect"
    assert not any(schedule.enabled for schedule in planned)
    assert back.status == "active"
    assert after == before
    assert {run.status for run in (await bench.newest(connection)).values()} == {"succeeded"}


async def test_an_account_is_connected_only_once_under_a_key_that_works(bench: Bench, emulated: Emulated) -> None:
    await connect_okta(bench, emulated)
    with pytest.raises(Conflict, match="Integration already exists for Okta"):
        await connect_okta(bench, emulated)
    with pytest.raises(Unauthorised, match="GitHub API key is invalid or expired"):
        await bench.connect(
            "github", "token", {"token": "gh-wrong"}, base_url=emulated.github_url, organization=ORGANIZATION
        )

    assert len((await bench.read(connections.list_connections, ALL)).items) == 1


async def test_an_address_with_a_query_is_refused_before_anything_is_asked(bench: Bench, emulated: Emulated) -> None:
    with pytest.raises(Invalid, match="must not hold a query"):
        await bench.connect(
            "github",
            "token",
            {"token": GITHUB_TOKEN},
            base_url=f"{emulated.github_url}/?a=b",
            organization=ORGANIZATION,
        )

    assert emulated.github.requests() == []


async def test_an_installed_app_is_connected_and_synced_by_tokens_that_are_minted_for_it(
    bench: Bench, emulated: Emulated
) -> None:
    url = emulated.github_url
    app = OAuthApp(client_id="emulated-github-app", private_key=SecretStr(app_key()), app_id="12345", slug="tieline")
    served = replace(bench.parts, apps={"github": app}, hosts={"github": {"api": url, "web": url, "base_url": url}})
    ours = Bench(served, bench.org)
    installed = Installation(installation_id=GITHUB_INSTALLATION, account=ORGANIZATION, account_id="1")
    way = github.mode("app_install")
    connection = await establish(ours.parts, ours.org, github, way, github.options(), installed)
    await ours.drain()
    minted = [line for line in emulated.github.requests() if line.endswith("/access_tokens")]

    assert (connection.status, connection.account_name, connection.auth) == ("active", ORGANIZATION, "app_install")
    assert {run.status for run in (await ours.newest(connection)).values()} == {"succeeded"}
    repositories = await ours.read(entity_lists.list_entities, ALL, kind="repository", connection_id=connection.id)
    assert len(repositories.items) == emulated.users
    assert len(minted) <= 6  # a token of an hour is not minted for each request, nor for each of the four runs twice


async def everything(bench: Bench) -> dict[str, Any]:
    """What a sync leaves behind, without what differs from run to run."""
    people = await bench.read(entity_lists.list_entities, ALL)
    raised = await bench.read(findings.list_findings, ALL)
    proofs = await bench.read(evidence.list_evidence, ALL)
    return {
        "entities": {one.id: (one.data, one.outcomes, one.run_id) for one in people.items},
        "findings": {one.id: (one.status, one.values) for one in raised.items},
        "evidence": {one.id: one.hash for one in proofs.items},
    }


async def _until_operation_ended(bench: Bench, connection: Connection, operation: str) -> None:
    await _work_until(bench, connection, operation, lambda run: run.finished_at is not None)


async def _until_operation_waits_or_ended(bench: Bench, connection: Connection, operation: str) -> None:
    await _work_until(bench, connection, operation, lambda run: bool(run.finished_at or run.resume_at))


async def _work_until(bench: Bench, connection: Connection, operation: str, there: Any) -> None:
    stop = asyncio.Event()
    engine = Engine(bench.parts.db, {"sync": bench._sync}, clock=bench.parts.clock, limits=QUICK)
    worker = asyncio.create_task(engine.run(until=stop))
    try:
        async with asyncio.timeout(120):
            while not there((await bench.newest(connection))[operation]):
                await asyncio.sleep(0.1)
    finally:
        stop.set()
        await worker
