"""The bench for journeys: a sandbox in a process of its own, a connection to it in a database of its own, and what stands after."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2

from tieline.catalog import load_catalog
from tieline.flows.connect import Attempt, connect
from tieline.flows.parts import Parts
from tieline.flows.sync import request_sync, run_sync
from tieline.ids import to_uuid
from tieline.sdk.addresses import AddressPolicy
from tieline.store.admission import admit
from tieline.store.connections import Connection, get_connection
from tieline.store.db import Db
from tieline.store.entities import StoredEntity
from tieline.store.entity_lists import list_entities
from tieline.store.evidence import Evidence, list_evidence
from tieline.store.findings import Finding, list_events, list_findings
from tieline.store.listing import Paging
from tieline.store.organizations import create_organization
from tieline.store.runs import Run, get_run, list_rejections, list_runs
from tieline.store.schedules import Hold, Schedule, begin, give_back, list_schedules
from tieline.vault import LocalKeyRing, Vault

ALL = Paging(limit=5_000)
MOVED = ("created", "changed", "removed", "findings_opened", "findings_resolved", "evidence")
"""Counts of a run that tell what it wrote."""


class MovableClock:
    """The machine's clock, moved forward by whoever does not want to wait."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def move_to(self, moment: datetime) -> None:
        self.ahead = max(self.ahead, moment - datetime.now(UTC) + timedelta(milliseconds=1))


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, and the calls that move and spoil it."""

    url: str
    token: str

    def control(self, call: str, **body: Any) -> Any:
        headers = {"X-Sandbox-Control": self.token}
        answer = httpx2.post(f"{self.url}/_sandbox/{call}", headers=headers, json=body, trust_env=False, timeout=20)
        return answer.raise_for_status().json()

    def ask(self, call: str) -> Any:
        headers = {"X-Sandbox-Control": self.token}
        return httpx2.get(f"{self.url}/_sandbox/{call}", headers=headers, trust_env=False, timeout=20).json()

    def change(self, action: str, count: int = 1) -> list[dict[str, Any]]:
        """Let something happen, so often; the changes."""
        changes: list[dict[str, Any]] = self.control("change", action=action, count=count)["changes"]
        return changes

    def spoil(self, match: str, **rule: Any) -> None:
        """Spoil the answers to matching requests, in the place of all rules before."""
        self.control("faults", rules=[{"match": match, **rule}])

    def heal(self) -> None:
        self.control("faults", rules=[])

    def requests(self, containing: str) -> list[dict[str, Any]]:
        return [one for one in self.ask("log")["data"] if containing in one["request"]]


@contextmanager
def start_sandbox(people: int, *options: str) -> Iterator[Sandbox]:
    """A sandbox that ends with the block, or with this process."""
    command = [sys.executable, "-m", "tieline.providers.sandbox", "--people", str(people), "--until-stdin-closes"]
    command += ["--rate-limit", "1000000", "--token", "lks_for_tests_only", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        yield Sandbox(json.loads(process.stdout.readline())["url"], "lks_for_tests_only")
        process.stdin.close()
        assert process.wait(timeout=20) == 0


@dataclass
class Bench:
    """A connection to a sandbox, and ways to run it and look at what stands."""

    parts: Parts
    clock: MovableClock
    sandbox: Sandbox
    connection: Connection
    failures: list[Exception] = field(default_factory=list)

    @property
    def org(self) -> str:
        return self.connection.org_id

    async def sync(self, operation: str | None = None) -> dict[str, Run]:
        """Ask for a run of one operation or all, run everything to its end, and give the runs that did it, by operation."""
        await self.request(operation)
        await self.drain()
        newest: dict[str, Run] = {}
        for run in await self.runs():
            newest.setdefault(run.operation, run)
        return {name: run for name, run in newest.items() if operation in {None, name}}

    async def request(self, operation: str | None = None) -> list[Run]:
        return await request_sync(self.parts, self.org, self.connection.id, operation=operation)

    async def drain(self) -> None:
        """Run all that is due, one after the other, moving the clock to what waits, until no run is unfinished."""
        for _ in range(100):
            if not (schedules := await self.unfinished()):
                return
            self.clock.move_to(min(one.next_run_at for one in schedules if one.next_run_at))
            await self.run_due()
        raise AssertionError(f"the runs do not end: {self.failures[-3:]}")

    async def admit(self) -> list[Hold]:
        """Holds on all that is due now."""
        async with self.parts.db.system() as work:
            return await admit(work, now=self.clock.now(), kinds=["sync"], free_slots=50, org_cap=50, provider_cap=50)

    async def run_due(self) -> int:
        """Run what is due now, one run after the other; how many."""
        holds = await self.admit()
        for hold in holds:
            await self.carry_out(hold)
        return len(holds)

    async def carry_out(self, hold: Hold) -> None:
        """What a worker does with a hold, a failure of ours included."""
        async with self.parts.db.work(self.org) as work:
            schedule = await begin(work, hold)
        assert schedule
        try:
            await run_sync(self.parts, schedule.hold)
        except Exception as error:  # noqa: BLE001  as the worker: the hold is handed back, whatever it was
            self.failures.append(error)
            async with self.parts.db.work(self.org) as work:
                await give_back(work, schedule.hold, now=self.clock.now(), error=type(error).__name__)

    async def unfinished(self) -> list[Schedule]:
        """Schedules with a run that waits or was asked for."""
        return [
            one for one in await self.schedules() if one.enabled and (one.run_id or one.generation > one.ran_generation)
        ]

    async def schedules(self) -> list[Schedule]:
        async with self.parts.db.work(self.org) as work:
            return await list_schedules(work, self.connection.id)

    async def schedule(self, operation: str) -> Schedule:
        return next(one for one in await self.schedules() if one.operation == operation)

    async def standing(self) -> Connection:
        async with self.parts.db.work(self.org) as work:
            return await get_connection(work, self.connection.id)

    async def runs(self, operation: str | None = None) -> list[Run]:
        """Runs, newest first."""
        async with self.parts.db.work(self.org) as work:
            return (await list_runs(work, ALL, operation=operation)).items

    async def run(self, run_id: str) -> Run:
        async with self.parts.db.work(self.org) as work:
            return await get_run(work, run_id)

    async def rejections(self, run_id: str) -> list[Any]:
        async with self.parts.db.work(self.org) as work:
            return (await list_rejections(work, run_id, ALL)).items

    async def entities(self, kind: str, *, removed: bool = False) -> dict[str, StoredEntity]:
        """Entities of a kind by their external ids."""
        async with self.parts.db.work(self.org) as work:
            found = await list_entities(work, ALL, kind=kind, removed=removed)
        assert found.next is None
        return {one.external_id: one for one in found.items}

    async def findings(self, check: str | None = None, *, status: str | None = None) -> dict[str, Finding]:
        """Findings of one check by the external id of what they are about."""
        found = {one.external_id: one for one in await self.all_findings() if one.check_id == check}
        return {name: one for name, one in found.items() if status in {None, one.status}}

    async def all_findings(self) -> list[Finding]:
        async with self.parts.db.work(self.org) as work:
            return (await list_findings(work, ALL)).items

    async def history(self, finding: Finding) -> list[str]:
        async with self.parts.db.work(self.org) as work:
            return [one.event for one in await list_events(work, finding.id)]

    async def evidence(self, check: str | None = None) -> list[Evidence]:
        """Statements, oldest first."""
        found: list[Evidence] = []
        cursor: str | None = None
        async with self.parts.db.work(self.org) as work:
            while True:
                page = await list_evidence(work, Paging(cursor, 5_000), check_id=check)
                found += page.items
                if not (cursor := page.next):
                    return found[::-1]

    async def query(self, statement: str) -> list[dict[str, Any]]:
        """Rows of this organization, by the application's own role."""
        async with self.parts.db.work(self.org) as work:
            driver = await work.driver()
            return [dict(row) for row in await driver.fetch(statement)]


