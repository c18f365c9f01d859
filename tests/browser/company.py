"""A house in which a company has lived for a week, for looking at: connections well and ill, findings that came and went, people."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from tests.api.conftest import work_off
from tests.api.shapes import Scene
from tests.browser.house import House, opened

from tieline.cli.sandbox import Sandbox, sandbox
from tieline.clock import SystemClock
from tieline.flows.apps import save_app
from tieline.flows.connect import Attempt, connect
from tieline.flows.findings import mute
from tieline.flows.members import invite_member
from tieline.flows.parts import Parts
from tieline.flows.pauses import pause
from tieline.flows.sync import request_sync
from tieline.store.connections import Connection
from tieline.store.entity_lists import list_entities
from tieline.store.evidence import list_evidence
from tieline.store.findings import list_findings
from tieline.store.listing import Paging
from tieline.store.runs import list_runs, save_rejections

PEOPLE = 420
"""How many there are at the company: enough that most kinds of trouble exist, few enough to be read in seconds."""
TEAM = [("Ada Bergström", "admin"), ("Grace Okafor", "member"), ("Tomás Iglesias", "auditor")]
REJECTED = {
    "kind": "account",
    "field": "email",
    "reason": "is not an e-mail address",
    "record": {"id": "u-117", "mail": 7},
}


@dataclass
class Ago:
    """A clock that is behind by as much as is told."""

    by: timedelta = timedelta()

    def now(self) -> datetime:
        """The time there."""
        return SystemClock().now() - self.by


@asynccontextmanager
async def company() -> AsyncIterator[House]:
    """The house, over a PostgreSQL of its own; its `scene` names a row of each noun."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tieline-company-", ignore_cleanup_errors=True))
        )
        if os.name == "posix" and os.geteuid() == 0:
            folder.chmod(0o711)  # noqa: ASYNC240  run by root, PostgreSQL works as another account, which must get through
        own = stack.enter_context(sandbox(PEOPLE))
        async with opened(None, folder / "data", own.url, state_dir=folder / "state", key_ring=None) as house:
            house.scene = await _live(house, own)
            yield house


async def _live(house: House, own: Sandbox) -> Scene:
    clock = Ago(timedelta(days=6, hours=2))
    parts = replace(house.parts, clock=clock)
    org = await house.new_organization("Larkfield Instruments")
    for name, role in TEAM:
        await invite_member(parts, org, email=f"{name.split()[0].lower()}@larkfield.example", name=name, role=role)  # type: ignore[arg-type]
    attempt = Attempt("sandbox", {"base_url": own.url}, {"token": own.token}, "Larkfield Instruments")
    main = await connect(parts, org, attempt)
    await work_off(parts)
    await _mute_some(parts, org)
    await save_app(parts, org, "github", {"client_id": "Iv1.8a61f9b3a7aba766", "client_secret": "not-a-real-secret"})

    clock.by = timedelta(days=3)
    with _another(8, "lks_withdrawn") as small:
        labs = await _connect_another(parts, org, small, "Larkfield Labs")
        await asyncio.to_thread(own.tell_story)
        await _sync(parts, org, main)
    clock.by = timedelta(hours=3)
    with _another(8, "lks_in_its_place", port=urlsplit(small.url).port):
        await _sync(parts, org, labs)
    with _another(9, "lks_third") as third:
        await pause(parts, org, (await _connect_another(parts, org, third, "Larkfield Archive")).id)
    clock.by = timedelta()
    await _sync(parts, org, main)
    return await _scene(parts, org, main)


@contextmanager
def _another(seed: int, token: str, *, port: int | None = 0) -> Iterator[Sandbox]:
    """Another account, small, at a sandbox of its own."""
    command = [sys.executable, "-m", "tieline.providers.sandbox", "--until-stdin-closes", "--people", "60"]
    command += ["--seed", str(seed), "--token", token, "--port", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        yield Sandbox(json.loads(process.stdout.readline())["url"], token)
        process.stdin.close()


async def _connect_another(parts: Parts, org: str, there: Sandbox, name: str) -> Connection:
    made = await connect(parts, org, Attempt("sandbox", {"base_url": there.url}, {"token": there.token}, name))
    await work_off(parts)
    return made


async def _sync(parts: Parts, org: str, connection: Connection) -> None:
    await request_sync(parts, org, connection.id)
    await work_off(parts)


async def _mute_some(parts: Parts, org: str) -> None:
    async with parts.db.work(org) as work:
        found = (await list_findings(work, Paging(limit=3), severity="medium")).items
    for one in found:
        await mute(
            parts,
            org,
            one.id,
            reason="Accepted until the next review",
            until=parts.clock.now() + timedelta(days=90),
            actor="system",
        )


async def _scene(parts: Parts, org: str, main: Connection) -> Scene:
    async with parts.db.work(org) as work:
        run = (await list_runs(work, Paging(), operation="people", connection_id=main.id)).items[0]
        await save_rejections(work, run.id, [REJECTED], now=parts.clock.now())
        finding = (await list_findings(work, Paging(), connection_id=main.id, status="open", severity="high")).items[0]
        evidence = (await list_evidence(work, Paging(), entity_id=finding.entity_id)).items[0]
        assert (await list_entities(work, Paging(), kind="account")).items
    ids = {
        "connection_id": main.id, "run_id": run.id, "entity_id": finding.entity_id, "finding_id": finding.id, "evidence_id": evidence.id,
        "slug": "github", "control_id": "soc2:CC6.1", "check_id": finding.check_id, "operation": "people", "framework": "soc2", "org_id": org,
    }  # fmt: skip
    return Scene(org, org, {}, ids)
