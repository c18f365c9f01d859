"""The platform by the API: workers, settings and load, for operators, as the console shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import httpx2
import pytest
from fastapi import FastAPI
from tests.api.shapes import Scene
from tests.api.test_rows import assert_shape

from tieline.api.v1 import platform
from tieline.flows.parts import Parts
from tieline.ids import new_id
from tieline.settings import describe_settings, read_settings
from tieline.store.workers import HOUR, Worker, note_worker, prune_workers

As = Callable[[str], httpx2.AsyncClient]


async def test_workers_are_listed_as_alive_or_silent_and_add_up(as_: As, parts: Parts) -> None:
    now, half = parts.clock.now(), timedelta(seconds=30)
    about = ("host", "worker", "1.2.3", 8, 4, 64, half)
    async with parts.db.system() as work:
        for silent in (0, 2):
            await note_worker(work, Worker(new_id("wrk"), *about, 3, now - HOUR, now - silent * half), jobs=5)
    try:
        answer = await as_("operator").get("/v1/workers")
        assert [one["status"] for one in answer.json()["items"]] == ["alive", "silent"]
        for row in answer.json()["items"]:
            assert_shape(platform.Worker, row)
        engine = (await as_("operator").get("/v1/engine")).json()
        assert_shape(platform.EngineStatus, engine)
        assert (engine["workers"], engine["slots"]) == (1, 8)
        assert sum(one["jobs"] for one in engine["hours"]) == 10
        assert len(engine["hours"]) == 24
    finally:
        async with parts.db.system() as work:
            await prune_workers(work, silent_since=now + HOUR, hours_before=now + HOUR)


async def test_what_runs_and_waits_is_told_by_provider_and_by_organization(as_: As, parts: Parts, scene: Scene) -> None:
    async with parts.db.work(scene.org_id) as work:
        driver = await work.driver()
        await driver.execute("UPDATE schedules SET next_run_at = now() - interval '1 hour'")
        planned = await driver.fetchval("SELECT count(*) FROM schedules WHERE enabled")
    try:
        engine = (await as_("operator").get("/v1/engine")).json()
        (by_org,) = [one for one in engine["organizations"] if one["id"] == scene.org_id]
        assert (by_org["running"], by_org["waiting"]) == (0, planned)
        assert by_org["oldest_waiting_since"] == engine["oldest_waiting_since"]
        assert sum(one["waiting"] for one in engine["providers"]) == engine["waiting"] >= planned > 0
    finally:
        async with parts.db.work(scene.org_id) as work:
            await (await work.driver()).execute("UPDATE schedules SET next_run_at = now() + interval '1 hour'")


async def test_settings_say_where_they_come_from_and_no_secret(
    as_: As, app: FastAPI, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIELINE_OIDC_CLIENT_SECRET", "hunter2")
    app.state.parts = replace(parts, settings=describe_settings(read_settings(worker_slots=5)))
    answer = await as_("operator").get("/v1/settings")
    assert "hunter2" not in answer.text
    rows = {one["name"]: one for one in answer.json()["items"]}
    for row in rows.values():
        assert_shape(platform.Setting, row)
    told = {name: (rows[name]["set"], rows[name]["source"], rows[name]["secret"]) for name in rows}
    assert told["TIELINE_OIDC_CLIENT_SECRET"] == (True, "environment", True)
    assert told["TIELINE_WORKER_SLOTS"] == (True, "command", False)
    assert told["TIELINE_TRANSIT_TOKEN"] == (False, "default", True)


@pytest.mark.parametrize("path", ["/v1/engine", "/v1/workers", "/v1/settings"])
async def test_only_operators_see_the_platform(as_: As, path: str) -> None:
    assert (await as_("admin").get(path)).status_code == 403
