"""Sync: run one operation for one connection, from the first page to the sweep.

Each batch of records is one transaction: transform → load → assess → attest → announce → checkpoint. Whatever happens, a batch is
wholly in or not at all, and replaying one changes nothing. Every trigger ends here and nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from hashlib import blake2b
from time import perf_counter
from typing import Any

import orjson

from tieline import faults
from tieline.catalog.compile import CompiledOperation, compile_operation
from tieline.errors import Conflict, NotFound, Unexpected
from tieline.flows import endings
from tieline.flows.audit import record
from tieline.flows.credentials import open_credential
from tieline.flows.judging import COLLECTED, SWEPT, Sync, conclude, judge_now
from tieline.flows.parts import Parts
from tieline.flows.reach import Reach, SharedBudget, parse_options, reach
from tieline.flows.states import RUNNABLE
from tieline.flows.sweep import sweep
from tieline.ids import to_uuid
from tieline.log import bind
from tieline.sdk.context import Checkpoint
from tieline.sdk.provider import Operation, Provider
from tieline.stages.assess import (
    Answer,
    Judge,
    assess,
    expect_new,
    keep_outcomes,
    reassess,
    refused_and_due,
    subjects_of,
)
from tieline.stages.collect import Batch, Pace, collect
from tieline.stages.load import Comparison, compare, label_of, load
from tieline.stages.transform import Candidate, Draft, Refusal, Transformed, draft, finish, hashes_of
from tieline.store import entities, runs, schedules
from tieline.store.connections import Connection, get_connection
from tieline.store.db import Work
from tieline.store.findings import rename_subjects
from tieline.store.run_spans import Span, add_page
from tieline.store.runs import Run
from tieline.store.schedules import Hold, Schedule
from tieline.store.timetables import set_default
from tieline.telemetry import instruments, span

MOST_PAGES = 200_000
"""How many pages a run may store before its provider is thought never to end."""

_log = logging.getLogger(__name__)


async def run_sync(parts: Parts, hold: Hold) -> None:
    """Carry out the run that a hold is for, or go on with it; the engine's handler for syncs."""
    sync = await _begin(parts, hold)
    if sync is None:
        return
    of = {"run_id": sync.run.id, "connection_id": sync.connection.id, "org_id": hold.org_id}
    about = {"provider": sync.provider.slug, "operation": sync.operation.id}
    told = {f"tieline.{name}": value for name, value in (of | about).items()} | {"tieline.attempt": sync.run.attempts}
    with bind(**of, **about), span(f"run {sync.provider.slug}", told, asked_by=sync.run.traceparent):
        try:
            await _read(sync)
            await sweep(sync)
            await endings.succeed(sync)
        except schedules.HoldLost:
            _log.warning("Another worker has taken over")
        except Exception as error:  # noqa: BLE001  every ending is decided in one place, by the error's type
            await endings.end(sync, error)