async def work_as_owner(url: str, statement: str) -> None:
    """Do by hand what nobody can through Tieline."""
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@asynccontextmanager
async def connected(url: str, ring: LocalKeyRing, sandbox: Sandbox) -> AsyncIterator[Bench]:
    """A bench in a new organization of a database: connected, with its first syncs queued."""
    db = Db(url, pool_size=6)
    clock = MovableClock()
    try:
        async with db.system() as work:
            org = await create_organization(work, slug=f"org-{uuid4().hex[:12]}", name="Test", now=clock.now())
        parts = parts_over(db, ring, clock)
        attempt = Attempt("sandbox", {"base_url": sandbox.url}, {"token": sandbox.token})
        yield Bench(parts, clock, sandbox, await connect(parts, org.id, attempt))
    finally:
        await db.close()


def parts_over(db: Db, ring: LocalKeyRing, clock: Any) -> Parts:
    return Parts(db, load_catalog(), Vault(ring), clock, AddressPolicy.parse("127.0.0.1"), ring)


async def take_snapshot(bench: Bench) -> dict[str, Any]:
    """What stands, in a form that is the same for the same story: no ids, no times, nothing that names a run."""
    rows = await bench.query("SELECT * FROM entities ORDER BY kind, external_id")
    names = {row["id"]: f"{row['kind']}:{row['external_id']}" for row in rows}
    links = await bench.query("SELECT * FROM links")
    versions = await bench.query("SELECT * FROM entity_versions ORDER BY until")
    findings = await bench.all_findings()
    return {
        "entities": {names[row["id"]]: _entity(row) for row in rows},
        "versions": sorted(
            f"{names[row['entity_id']]} {row['removed']} {timeless(_read(row['fields']))}" for row in versions
        ),
        "links": {(names[row["source_id"]], row["field"], names.get(row["target_id"])) for row in links},
        "findings": {f"{one.check_id} {names[to_uuid(one.entity_id, 'ent')]}": _finding(one) for one in findings},
        "histories": {
            f"{one.check_id} {names[to_uuid(one.entity_id, 'ent')]}": await bench.history(one) for one in findings
        },
        "evidence": _statements(await bench.evidence()),
        "runs": _runs(await bench.runs()),
    }


