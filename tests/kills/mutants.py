"""Faults that are put in on purpose, to see that a kill shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from tieline.flows import judging, sync
from tieline.ids import to_uuid
from tieline.stages.attest import attest
from tieline.store import runs, schedules
from tieline.store.db import Work

store_batch = sync.store_batch


def become(name: str) -> None:
    """Spoil this process, for good."""
    if name:
        MUTANTS[name]()


def _save_place_first() -> None:
    async def store(one: Any, batch: Any, checkpoint: Any, **about: Any) -> None:
        async with one.parts.db.work(one.hold.org_id) as work:
            await runs.update_run(work, one.run.id, checkpoint=checkpoint)
        await store_batch(one, batch, checkpoint, **about)

    sync.store_batch = store


def _attest_apart() -> None:
    async def attest_apart(work: Work, answers: Sequence[Any], **about: Any) -> int:
        async with work.connection.engine.begin() as connection:
            await connection.execute(select(func.set_config("tieline.org", str(to_uuid(work.org_id, "org")), True)))
            return await attest(Work(connection, work.org_id), answers, **about)

    judging.attest = attest_apart


def _forget_the_fence() -> None:
    schedules._held = lambda work, hold: schedules._one(work, hold.schedule_id)


MUTANTS = {
    "the place of a page is committed before the page": _save_place_first,
    "evidence is committed apart from its page": _attest_apart,
    "a hold is not fenced": _forget_the_fence,
}
