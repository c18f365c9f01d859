"""What the API reads out: listings, rows and their shapes, for every noun."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from zipfile import ZipFile

import httpx2
import pytest
from pydantic import BaseModel
from tests.api.shapes import Scene

from tieline.api.v1 import (
    api_keys,
    audit,
    connect_sessions,
    connections,
    controls,
    credentials,
    entities,
    events,
    evidence,
    findings,
    keys,
    mappings,
    oauth,
    oauth_apps,
    platform,
    providers,
    runs,
)

As = Callable[[str], httpx2.AsyncClient]

LISTINGS: list[tuple[str, type[BaseModel]]] = [
    ("/v1/providers", providers.Provider),
    ("/v1/connections", connections.Connection),
    ("/v1/connect-sessions", connect_sessions.ConnectSession),
    ("/v1/connections/{connection_id}/credentials", credentials.Version),
    ("/v1/connections/{connection_id}/days", connections.Day),
    ("/v1/connections/{connection_id}/rejections", mappings.RejectedAlike),
    ("/v1/oauth-apps", oauth_apps.OAuthApp),
    ("/v1/keys", keys.Key),
    ("/v1/runs", runs.Run),
    ("/v1/runs/{run_id}/rejections", runs.Rejection),
    ("/v1/runs/{run_id}/spans", runs.Span),
    ("/v1/entities", entities.Entity),
    ("/v1/entities/kinds", entities.KindCount),
    ("/v1/entities/{entity_id}/history", entities.EntityVersion),
    ("/v1/findings", findings.Finding),
    ("/v1/findings/{finding_id}/history", findings.FindingEvent),
    ("/v1/findings/groups", findings.Group),
    ("/v1/findings/groups?by=subject", findings.Group),
    ("/v1/findings/groups?by=connection", findings.Group),
    ("/v1/findings/groups?by=owner", findings.Group),
    ("/v1/checks", controls.Check),
    ("/v1/frameworks", controls.Framework),
    ("/v1/providers/oauth-availability", providers.Availability),
    ("/v1/controls", controls.Control),
    ("/v1/evidence", evidence.Evidence),
    ("/v1/events", events.Event),
    ("/v1/audit", audit.Entry),
    ("/v1/api-keys", api_keys.ApiKey),
    ("/v1/organizations", platform.Organization),
]
SINGLES: list[tuple[str, type[BaseModel]]] = [
    ("/v1/providers/{slug}", providers.Provider),
    ("/v1/providers/{slug}/setup", providers.Setup),
    ("/v1/connections/{connection_id}", connections.ConnectionDetail),
    ("/v1/oauth-apps/github", oauth_apps.OAuthApp),
    ("/v1/oauth/attempts/{attempt_id}", oauth.Attempt),
    ("/v1/connect-sessions/{connect_session_id}", connect_sessions.ConnectSession),
    ("/v1/runs/{run_id}", runs.Run),
    ("/v1/entities/{entity_id}", entities.EntityDetail),
    ("/v1/entities/{entity_id}/diff", entities.EntityDifference),
    ("/v1/findings/{finding_id}", findings.Finding),
    ("/v1/checks/{check_id}", controls.Check),
    ("/v1/frameworks/soc2", controls.Framework),
    ("/v1/controls/{control_id}", controls.Control),
    ("/v1/evidence/{evidence_id}", evidence.EvidenceDetail),
    ("/v1/organizations/{org_id}", platform.Organization),
    ("/v1/engine", platform.EngineStatus),
]


def assert_shape(model: type[BaseModel], row: dict[str, Any]) -> None:
    model.model_validate(row, strict=True)
    assert list(row) == list(model.model_fields), "the document tells of other members than there are"


@pytest.mark.parametrize(("path", "model"), LISTINGS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_listing_has_items_in_the_documented_shape(
    as_: As, scene: Scene, path: str, model: type[BaseModel]
) -> None:
    answer = await as_("operator").get(path.format(**scene.ids))
    assert answer.status_code == 200
    listing = answer.json()
    assert list(listing) == ["items", "next"]
    assert listing["items"]
    for row in listing["items"]:
        assert_shape(model, row)


@pytest.mark.parametrize(("path", "model"), SINGLES, ids=lambda value: value if isinstance(value, str) else "")
async def test_one_row_has_the_documented_shape(as_: As, scene: Scene, path: str, model: type[BaseModel]) -> None:
    answer = await as_("operator").get(path.format(**scene.ids))
    assert answer.status_code == 200
    assert_shape(model, answer.json())


@pytest.mark.parametrize("path", ["/v1/entities", "/v1/findings", "/v1/evidence", "/v1/runs", "/v1/events"])
async def test_the_pages_of_a_listing_hold_each_row_once(as_: As, path: str) -> None:
    client = as_("auditor")
    whole = [row["id"] for row in (await client.get(path, params={"limit": 5000})).json()["items"]]
    found, cursor = [], None
    while True:
        params = {"limit": max(len(whole) // 3, 1)} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(path, params=params)).json()
        found += [row["id"] for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == whole
    assert len(set(found)) == len(found) > 3


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/entities", {"kind": "account"}),
        ("/v1/entities", {"provider": "sandbox", "kind": "device"}),
        ("/v1/findings", {"severity": "high", "status": "open"}),
        ("/v1/findings", {"check": "mfa-enabled"}),
        ("/v1/evidence", {"status": "contradicts"}),
        ("/v1/runs", {"status": "succeeded", "operation": "people"}),
        ("/v1/checks", {"kind": "account", "severity": "high"}),
        ("/v1/controls", {"framework": "soc2", "status": "no-evidence"}),
        ("/v1/connections", {"status": "active", "provider": "sandbox"}),
        ("/v1/events", {"type": "finding.opened"}),
    ],
)
async def test_a_filter_leaves_only_what_it_names(as_: As, path: str, params: dict[str, str]) -> None:
    rows = (await as_("auditor").get(path, params=params)).json()["items"]
    assert rows
    assert all(row[name] == value for row in rows for name, value in params.items())


async def test_evidence_of_a_control_is_found_by_the_control(as_: As) -> None:
    client = as_("auditor")
    supported = (await client.get("/v1/controls", params={"status": "mixed"})).json()["items"][0]
    rows = (await client.get("/v1/evidence", params={"control": supported["id"]})).json()["items"]
    assert rows
    assert all(supported["id"] in row["controls"] and row["check"] in supported["checks"] for row in rows)


async def test_a_control_stands_as_its_answers_say(as_: As) -> None:
    rows = (await as_("auditor").get("/v1/controls")).json()["items"]
    for row in rows:
        for_it, against = bool(row["supporting"]), bool(row["contradicting"])
        expected = {
            (True, True): "mixed", (True, False): "supported", (False, True): "contradicted", (False, False): "no-evidence",
        }  # fmt: skip
        assert row["status"] == expected[for_it, against]
        assert (row["last_evidence_at"] is not None) >= (for_it or against)
    assert {row["status"] for row in rows} >= {"mixed", "no-evidence"}


async def test_the_counts_of_a_control_are_the_entities_that_its_checks_judge(as_: As) -> None:
    client = as_("auditor")
    control = next(row for row in (await client.get("/v1/controls")).json()["items"] if "mfa-enabled" in row["checks"])
    entities_ = (await client.get("/v1/entities", params={"limit": 5000})).json()["items"]
    answers = [row["answers"][check] for row in entities_ for check in control["checks"] if check in row["answers"]]
    assert (control["supporting"], control["contradicting"], control["unknown"]) == tuple(
        answers.count(outcome) for outcome in ("pass", "fail", "unknown")
    )


async def test_evidence_is_shown_with_what_it_comes_from_and_still_matches_its_hashes(as_: As, scene: Scene) -> None:
    shown = (await as_("auditor").get(f"/v1/evidence/{scene.ids['evidence_id']}")).json()
    assert shown["verified"] == {"content": True, "provenance": True}
    assert shown["content"]["provenance"] == shown["provenance"]["hash"]
    assert shown["provenance"]["content"]["run"] == shown["run_id"]
    assert len(shown["hash"]) == 64


async def test_an_entity_is_shown_with_the_record_that_it_came_from(as_: As, scene: Scene) -> None:
    shown = (await as_("auditor").get(f"/v1/entities/{scene.ids['entity_id']}")).json()
    assert shown["raw"]["id"] == shown["external_id"]
    assert shown["data"]["email"] == shown["raw"]["email"]


async def test_search_finds_people_by_part_of_their_address(as_: As) -> None:
    client = as_("auditor")
    someone = (await client.get("/v1/entities", params={"kind": "account", "limit": 1})).json()["items"][0]
    rows = (await client.get("/v1/entities", params={"search": someone["data"]["email"][:6]})).json()["items"]
    assert someone["id"] in [row["id"] for row in rows]


async def test_the_setup_of_a_provider_marks_its_secret_fields(as_: As) -> None:
    setup = (await as_("auditor").get("/v1/providers/sandbox/setup")).json()
    token = setup["credential"]["properties"]["token"]
    assert (token["writeOnly"], token["format"]) == (True, "password")
    assert setup["instructions"]
    assert "base_url" in setup["options"]["properties"]


async def test_times_are_in_utc_with_a_z(as_: As, scene: Scene) -> None:
    run = (await as_("auditor").get(f"/v1/runs/{scene.ids['run_id']}")).json()
    assert all(run[name].endswith("Z") and "T" in run[name] for name in ("created_at", "started_at", "finished_at"))


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"}, {"limit": "5001"}, {"limit": "-1"}, {"limit": "5.0"}, {"limit": " 5"}, {"limit": "٥"},
        {"limit": ""}, {"cursor": "conn_nonsense"}, {"cursor": "run_01k0c4m2w8eyv9x3f5t7h1n6qp"}, {"nonsense": "1"},
        {"kind": "robot"}, {"removed": "yes"}, {"search": "\x00"}, {"provider": "Not A Slug"}, [("limit", "1"), ("limit", "2")],
    ],
)  # fmt: skip
async def test_a_query_parameter_that_is_not_as_documented_is_refused(as_: As, params: Any) -> None:
    answer = await as_("auditor").get("/v1/entities", params=params)
    assert answer.status_code == 422
    assert answer.json()["slug"] == "invalid"


async def test_what_was_opened_before_a_time_is_listed_by_it(as_: As) -> None:
    client = as_("auditor")
    rows = (await client.get("/v1/findings?limit=5000")).json()["items"]
    for before, expected in ((min(row["opened_at"] for row in rows), 0), ("2091-01-31T00:00:00Z", len(rows))):
        listed = (await client.get("/v1/findings", params={"limit": "5000", "opened_before": before})).json()["items"]
        assert len(listed) == expected
    assert (await client.get("/v1/findings?opened_before=2026-01-01T00:00:00")).status_code == 422


async def test_a_pack_is_a_zip_of_what_was_asked_for(as_: As) -> None:
    client = as_("auditor")
    for asked, expected in (("control=soc2:CC6.1", True), ("before=2001-01-31T00:00:00Z", False)):
        answer = await client.get(f"/v1/evidence/pack?{asked}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
        with ZipFile(io.BytesIO(answer.content)) as pack:
            content = pack.read("manifest.json")
        assert (json.loads(content)["statements"] > 0) is expected
        packed = (await client.get("/v1/audit?action=evidence.packed&limit=5000")).json()["items"]
        (entry,) = [row for row in packed if row["details"]["manifest"] == sha256(content).hexdigest()]
        assert entry["actor"].startswith("key_")
    assert (await client.get("/v1/evidence/pack?framework=nist")).status_code == 404
    assert (await client.get("/v1/evidence/pack?limit=5")).status_code == 422


async def test_controls_stand_as_of_a_day_by_the_evidence_there_was(as_: As) -> None:
    client, today = as_("auditor"), datetime.now(UTC).date()
    now = (await client.get("/v1/controls?framework=soc2")).json()["items"]
    then = (await client.get(f"/v1/controls?framework=soc2&as_of={today}")).json()["items"]
    named = ("id", "status", "supporting", "contradicting")
    assert [[row[name] for name in named] for row in now] == [[row[name] for name in named] for row in then]
    one = (await client.get(f"/v1/controls/soc2:CC6.1?as_of={today}")).json()
    assert one == next(row for row in then if row["id"] == "soc2:CC6.1")
    assert one["unknown"] is None
    for day in (today + timedelta(days=1), today - timedelta(days=1), "today", "1", f"{today}T00:00:00Z", "9999-12-31"):
        assert (await client.get(f"/v1/controls?as_of={day}")).status_code == 422
    assert (await as_("other organization's admin").get(f"/v1/controls?as_of={today}")).status_code == 422
