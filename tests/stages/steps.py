"""What the tests of the single steps are arranged with: a connection and a run in the shared database, and small things to load."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tieline.catalog.compile import Catalog, CompiledOperation
from tieline.ids import new_id, to_uuid
from tieline.sdk import Context, Mapping, Operation
from tieline.sdk.checks import Check
from tieline.stages.announce import announce_findings
from tieline.stages.assess import Answer, Assessed, Judge, assess, keep_outcomes, move_findings, subjects_of
from tieline.stages.attest import attest
from tieline.stages.load import Comparison, compare, load
from tieline.stages.transform import Transformed, transform
from tieline.store.connections import Connection, save_connection
from tieline.store.db import Db, Work
from tieline.store.entities import SAID_BYTES, look_up
from tieline.store.organizations import Organization
from tieline.store.runs import Run, create_run

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Step:
    """A connection and a run of its one operation; `later` is the same on another day."""

    db: Db
    org_id: str
    connection: Connection
    run: Run
    now: datetime = NOW

    def later(self, **by: float) -> Step:
        return replace(self, now=self.now + timedelta(**by))

    def judge(self, *checks: Check, complete: Sequence[str] = (), moving: Sequence[str] = ()) -> Judge:
        catalog = Catalog({}, checks, {})
        return Judge(catalog, self.connection, self.now, frozenset(complete), frozenset(moving))

    async def store(self, made: Transformed, judge: Judge | None = None) -> tuple[Comparison, list[Answer]]:
        """Compare, assess and load as a page does; what was compared and answered."""
        async with self.db.work(self.org_id) as work:
            compared, assessed, _ = await self.load(work, made, judge or self.judge())
            return compared, assessed.answers

    async def load(
        self, work: Work, made: Transformed, judge: Judge
    ) -> tuple[Comparison, Assessed, list[tuple[str, Any]]]:
        known = await look_up(work, {one.id: one.hash[SAID_BYTES:] for one in made.candidates.values()}, now=judge.now)
        compared = compare(made.candidates.values(), known)
        changed = {one.id for one in compared.to_write}
        subjects = subjects_of(compared)
        assessed = await assess(work, subjects, judge)
        about: dict[str, Any] = {"connection": self.connection, "operation": "things", "run_id": self.run.id}
        linked = await load(work, compared, assessed.outcomes, assessed.judge_at, **about, now=self.now)
        await keep_outcomes(work, assessed, [one for one in subjects if one.id not in changed])
        return compared, assessed, linked

    async def conclude(self, answers: Sequence[Answer]) -> tuple[dict[str, list[str]], int]:
        """Move findings and attest; external ids of the findings moved, and how many statements were written."""
        async with self.db.work(self.org_id) as work:
            about: dict[str, Any] = {"connection": self.connection, "now": self.now}
            moved = await move_findings(work, answers, run_id=self.run.id, **about)
            written = await attest(work, answers, run=self.run, query={"operation": "things"}, **about)
        return {name: [one.external_id for one in found] for name, found in moved.items()}, written

    async def page(self, made: Transformed, judge: Judge) -> tuple[dict[str, list[str]], int]:
        """All of a page: stored, judged, concluded."""
        return await self.conclude((await self.store(made, judge))[1])

    async def announced_page(self, made: Transformed, judge: Judge) -> None:
        """The same, and told."""
        _, answers = await self.store(made, judge)
        async with self.db.work(self.org_id) as work:
            moved = await move_findings(work, answers, connection=self.connection, run_id=self.run.id, now=self.now)
            await announce_findings(work, moved, now=self.now)

    async def query(self, statement: str) -> list[dict[str, Any]]:
        async with self.db.work(self.org_id) as work:
            return [dict(row) for row in await (await work.driver()).fetch(statement)]

    def made(self, mapping: Mapping[Any], *records: Any) -> Transformed:
        return transform(records, compiled(mapping), connection=to_uuid(self.connection.id, "conn"), options={})


def compiled(*mappings: Mapping[Any]) -> CompiledOperation:
    return CompiledOperation(
        operation=operation(nothing, *mappings),
        mappings={one.variant: one.compile() for one in mappings},
        checks={},
        revisions={one.variant: one.revision for one in mappings},
    )


async def nothing(ctx: Context[Any]) -> AsyncIterator[Any]:
    """Reads nothing."""
    for record in ():
        yield record


def operation(read: Any, *mappings: Mapping[Any]) -> Operation:
    return Operation("things", "Things", mappings, timedelta(hours=1), frozenset(), read)


async def make_step(db: Db, organization: Organization) -> Step:
    moments = {"created_at": NOW, "updated_at": NOW, "validated_at": NOW}
    connection = Connection(
        id=new_id("conn"), org_id=organization.id, provider="sandbox", name="Test", auth="token", status="active",
        account_id="acc", account_name="Account", options={}, **moments,
    )  # fmt: skip
    async with db.work(organization.id) as work:
        await save_connection(work, connection)
        run = await create_run(
            work,
            connection_id=connection.id,
            provider="sandbox",
            operation="things",
            kind="sync",
            cause="test",
            now=NOW,
        )
    return Step(db, organization.id, connection, run)
