"""Sweep: the end of a complete run. What it no longer saw is closed, and what had to wait for it is judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from tieline import faults
from tieline.flows import endings
from tieline.flows.judging import COLLECTED, SWEPT, Sync, conclude, judge_now
from tieline.ids import to_uuid
from tieline.stages.announce import announce_findings
from tieline.stages.assess import assess_stored, reassess, resolve_removed
from tieline.store import entities, runs

_BRAKE_FLOOR = 10


async def sweep(sync: Sync) -> None:
    """Close what the run no longer saw, then judge what was unknown until the reading was complete."""
    if sync.run.checkpoint != SWEPT:
        await _may_remove(sync)
        while await _sweep_batch(sync):
            faults.passing("run.swept")
    for kind, checks in sorted(_judged_by(sync).items()):
        await _judge_unknown(sync, kind, checks)
    faults.passing("run.judged")


async def _may_remove(sync: Sync) -> None:
    """Absence means something only if every record was read, and if it is believable."""
    async with sync.parts.db.work(sync.hold.org_id) as work:
        if unidentified := (await runs.get_run(work, sync.run.id)).unidentified:
            raise endings.Unreadable(unidentified)
        unseen, present = await entities.count_unseen(
            work, connection_id=sync.connection.id, operation=sync.operation.id, run_id=sync.run.id
        )
    if not sync.run.force and unseen > max(_BRAKE_FLOOR, present * sync.parts.brake_share):
        raise endings.Braked(unseen, present)


async def _sweep_batch(sync: Sync) -> bool:
    async with sync.parts.db.work(sync.hold.org_id) as work:
        await endings.take_turn(work, sync.connection)
        judge = await judge_now(work, sync.parts, sync.connection, finished=sync.operation.id)
        removed = await entities.remove_unseen(
            work,
            connection_id=sync.connection.id,
            operation=sync.operation.id,
            run_id=sync.run.id,
            now=judge.now,
        )
        if not removed:
            await runs.update_run(work, sync.run.id, checkpoint=SWEPT)
            await endings.keep_or_stop(work, sync)
            return False
        resolved = await resolve_removed(work, removed, run_id=sync.run.id, now=judge.now)
        await announce_findings(work, {"resolved": resolved}, now=judge.now)
        links = [(field, target) for field, _, target in await entities.links_from(work, removed)]
        again = await reassess(work, links, judge)
        counts = await conclude(work, sync, again.answers, judge)
        counts["findings_resolved"] += len(resolved)
        await runs.save_progress(
            work, sync.run.id, checkpoint=COLLECTED, counts=counts | {"removed": len(removed)}, seen=b""
        )
        await endings.keep_or_stop(work, sync)
    return True


def _judged_by(sync: Sync) -> dict[str, set[str]]:
    """The checks, by kind, that judge entities by what links to them from the kinds that this operation reads."""
    found: dict[str, set[str]] = {}
    for check in sync.parts.catalog.checks:
        links = {kind for kind, _ in check.related.values()}
        if check.provider in {None, sync.provider.slug} and links & sync.operation.kinds:
            found.setdefault(check.kind, set()).add(check.id)
    return found


async def _judge_unknown(sync: Sync, kind: str, checks: Collection[str]) -> None:
    """Judge the present entities of a kind for which the answer of one of these checks is unknown, batch by batch."""
    after = None
    while True:
        async with sync.parts.db.work(sync.hold.org_id) as work:
            await endings.take_turn(work, sync.connection)
            judge = await judge_now(work, sync.parts, sync.connection, finished=sync.operation.id)
            stored = await entities.read_present(
                work, connection_id=sync.connection.id, kind=kind, unknown=checks, after=after
            )
            if not stored:
                return
            assessed = await assess_stored(work, stored, judge)
            counts = await conclude(work, sync, assessed.answers, judge)
            if any(counts.values()):
                await runs.save_progress(work, sync.run.id, checkpoint=SWEPT, counts=counts, seen=b"")
            await endings.keep_or_stop(work, sync)
        after = _last_id(stored)


def _last_id(stored: Sequence[entities.StoredEntity]) -> UUID:
    return to_uuid(stored[-1].id, "ent")
