"""What people do through the API: look after connections, runs and findings, and judge anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx2
import orjson
import pytest
from fastapi import FastAPI
from tests.api.conftest import Newcomer, parts_of, work_off
from tests.api.shapes import SANDBOX_TOKEN

from tieline.flows.parts import Parts
from tieline.store.credentials import list_credentials
from tieline.vault import LocalKeyRing

CONTROL = {"X-Sandbox-Control": SANDBOX_TOKEN}


@pytest.fixture
async def spoil(sandbox_url: str) -> AsyncIterator[Callable[..., Any]]:
    """Script the sandbox's answers; they are good again at the end, or when called with nothing."""
    async with httpx2.AsyncClient(headers=CONTROL, trust_env=False, timeout=60) as control:

        async def script(**rule: Any) -> None:
            rules = [rule] if rule else []
            (await control.post(f"{sandbox_url}/_sandbox/faults", json={"rules": rules})).raise_for_status()

        yield script
        await script()


async def do(newcomer: Newcomer, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
    answer = await newcomer.client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def connected(newcomer: Newcomer) -> str:
    """The path of a new connection."""
    made = await do(newcomer, "POST", "/v1/connections", newcomer.attempt, status=201)
    return f"/v1/connections/{made['id']}"


async def latest(newcomer: Newcomer, operation: str) -> Any:
    listed = await do(newcomer, "GET", f"/v1/runs?operation={operation}&limit=1")
    return listed["items"][0]


# Connections


async def test_connecting_names_the_account_and_queues_every_operation(newcomer: Newcomer) -> None:
    made = await do(newcomer, "POST", "/v1/connections", newcomer.attempt | {"name": "Ours"}, status=201)
    assert (made["name"], made["account_name"], made["status"]) == ("Ours", "Larkfield Instruments", "active")
    assert made["external_id"] == "acc_larkfield_7"
    shown = await do(newcomer, "GET", f"/v1/connections/{made['id']}")
    runs = (await do(newcomer, "GET", "/v1/runs"))["items"]
    assert sorted(one["operation"] for one in runs) == [one["operation"] for one in shown["operations"]]
    assert {one["status"] for one in runs} == {"queued"}


async def test_no_answer_shows_a_credential(newcomer: Newcomer) -> None:
    path = await connected(newcomer)
    for one in (path, "/v1/connections", "/v1/runs", "/v1/events"):
        assert SANDBOX_TOKEN not in (await newcomer.client.get(one)).text


async def test_a_paused_connection_runs_nothing_until_it_is_resumed(newcomer: Newcomer) -> None:
    path = await connected(newcomer)
    assert (await do(newcomer, "POST", f"{path}/pause"))["status"] == "paused"
    await do(newcomer, "POST", f"{path}/sync", status=409)
    assert (await do(newcomer, "POST", f"{path}/resume"))["status"] == "active"
    await do(newcomer, "POST", f"{path}/resume", status=409)
    started = await do(newcomer, "POST", f"{path}/sync", {"operation": "people"}, status=202)
    assert [one["operation"] for one in started["items"]] == ["people"]


async def test_syncing_an_operation_that_there_is_not_is_refused(newcomer: Newcomer) -> None:
    path = await connected(newcomer)
    await do(newcomer, "POST", f"{path}/sync", {"operation": "nonsense"}, status=404)


async def test_a_connection_is_renamed_and_given_filters_of_its_own(newcomer: Newcomer) -> None:
    path = await connected(newcomer)
    overrides = {"people": {"filter": "payload.status == 'active'"}}
    changed = await do(newcomer, "PATCH", path, {"name": "Renamed", "overrides": overrides})
    assert (changed["name"], changed["overrides"]) == ("Renamed", overrides)


async def test_testing_and_rotating_keep_a_connection_active(newcomer: Newcomer) -> None:
    path = await connected(newcomer)
    assert (await do(newcomer, "POST", f"{path}/test"))["status"] == "active"
    credential = {"credential": {"token": SANDBOX_TOKEN}}
    for verb in ("rotate", "reconnect"):
        assert (await do(newcomer, "POST", f"{path}/{verb}", credential))["status"] == "active"


async def test_a_dead_credential_asks_to_reconnect_and_reconnecting_mends_it(
    newcomer: Newcomer, spoil: Callable[..., Any]
) -> None:
    path = await connected(newcomer)
    await spoil(match="/v1/me", status=401, times=None)
    await do(newcomer, "POST", f"{path}/test", status=422)
    shown = await do(newcomer, "GET", path)
    assert (shown["status"], shown["reason"]["slug"]) == ("needs_reconnect", "credential-rejected")
    await spoil()
    again = await do(newcomer, "POST", f"{path}/reconnect", {"credential": {"token": SANDBOX_TOKEN}})
    assert (again["status"], again["reason"]) == ("active", None)


async def test_disconnecting_destroys_the_credential_and_keeps_the_history(newcomer: Newcomer, parts: Parts) -> None:
    path = await connected(newcomer)
    gone = await do(newcomer, "DELETE", path)
    assert (gone["status"], gone["revoked"], gone["to_revoke"]) == ("disconnected", 0, 0)
    assert gone["remains"] == parts.catalog.provider("sandbox").remains
    async with parts.db.work(newcomer.org_id) as work:
        assert await list_credentials(work, gone["id"]) == []
    assert (await do(newcomer, "GET", f"{path}/credentials"))["items"] == []
    assert (await do(newcomer, "GET", "/v1/connections"))["items"] == []
    assert len((await do(newcomer, "GET", "/v1/connections?status=disconnected"))["items"]) == 1
    await do(newcomer, "DELETE", path, status=409)
    await do(newcomer, "POST", f"{path}/sync", status=409)


# Runs


async def test_a_queued_run_is_cancelled_by_the_next_worker(newcomer: Newcomer, parts: Parts) -> None:
    await connected(newcomer)
    run = await latest(newcomer, "people")
    await do(newcomer, "POST", f"/v1/runs/{run['id']}/cancel", status=202)
    await work_off(parts)
    assert (await do(newcomer, "GET", f"/v1/runs/{run['id']}"))["status"] == "cancelled"
    await do(newcomer, "POST", f"/v1/runs/{run['id']}/cancel", status=409)


async def test_a_run_of_a_stopped_connection_is_cancelled_at_once(newcomer: Newcomer) -> None:
    path = await connected(newcomer)
    await do(newcomer, "POST", f"{path}/pause")
    run = await latest(newcomer, "people")
    cancelled = await do(newcomer, "POST", f"/v1/runs/{run['id']}/cancel", status=202)
    assert (cancelled["status"], cancelled["reason"]["slug"]) == ("cancelled", "cancelled")
    await do(newcomer, "POST", f"{path}/resume")
    started = await do(newcomer, "POST", f"{path}/sync", {"operation": "people"}, status=202)
    assert [one["id"] == run["id"] for one in started["items"]] == [False]


async def test_a_failed_run_is_tried_again_as_a_new_one(
    newcomer: Newcomer, parts: Parts, spoil: Callable[..., Any]
) -> None:
    await connected(newcomer)
    await spoil(match="/v1/people", html=True, times=None)
    run = await latest(newcomer, "people")
    await do(newcomer, "POST", f"/v1/runs/{run['id']}/retry", status=409)
    await work_off(parts)
    failed = await do(newcomer, "GET", f"/v1/runs/{run['id']}")
    assert (failed["status"], failed["reason"]["slug"]) == ("failed", "unexpected-answer")
    await spoil()
    again = await do(newcomer, "POST", f"/v1/runs/{run['id']}/retry", status=202)
    assert (again["id"] != run["id"], again["cause"], again["status"]) == (True, "retry", "queued")
    await work_off(parts)
    assert (await do(newcomer, "GET", f"/v1/runs/{again['id']}"))["status"] == "succeeded"


async def test_a_held_run_goes_on_when_it_is_released_and_removes_what_it_did_not_see(
    newcomer: Newcomer, parts: Parts, spoil: Callable[..., Any]
) -> None:
    path = await connected(newcomer)
    await work_off(parts)
    people = (await latest(newcomer, "people"))["counts"]["created"]
    await do(newcomer, "POST", f"/v1/runs/{(await latest(newcomer, 'people'))['id']}/release", status=409)

    await spoil(match="/v1/people", body={"data": [], "paging": {"next": None}}, times=None)
    await do(newcomer, "POST", f"{path}/sync", {"operation": "people"}, status=202)
    await work_off(parts)
    held = await latest(newcomer, "people")
    assert (held["status"], held["reason"]["slug"], held["counts"]["removed"]) == ("held", "brake", 0)

    released = await do(newcomer, "POST", f"/v1/runs/{held['id']}/release", status=202)
    assert (released["status"], released["force"], released["finished_at"]) == ("queued", True, None)
    await work_off(parts)
    done = await do(newcomer, "GET", f"/v1/runs/{held['id']}")
    assert (done["status"], done["counts"]["removed"]) == ("succeeded", people)
    assert (await do(newcomer, "GET", "/v1/entities?kind=account&limit=1"))["items"] == []
    await do(newcomer, "POST", f"/v1/runs/{held['id']}/release", status=409)


async def test_an_older_held_run_cannot_be_released(
    newcomer: Newcomer, parts: Parts, spoil: Callable[..., Any]
) -> None:
    path = await connected(newcomer)
    await work_off(parts)
    await spoil(match="/v1/people", body={"data": [], "paging": {"next": None}}, times=None)
    await do(newcomer, "POST", f"{path}/sync", {"operation": "people"}, status=202)
    await work_off(parts)
    held = await latest(newcomer, "people")
    await do(newcomer, "POST", f"{path}/sync", {"operation": "people"}, status=202)
    refused = await do(newcomer, "POST", f"/v1/runs/{held['id']}/release", status=409)
    assert refused["detail"] == "A newer run of this operation has begun"


async def test_the_events_of_a_run_are_told_until_it_ends(newcomer: Newcomer, parts: Parts) -> None:
    await connected(newcomer)
    run = await latest(newcomer, "people")
    told = asyncio.create_task(newcomer.client.get(f"/v1/runs/{run['id']}/events"))
    await asyncio.sleep(0.3)
    await work_off(parts)
    answer = await told
    assert answer.headers["content-type"].startswith("text/event-stream")
    rows = [orjson.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [rows[0]["status"], rows[-1]["status"]] == ["queued", "succeeded"]
    assert rows[-1] == await do(newcomer, "GET", f"/v1/runs/{run['id']}")


async def test_the_events_break_off_when_the_key_is_revoked(newcomer: Newcomer) -> None:
    await connected(newcomer)
    run = await latest(newcomer, "people")
    own = await do(newcomer, "POST", "/v1/api-keys", {"name": "k", "role": "auditor"}, status=201)
    following = newcomer.client.get(f"/v1/runs/{run['id']}/events", headers={"X-API-Key": own["key"]})
    told = asyncio.create_task(following)
    await asyncio.sleep(0.3)
    await do(newcomer, "DELETE", f"/v1/api-keys/{own['id']}")
    assert (await told).text.count("event: run") == 1


# Findings


async def test_a_finding_is_muted_with_a_reason_and_opened_again(newcomer: Newcomer, parts: Parts) -> None:
    await connected(newcomer)
    await work_off(parts)
    finding = (await do(newcomer, "GET", "/v1/findings?status=open&limit=1"))["items"][0]
    path = f"/v1/findings/{finding['id']}"
    await do(newcomer, "POST", f"{path}/unmute", status=409)
    until = (parts.clock.now() + timedelta(days=3)).isoformat()
    muted = await do(newcomer, "POST", f"{path}/mute", {"reason": "Accepted", "until": until})
    assert (muted["status"], muted["muted_reason"]) == ("muted", "Accepted")
    assert (await do(newcomer, "POST", f"{path}/unmute"))["status"] == "open"
    history = (await do(newcomer, "GET", f"{path}/history"))["items"]
    assert [one["event"] for one in history] == ["opened", "muted", "unmuted"]
    assert history[1]["note"] == "Accepted"
    assert history[1]["actor"].startswith("key_")
    types = [one["type"] for one in (await do(newcomer, "GET", "/v1/events?limit=5000"))["items"]]
    assert types[-2:] == ["finding.muted", "finding.unmuted"]


async def test_findings_are_given_to_a_member_one_or_all_that_match(newcomer: Newcomer, parts: Parts) -> None:
    await connected(newcomer)
    await work_off(parts)
    member = (await do(newcomer, "POST", "/v1/members", {"email": "care@example.com", "role": "member"}, status=201))[
        "id"
    ]
    one = (await do(newcomer, "GET", "/v1/findings?limit=1"))["items"][0]
    assert one["owner"] is None
    given = await do(newcomer, "POST", f"/v1/findings/{one['id']}/assign", {"owner": member})
    assert given["owner"] == member
    assert [row["id"] for row in (await do(newcomer, "GET", f"/v1/findings?owner={member}"))["items"]] == [one["id"]]
    many = {"owner": member, "filter": {"check": "mfa-enabled"}}
    changed = await do(newcomer, "POST", "/v1/findings/assign", many)
    groups = (await do(newcomer, "GET", "/v1/findings/groups?by=owner"))["items"]
    counts = {row["key"]["owner"]: row["open"] + row["resolved"] for row in groups}
    assert counts[member] == changed["changed"] + (one["check"] != "mfa-enabled")
    assert set(counts) == {member, "nobody"}
    muted = await do(newcomer, "POST", "/v1/findings/mute", {"reason": "Known", "findings": [one["id"]]})
    assert muted == {"changed": 1, "left": 0}
    again = await do(newcomer, "POST", "/v1/findings/unmute", {"filter": {"owner": member}})
    assert (again["changed"], again["left"]) == (1, counts[member] - 1)
    removed = await do(newcomer, "DELETE", f"/v1/members/{member}")
    assert removed["id"] == member
    assert (await do(newcomer, "GET", f"/v1/findings?owner={member}"))["items"] == []
    types = [row["type"] for row in (await do(newcomer, "GET", "/v1/events?limit=5000"))["items"]]
    assert types.count("finding.assigned") == types.count("finding.unassigned") == counts[member]


# Evidence


async def test_judging_anew_changes_nothing_when_nothing_changed(newcomer: Newcomer, parts: Parts) -> None:
    path = await connected(newcomer)
    await work_off(parts)
    listed = (await do(newcomer, "GET", "/v1/entities?limit=5000"))["items"]
    before = [
        (await newcomer.client.get(f"/v1/{noun}?limit=5000")).content for noun in ("evidence", "findings", "events")
    ]
    counts = await do(newcomer, "POST", "/v1/evidence/materialize")
    nothing = {"evidence": 0, "findings_opened": 0, "findings_resolved": 0}
    assert counts == {"connections": 1, "entities": len(listed)} | nothing
    one = await do(newcomer, "POST", "/v1/evidence/materialize", {"connection_id": path.rpartition("/")[2]})
    assert one == counts
    after = [
        (await newcomer.client.get(f"/v1/{noun}?limit=5000")).content for noun in ("evidence", "findings", "events")
    ]
    assert before == after


async def test_judging_anew_sees_what_time_has_changed(
    newcomer: Newcomer, app: FastAPI, parts: Parts, ring: LocalKeyRing
) -> None:
    await connected(newcomer)
    await work_off(parts)
    app.state.parts = parts_of(parts.db, ring, late=timedelta(days=-400))
    counts = await do(newcomer, "POST", "/v1/evidence/materialize")
    assert counts["findings_opened"] > 0
    assert counts["evidence"] >= counts["findings_opened"]
    statements = (await do(newcomer, "GET", "/v1/evidence?limit=5000"))["items"]
    shown = await do(newcomer, "GET", f"/v1/evidence/{statements[0]['id']}")
    assert shown["verified"] == {"content": True, "provenance": True}
    again = await do(newcomer, "POST", "/v1/evidence/materialize")
    assert (again["evidence"], again["findings_opened"]) == (0, 0)


async def test_judging_a_disconnected_connection_anew_is_refused(newcomer: Newcomer) -> None:
    path = await connected(newcomer)
    await do(newcomer, "DELETE", path)
    await do(newcomer, "POST", "/v1/evidence/materialize", {"connection_id": path.rpartition("/")[2]}, status=409)
    await do(newcomer, "POST", "/v1/evidence/materialize", {"connection_id": "nonsense"}, status=404)
    assert (await do(newcomer, "POST", "/v1/evidence/materialize"))["connections"] == 0
