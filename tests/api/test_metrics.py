"""`/metrics`: who may read it, and what it tells of a Tieline that has read a company."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from tests.api.conftest import Newcomer
from tests.api.shapes import SANDBOX_TOKEN, Scene
from tests.test_deploy import DEPLOY, PROMTOOL, with_promtool
from tests.tracing import shown, tracing

from tieline.api.metrics import create_metrics
from tieline.clock import SetClock
from tieline.flows.parts import Parts
from tieline.flows.readings import KEPT_FOR, Readings
from tieline.store.db import Db

TOKEN = "prometheus-reads-with-this"
As = Callable[[str], httpx2.AsyncClient]


def values(text: str) -> dict[str, float]:
    """Each series as it is written, with its value."""
    found = (line.rpartition(" ") for line in text.splitlines() if line.startswith("tieline_"))
    return {series: float(value) for series, _, value in found}


@pytest.fixture
def app(app: FastAPI, parts: Parts) -> FastAPI:
    """The API whose metrics are read anew for this test."""
    app.state.readings, app.state.metrics_token = Readings(parts, role="server"), None
    return app


# Who may read


@pytest.mark.parametrize(("role", "status"), [("auditor", 403), ("member", 403), ("admin", 403), ("operator", 200)])
async def test_an_operators_key_reads_the_metrics_and_no_other(as_: As, role: str, status: int) -> None:
    answer = await as_(role).get("/metrics")
    assert answer.status_code == status, answer.text
    assert ("tieline_platform_up" in answer.text) == (status == 200)


@pytest.mark.parametrize("header", ["", f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer ü"])
@pytest.mark.parametrize("token", [None, SecretStr(TOKEN)], ids=["no token set", "token set"])
async def test_nobody_reads_without_the_token(
    anonymous: httpx2.AsyncClient, app: FastAPI, header: str, token: SecretStr | None
) -> None:
    app.state.metrics_token = token
    answer = await anonymous.get("/metrics", headers={"Authorization": header.encode()})
    assert (answer.status_code, "tieline_" in answer.text) == (401, False)


async def test_the_token_reads_the_metrics(anonymous: httpx2.AsyncClient, app: FastAPI) -> None:
    app.state.metrics_token = SecretStr(TOKEN)
    answer = await anonymous.get("/metrics", headers={"Authorization": f"bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_a_wrong_token_is_told_from_a_key_that_is_not_there(anonymous: httpx2.AsyncClient, app: FastAPI) -> None:
    app.state.metrics_token = SecretStr(TOKEN)
    wrong = (await anonymous.get("/metrics", headers={"Authorization": "Bearer another"})).json()
    absent = (await anonymous.get("/metrics")).json()
    assert "TIELINE_METRICS_TOKEN" in wrong["advice"]
    assert "X-API-Key" in absent["detail"]


@pytest.mark.parametrize(("token", "open_to_all"), [(None, True), (SecretStr(TOKEN), False)])
async def test_a_port_of_its_own_asks_for_the_token_if_there_is_one(
    parts: Parts, token: SecretStr | None, open_to_all: bool
) -> None:
    own = create_metrics(Readings(parts, role="worker"), token)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(own), base_url="http://tieline.test") as client:
        assert (await client.get("/metrics")).status_code == (200 if open_to_all else 401)
        assert (await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/v1/runs")).status_code == 404


# What they tell


async def test_the_metrics_tell_of_a_sync_in_few_words(as_: As, scene: Scene, parts: Parts) -> None:
    client = as_("operator")
    runs = (await client.get("/v1/runs", params={"limit": 1000})).json()["items"]
    text = (await client.get("/metrics")).text
    told = values(text)
    ended = [one for one in runs if one["status"] == "succeeded"]
    assert ended
    assert told['tieline_platform_runs_total{outcome="succeeded",provider="sandbox"}'] >= len(ended)
    created = sum(one["counts"]["created"] for one in runs)
    assert told['tieline_platform_records_total{provider="sandbox",verdict="created"}'] >= created > 0
    assert told['tieline_platform_connections{provider="sandbox",status="active"}'] >= 1
    assert sum(value for name, value in told.items() if name.startswith("tieline_platform_failing")) > 0
    assert told['tieline_provider_requests_total{provider="sandbox",status="2xx"}'] > 0
    assert told['tieline_vault_operations_total{operation="open",outcome="ok"}'] > 0
    assert told['tieline_page_seconds_count{part="load",provider="sandbox"}'] > 0
    assert told['tieline_http_request_seconds_count{method="GET",route="/v1/runs",status="2xx"}'] >= 1
    assert told["tieline_platform_database_size_bytes"] > 1_000_000
    assert told['tieline_build_info{role="server",version="0.1.0"}'] == 1
    assert not re.search(r"org_\w{26}|conn_\w{26}|run_0|://|127\.0\.0\.1|Larkfield|@", "\n".join(told))
    assert SANDBOX_TOKEN not in text
    assert scene.org_id not in text


async def test_what_alerts_and_the_dashboard_name_is_there(as_: As, scene: Scene, app: FastAPI, tmp_path: Path) -> None:
    app.state.readings = Readings(app.state.parts, role="server", data_dir=tmp_path)
    text = (await as_("operator").get("/metrics")).text
    there = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE):
        there |= {f"{name}_{part}" for part in ("bucket", "count", "sum")} if kind == "histogram" else {name}

    for file in ("grafana/tieline.json", "prometheus/alerts.yml", "prometheus/alerts.test.yml"):
        named = set(re.findall(r"\b(?:tieline|process)_\w+\b", (DEPLOY / file).read_text())) - {"tieline_platform_"}
        assert len(named) > 10
        assert named <= there


async def test_what_alerts_look_out_for_is_told_before_it_happens(as_: As, scene: Scene) -> None:
    """Whether it is 0 depends on what the other tests that share the database have done; without this it would not be there."""
    told = values((await as_("operator").get("/metrics")).text)
    assert 'tieline_platform_runs_total{outcome="held",provider="sandbox"}' in told
    assert 'tieline_platform_connections{provider="sandbox",status="suspended"}' in told
    assert 'tieline_vault_operations_total{operation="open",outcome="missing"}' in told


@with_promtool
async def test_prometheus_takes_the_metrics(as_: As, scene: Scene) -> None:
    text = (await as_("operator").get("/metrics")).content
    assert PROMTOOL
    done = await asyncio.to_thread(subprocess.run, [PROMTOOL, "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


async def test_a_path_is_told_by_its_template(as_: As, scene: Scene) -> None:
    client = as_("operator")
    await client.get(f"/v1/runs/{scene.ids['run_id']}")
    await client.get("/v1/no/such/path/hunter2")
    await client.request("BREW", "/v1/runs")
    text = (await client.get("/metrics")).text
    assert 'route="/v1/runs/{run_id}",status="2xx"' in text
    assert 'method="GET",route="none",status="4xx"' in text
    assert "hunter2" not in text
    assert "BREW" not in text


async def test_what_was_looked_up_is_kept_for_a_moment_and_no_longer(parts: Parts) -> None:
    clock = SetClock(parts.clock.now())
    readings = Readings(replace(parts, clock=clock), role="server")
    first = await readings.look()
    clock.at += KEPT_FOR - timedelta(milliseconds=1)
    assert await readings.look() is first
    clock.at += timedelta(milliseconds=1)
    second = await readings.look()
    assert second is not first
    clock.at -= timedelta(hours=1)
    assert await readings.look() is not second, "a clock that was set back does not keep it for an hour"


async def test_a_database_that_is_away_is_what_the_metrics_tell(parts: Parts) -> None:
    away = replace(parts, db=Db("postgresql://nobody@127.0.0.1:1/nowhere"))
    own = create_metrics(Readings(away, role="worker"), None)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(own), base_url="http://tieline.test") as client:
        answer = await client.get("/metrics")
    told = values(answer.text)
    assert (answer.status_code, told["tieline_platform_up"]) == (200, 0)
    assert [name for name in told if name.startswith("tieline_platform")] == ["tieline_platform_up"]
    assert 'tieline_build_info{role="worker",version="0.1.0"}' in told


# Traces


async def test_a_run_is_linked_to_the_request_that_asked_for_it(newcomer: Newcomer) -> None:
    from tests.api.conftest import work_off

    parts: Parts = newcomer.client._transport.app.state.parts  # type: ignore[attr-defined]
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    made = (await newcomer.client.post("/v1/connections", json=newcomer.attempt)).json()
    with tracing() as kept:
        asked = await newcomer.client.post(
            f"/v1/connections/{made['id']}/sync", json={"operation": "people"}, headers={"traceparent": parent}
        )
        assert asked.is_success, asked.text
        await work_off(parts)
    spans = kept.get_finished_spans()
    assert {one.instrumentation_scope.name for one in spans if one.instrumentation_scope} == {"tieline"}
    (request,) = [one for one in spans if one.name == "POST /v1/connections/{connection_id}/sync"]
    runs = {(one.attributes or {})["tieline.operation"]: one for one in spans if one.name == "run sandbox"}
    assert request.context
    assert f"{request.context.trace_id:032x}" == parent.split("-")[1]
    assert [one.context.span_id for one in runs["people"].links] in ([], [request.context.span_id])
    own = [
        one
        for one in spans
        if one.context and runs["people"].context and one.context.trace_id == runs["people"].context.trace_id
    ]
    assert {one.name for one in own} >= {"run sandbox", "ask sandbox", "store a page", "vault: open"}
    told = "\n".join(shown(one) for one in own)
    assert "/people" not in told
    assert SANDBOX_TOKEN not in told