async def request_sync(
    parts: Parts, org_id: str, connection_id: str, *, operation: str | None = None, cause: str = "manual"
) -> list[Run]:
    """Ask for a run now, of one operation or all; the runs that answer it, those under way included."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        connection = await get_connection(work, connection_id, lock=True)  # before its schedules, as whoever stops them
        if operation:
            parts.catalog.operation(connection.provider, operation)
        endings.refuse_unless_runnable(connection)
        triggered = await schedules.trigger(work, connection_id, operation=operation, now=now, cause=cause)
        if not triggered:
            raise await _switched_off(work, connection_id, operation)
        queued = await queue_runs(work, connection, triggered, cause=cause, now=now)
        about = {"operation": operation, "cause": cause, "run_ids": [one.id for one in queued]}
        await record(work, parts, "sync.requested", connection_id, **about)
        faults.passing("trigger.made")
    faults.passing("trigger.committed")
    return queued


async def _switched_off(work: Work, connection_id: str, operation: str | None) -> Conflict:
    """Why nothing runs although the connection may."""
    planned = await schedules.list_schedules(work, connection_id)
    by_hand = all(not one.switched_on for one in planned if operation in {None, one.operation})
    advice = (
        "A person did that. Switch it on first: `tieline connections schedule … --on`."
        if planned and by_hand
        else "Grant what the connection lacks, then test it: `tieline connections test`."
    )
    return Conflict(f"{operation or 'Every operation'} is switched off", advice=advice)


async def queue_runs(
    work: Work, connection: Connection, planned: Sequence[Schedule], *, cause: str, now: datetime
) -> list[Run]:
    """A queued run for each schedule that has no unfinished one; the unfinished runs of all of them."""
    return [
        await runs.get_run(work, one.run_id)
        if one.run_id
        else await _queue_run(work, one, connection, cause=cause, now=now)
        for one in planned
    ]


async def _queue_run(work: Work, schedule: Schedule, connection: Connection, *, cause: str, now: datetime) -> Run:
    run = await runs.create_run(
        work,
        connection_id=connection.id,
        provider=connection.provider,
        operation=schedule.operation or "",
        kind=schedule.kind,
        cause=cause,
        now=now,
    )
    await schedules.set_run(work, schedule.id, run.id)
    return run


async def _begin(parts: Parts, hold: Hold) -> Sync | None:
    """Take the fence; `None` if there is nothing to run."""
    now = parts.clock.now()
    async with parts.db.work(hold.org_id) as work:
        schedule = await schedules.begin(work, hold)
        if schedule is None:
            return None
        connection = await get_connection(work, schedule.connection_id or "")
        gone = connection.status == "disconnected"
        if connection.status not in RUNNABLE and not gone:
            await schedules.give_back(work, schedule.hold, now=now, error=f"the connection is {connection.status}")
            return None
        run = await _unfinished_run(work, schedule, connection, now)
        if schedule.cancel_requested or gone:
            why = endings.Cancelled("The connection was disconnected" if gone else "Cancelled by a person")
            await endings.close(work, schedule, run, why, now=now)
            return None
        try:
            provider = parts.catalog.provider(connection.provider)
            operation = parts.catalog.operation(provider.slug, run.operation)
        except NotFound as error:  # it was installed once
            await endings.close(work, schedule, run, error, status="failed", now=now)
            return None
        if schedule.every != operation.every:  # the provider was upgraded
            await set_default(work, schedule.id, operation.every)
        await _plan_new(work, connection, provider, now)
        run = await _take_up(work, run, _stamp(connection, operation), now)
        before = await runs.last_finished(work, connection.id, run.operation)
    faults.passing("run.begun")
    return Sync(parts, schedule.hold, schedule, connection, run, provider, operation, is_first=before is None)


async def _plan_new(work: Work, connection: Connection, provider: Provider[Any], now: datetime) -> None:
    """Plan the operations that the provider did not have yet when the account was connected."""
    planned = {one.operation for one in await schedules.list_schedules(work, connection.id)}
    new = [(one.id, one.every) for one in provider.operations if one.id not in planned]
    due = await schedules.create_schedules(work, connection.id, provider.slug, new, now=now, cause="connect")
    await queue_runs(work, connection, due, cause="connect", now=now)


async def _unfinished_run(work: Work, schedule: Schedule, connection: Connection, now: datetime) -> Run:
    if schedule.run_id:
        return await runs.get_run(work, schedule.run_id)
    return await _queue_run(work, schedule, connection, cause=schedule.cause, now=now)


async def _take_up(work: Work, run: Run, stamp: str, now: datetime) -> Run:
    """The run as it is begun or goes on: from its place, unless it would read in another way than it did up to there."""
    if run.stamp not in (None, stamp) and run.checkpoint != SWEPT:
        run = await runs.start_over(work, run)
    run = replace(run, started_at=run.started_at or now, attempts=run.attempts + 1, stamp=stamp)
    started = {"status": "running", "started_at": run.started_at, "attempts": run.attempts, "stamp": stamp}
    await runs.update_run(work, run.id, **started, resume_at=None, error_slug=None, error_message=None)
    return run


def _stamp(connection: Connection, operation: Operation) -> str:
    """Tells one way to read an operation from another, in which other records may come, or other entities from them."""
    own = connection.overrides.get(operation.id) or {}
    way = [connection.auth, connection.options, own, [one.revision.hex() for one in operation.into]]
    return blake2b(orjson.dumps(way, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


async def _read(sync: Sync) -> None:
    """Every page that the run has not stored yet."""
    saved = sync.run.checkpoint
    if saved in (COLLECTED, SWEPT):
        return
    start = Checkpoint(saved["spine"], saved["cursor"]) if saved else None
    own = sync.connection.overrides.get(sync.operation.id)
    compiled = compile_operation(sync.parts.catalog, sync.provider.slug, sync.operation, own)
    read = partial(_draft, sync, compiled)
    async with _reach(sync) as opened, aclosing(collect(sync.operation, opened.context, start, read)) as batches:
        async for batch in batches:
            before, saved = saved, _written(batch.checkpoint) if batch.checkpoint else saved
            with _watched(sync, batch):
                await store_batch(sync, batch, saved, got_on=saved != before)
    await _mark_collected(sync)


async def _draft(sync: Sync, compiled: CompiledOperation, records: Sequence[Any]) -> list[Draft | Refusal]:
    """What records are about, found while the database works; of a first reading, of which all is new, also what becomes of them."""
    about: dict[str, Any] = {
        "connection": to_uuid(sync.connection.id, "conn"),
        "options": sync.connection.options,
    }
    if own := sync.connection.overrides.get(sync.operation.id):  # nobody has vouched for these
        drafts = await sync.parts.bench.draft(records, compiled, own, **about)
    else:
        drafts = draft(records, compiled, **about, all_new=sync.is_first)
    if sync.is_first:
        made = [one.made for one in drafts if isinstance(one, Draft)]
        candidates = [one for one in made if isinstance(one, Candidate)]
        expect_new(candidates, Judge(sync.parts.catalog, sync.connection, sync.now, complete=frozenset()))
    return drafts


@asynccontextmanager
async def _reach(sync: Sync) -> AsyncIterator[Reach]:
    """The way to the provider, with the credential in force now and the budget that all workers share."""
    parts, connection, org_id = sync.parts, sync.connection, sync.hold.org_id
    async with parts.db.work(org_id) as work:
        held = await open_credential(work, parts, sync.provider, connection)
    options = parse_options(sync.provider, connection.options)
    budget = SharedBudget(parts, connection)
    async with reach(parts, org_id, sync.provider, options, held, connection=connection, budget=budget) as opened:
        yield opened


def _written(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"spine": checkpoint.spine, "cursor": checkpoint.cursor}


@contextmanager
def _watched(sync: Sync, batch: Batch) -> Iterator[None]:
    """Trace and time the storing of a batch, once it is committed."""
    begun, slug = perf_counter(), sync.provider.slug
    with span("store a page", {"tieline.records": len(batch.records)}):
        yield
    instruments.PAGES.add(provider=slug)
    read = max((batch.pace.ended - batch.pace.begun).total_seconds(), 0.0)
    instruments.PAGE_SECONDS.record(read, provider=slug, part="read")
    instruments.PAGE_SECONDS.record(perf_counter() - begun, provider=slug, part="load")


async def store_batch(sync: Sync, batch: Batch, checkpoint: dict[str, Any] | None, *, got_on: bool) -> None:
    """Store one batch of drafts and the place to go on from, in one transaction; `got_on` if that is another place than before."""
    begun = sync.now
    faults.passing("page.fetched")
    async with sync.parts.db.work(sync.hold.org_id) as work:
        await endings.take_turn(work, sync.connection)
        judge = await judge_now(work, sync.parts, sync.connection)
        known = await entities.look_up(work, hashes_of(batch.records), now=judge.now)
        made = finish(batch.records, known)
        counts = await _store(work, sync, made, compare(made.candidates.values(), known), judge)
        await _save_samples(work, sync, made)
        counts |= {"records": len(batch.records), "skipped": made.skipped}
        counts |= {"rejected": len(made.refusals), "unidentified": made.unidentified}
        seen = entities.keys_of(made.seen)
        page = await runs.save_progress(work, sync.run.id, checkpoint=checkpoint, counts=counts, seen=seen)
        if page > MOST_PAGES:  # each reading has its own bound, but a run may go on with many, one after the other
            raise Unexpected(f"{sync.provider.name} does not come to an end: {MOST_PAGES:,} pages were read in one run")
        await add_page(work, sync.run.id, span_of(page, batch.pace, loaded_since=begun, now=sync.now))
        faults.passing("page.checkpoint")
        await endings.keep_or_stop(work, sync, got_on=got_on)
    faults.passing("page.committed")


async def _store(work: Work, sync: Sync, made: Transformed, compared: Comparison, judge: Judge) -> dict[str, int]:
    subjects = subjects_of(compared)
    assessed = await assess(work, subjects, judge)
    linked = await load(
        work,
        compared,
        assessed.outcomes,
        assessed.judge_at,
        connection=sync.connection,
        operation=sync.operation.id,
        run_id=sync.run.id,
        now=judge.now,
    )
    await rename_subjects(work, {one.id: label_of(one.entity) for one in compared.changed})
    written = {one.id for one in compared.to_write}
    await keep_outcomes(work, assessed, [one for one in subjects if one.id not in written])
    faults.passing("page.entities")
    due = refused_and_due(made, compared.known, judge.now)
    again = await reassess(work, linked, judge, due=due)
    moved = await conclude(work, sync, merge(assessed.answers, again.answers), judge)
    unchanged = len(compared.unchanged) + len(made.same)
    return {"created": len(compared.created), "changed": len(compared.changed), "unchanged": unchanged} | moved


def merge(first: Sequence[Answer], again: Sequence[Answer]) -> list[Answer]:
    """The answers of one transaction: of two about the same, the later one, against what stood before both."""
    merged = {(one.subject.id, one.check.id): one for one in first}
    for one in again:
        earlier = merged.get((one.subject.id, one.check.id))
        merged[one.subject.id, one.check.id] = one._replace(before=earlier.before) if earlier else one
    return list(merged.values())


def span_of(page: int, pace: Pace, *, loaded_since: datetime, now: datetime) -> Span:
    """How the time of a page went that is about to be committed."""

    def ms(begun: datetime, ended: datetime) -> int:
        return max(round((ended - begun).total_seconds() * 1000), 0)

    waited = {"limited_ms": pace.limited_ms, "retried_ms": pace.retried_ms}
    return Span(page, "", 1, pace.begun, now, ms(pace.begun, pace.ended), **waited, load_ms=ms(loaded_since, now))


async def _save_samples(work: Work, sync: Sync, made: Transformed) -> None:
    samples = [
        {"kind": one.kind, "field": one.field, "reason": one.reason, "record": one.record} for one in made.refusals
    ]
    await runs.save_rejections(work, sync.run.id, samples, now=sync.now)


async def _mark_collected(sync: Sync) -> None:
    async with sync.parts.db.work(sync.hold.org_id) as work:
        await runs.update_run(work, sync.run.id, checkpoint=COLLECTED)
        await endings.keep_or_stop(work, sync)
    faults.passing("run.collected")
