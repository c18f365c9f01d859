"""Readings: what the rows tell of all runs, whoever ran them, and what this process counted of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.flows.bench import Bench
from tests.test_telemetry import value
from tests.tracing import tracing

from tieline.flows.readings import Readings
from tieline.telemetry import Reading


async def look(bench: Bench) -> dict[str, float]:
    """What is told, by name and labels."""
    found: list[Reading] = await Readings(bench.parts, role="worker").look()
    return {" ".join([one.gauge.name, *one.labels.values()]): one.value for one in found}


async def test_the_totals_of_runs_and_records_are_those_of_the_rows(synced: Bench) -> None:
    before = await look(synced)
    runs = await synced.runs()
    assert before["platform.runs sandbox succeeded"] == len(runs)
    assert before["platform.records sandbox created"] == sum(one.created for one in runs)
    synced.sandbox.change("hire", 3)
    synced.sandbox.spoil("/v1/devices", status=403, times=None)
    ended = await synced.sync()
    synced.sandbox.heal()
    after, runs = await look(synced), await synced.runs()
    for outcome in ("succeeded", "failed", "partial"):
        told = sum(one.status == outcome for one in runs)
        assert after.get(f"platform.runs sandbox {outcome}", 0) == told, outcome
    assert {one.status for one in ended.values()} != {"succeeded"}
    for verdict in ("created", "changed", "unchanged", "removed", "skipped", "rejected", "unidentified"):
        assert after[f"platform.records sandbox {verdict}"] == sum(getattr(one, verdict) for one in runs), verdict
    assert after["platform.records sandbox unchanged"] > 0


async def test_what_waits_and_what_is_silent_is_told_by_its_age(bench: Bench) -> None:
    first = await look(bench)
    assert first["platform.operations waiting"] > 0
    assert (first["platform.operations running"], first["platform.oldest_silence"]) == (0, 0)
    assert first["platform.connections sandbox active"] == 1
    holds = await bench.admit()
    bench.clock.ahead += timedelta(minutes=10)
    later = await look(bench)
    assert later["platform.operations running"] == len(holds)
    assert 600 <= later["platform.oldest_silence"] < 700
    bench.clock.ahead -= timedelta(hours=1)
    assert (await look(bench))["platform.oldest_silence"] == 0, "a clock that was set back makes no negative age"


async def test_a_wait_for_the_provider_is_counted_and_the_run_put_off(synced: Bench) -> None:
    asked = {"provider": "sandbox", "status": "429"}
    before = value("tieline_provider_requests_total", **asked)
    put_off = {"provider": "sandbox", "outcome": "rate-limited"}
    was_put_off = value("tieline_runs_put_off_total", **put_off)
    synced.sandbox.spoil("/v1/people", status=429, headers={"Retry-After": "60"}, times=1)
    assert (await synced.sync("people"))["people"].status == "succeeded"
    assert value("tieline_provider_requests_total", **asked) == before + 1
    assert value("tieline_runs_put_off_total", **put_off) == was_put_off + 1


async def test_a_run_is_traced_with_its_ids_and_its_requests_without_their_paths(synced: Bench) -> None:
    with tracing() as kept:
        run = (await synced.sync("people"))["people"]
    spans = kept.get_finished_spans()
    (of_run,) = [one for one in spans if (one.attributes or {}).get("tieline.run_id") == run.id]
    assert of_run.context
    told = of_run.attributes or {}
    assert (told["tieline.connection_id"], told["tieline.org_id"]) == (synced.connection.id, synced.org)
    assert (told["tieline.provider"], told["tieline.operation"]) == ("sandbox", "people")
    below = [one for one in spans if one.parent and one.parent.span_id == of_run.context.span_id]
    assert {"ask sandbox", "store a page"} <= {one.name for one in below}
    asked = next(one for one in below if one.name == "ask sandbox")
    assert set(asked.attributes or {}) == {
        "http.request.method",
        "http.response.status_code",
        "server.address",
        "tieline.provider",
    }


async def test_another_process_tells_the_same(synced: Bench) -> None:
    other = replace(synced, parts=replace(synced.parts))
    mine, theirs = await look(synced), await look(other)
    assert {name: value for name, value in mine.items() if name.startswith("platform.runs")} == {
        name: value for name, value in theirs.items() if name.startswith("platform.runs")
    }
