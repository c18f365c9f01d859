"""Waiting for runs: it ends, too, where a run broke off and rests before it is tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.flows.bench import Bench

from tieline.cli import exits
from tieline.cli.progress import explain, make_display, watch
from tieline.store.runs import update_run
from tieline.store.schedules import begin, give_back


@pytest.mark.parametrize("status", ["queued", "running"])
async def test_patience_ends_for_a_run_that_broke_off_and_is_tried_again_much_later(synced: Bench, status: str) -> None:
    (run,) = await synced.request("people")
    (hold,) = await synced.admit()
    async with synced.parts.db.work(synced.org) as work:
        schedule = await begin(work, hold)
        await update_run(work, run.id, status=status)
        await give_back(work, schedule.hold, now=synced.clock.now(), error="KeyError")
    outcome = await watch(synced.parts, synced.org, [run], make_display({}), patience=timedelta(seconds=1))
    assert outcome.code == exits.STILL_WAITING
    (watched,) = outcome.runs
    assert watched.state == "waiting"
    assert "it broke off, and is tried again at" in explain(watched, {})