def timeless(value: Any) -> Any:
    """The same without moments, and without what depends on where a batch happened to end."""
    if isinstance(value, dict):
        kept = {name: timeless(one) for name, one in value.items() if not name.endswith("_at")}
        return {name: one for name, one in kept.items() if not (isinstance(one, dict) and "complete" in one)}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def _entity(row: dict[str, Any]) -> Any:
    outcomes = {check: outcome for check, (outcome, _) in _read(row["outcomes"]).items()}
    return row["operation"], row["status"], timeless(_read(row["data"])), outcomes, row["removed_at"] is not None


def _finding(finding: Finding) -> Any:
    return finding.status, finding.severity, finding.subject, finding.reopened, timeless(finding.values)


def _statements(found: list[Evidence]) -> dict[str, list[Any]]:
    """The statements about each thing, in their order."""
    told: dict[str, list[Any]] = {}
    for one in found:
        about = f"{one.check_id} {one.kind}:{one.external_id}"
        told.setdefault(about, []).append((one.stance, tuple(one.controls), str(timeless(one.content["values"]))))
    return told


def _runs(found: list[Run]) -> dict[str, list[Any]]:
    """What each run of an operation wrote, oldest first."""
    told: dict[str, list[Any]] = {}
    for run in reversed(found):
        told.setdefault(run.operation, []).append((run.status, {name: getattr(run, name) for name in MOVED}))
    return told


def _read(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
