"""Every route of the document, called by everybody who must not get anything out of it."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.api.shapes import ROLES, Scene

OPEN = {
    "check_health", "check_readiness", "open_sign_in", "answer_sign_in", "finish_sign_in", "get_issuer", "get_issuer_keys",
}  # fmt: skip
"""Routes for whoever comes: two for the load balancer, three for browsers, two for clouds that trust this Tieline."""
ROLE_OF = {
    "list_providers": "auditor", "get_provider": "auditor", "get_provider_setup": "auditor",
    "create_connection": "admin", "list_connections": "auditor", "get_connection": "auditor",
    "change_connection": "admin", "disconnect": "admin", "test_connection": "admin", "pause_connection": "admin",
    "try_mapping": "admin", "list_rejected_alike": "auditor",
    "change_timetable": "admin", "count_run_days": "auditor",
    "resume_connection": "admin", "rotate_credential": "admin", "reconnect": "admin", "start_sync": "member",
    "import_connections": "admin", "list_versions": "auditor", "roll_back_credential": "admin", "switch_way": "admin",
    "list_runs": "auditor", "get_run": "auditor", "list_rejections": "auditor", "cancel_run": "member",
    "retry_run": "member", "release_run": "member", "follow_run": "auditor",
    "list_entities": "auditor", "count_entities": "auditor", "get_entity": "auditor",
    "list_history": "auditor", "compare_entity": "auditor",
    "list_findings": "auditor", "get_finding": "auditor", "show_finding_history": "auditor",
    "mute_finding": "member", "unmute_finding": "member", "assign_finding": "member", "list_finding_groups": "auditor",
    "mute_findings": "member", "unmute_findings": "member", "assign_findings": "member",
    "list_oauth_availability": "auditor", "list_oauth_apps": "admin", "get_oauth_app": "admin", "set_oauth_app": "admin",
    "remove_oauth_app": "admin", "start_sign_in": "admin", "get_sign_in": "auditor",
    "create_connect_session": "admin", "list_connect_sessions": "auditor", "get_connect_session": "auditor",
    "cancel_connect_session": "admin",
    "list_checks": "auditor", "get_check": "auditor", "list_frameworks": "auditor", "get_framework": "auditor",
    "list_controls": "auditor", "get_control": "auditor",
    "list_evidence": "auditor", "get_evidence": "auditor", "materialize_evidence": "member", "export_pack": "auditor",
    "list_events": "auditor", "list_audit_entries": "auditor", "list_audit_checkpoints": "auditor",
    "list_members": "admin", "invite_member": "admin", "make_member_link": "admin", "change_member": "admin",
    "remove_member": "admin",
    "create_api_key": "admin", "list_api_keys": "admin", "revoke_api_key": "admin",
    "create_organization": "operator", "list_organizations": "operator", "get_organization": "operator",
    "create_organization_api_key": "operator", "show_engine": "operator", "list_workers": "operator", "list_settings": "operator",
    "list_run_spans": "auditor",
    "list_encryption_keys": "operator", "rewrap_stored_values": "operator",
}  # fmt: skip
"""The least role that each route is for; a route without a row here fails the first test."""

BODIES: dict[str, Any] = {
    "create_connection": {"provider": "sandbox", "options": {"base_url": "http://127.0.0.1:9"}, "credential": {"token": "lks_x"}},
    "change_connection": {"name": "Another"},
    "try_mapping": {"record": {"id": "per_1"}},
    "change_timetable": {"every": "6h"},
    "rotate_credential": {"credential": {"token": "lks_x"}},
    "reconnect": {"credential": {"token": "lks_x"}},
    "switch_way": {"by": "token"},
    "import_connections": {"rows": [{"provider": "sandbox"}], "dry_run": True},
    "set_oauth_app": {"client_id": "x", "client_secret": "y"},
    "start_sign_in": {"provider": "sandbox"},
    "mute_finding": {"reason": "Because"},
    "assign_finding": {"owner": "nobody"},
    "mute_findings": {"reason": "Because", "filter": {"check": "never"}},
    "unmute_findings": {"filter": {"check": "never"}},
    "assign_findings": {"owner": "nobody", "filter": {"check": "never"}},
    "invite_member": {"email": "never@example.com", "role": "auditor"},
    "change_member": {"role": "auditor"},
    "create_api_key": {"name": "k", "role": "auditor"},
    "create_organization": {"slug": "never-made", "name": "Never"},
    "create_organization_api_key": {"name": "k", "role": "auditor"},
}  # fmt: skip
SHARED = {"slug", "check_id", "control_id", "org_id", "operation"}
"""Path parameters that name what belongs to no organization, or is for operators alone."""


def routes_of(app: FastAPI) -> list[tuple[str, str, str]]:
    """(operation, method, path) of each route of the document."""
    return [
        (operation["operationId"], method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    ]


@pytest.fixture
def routes(app: FastAPI) -> list[tuple[str, str, str]]:
    return [one for one in routes_of(app) if one[0] not in OPEN]


async def call(client: httpx2.AsyncClient, key: str | None, route: tuple[str, str, str], ids: dict[str, str]) -> Any:
    """Call a route with the ids given."""
    operation, method, path = route
    if operation == "get_framework":
        ids = ids | {"slug": "soc2"}
    headers = {"X-API-Key": key} if key else {}
    return await client.request(method, path.format(**ids), json=BODIES.get(operation), headers=headers)


def test_every_route_has_a_row_in_the_matrix(routes: list[tuple[str, str, str]]) -> None:
    assert sorted(ROLE_OF) == sorted(operation for operation, _, _ in routes)


def test_every_route_is_for_a_key_and_says_so(app: FastAPI) -> None:
    for operations in app.openapi()["paths"].values():
        for operation in operations.values():
            if operation["operationId"] not in OPEN:
                assert operation["security"] == [{"ApiKey": []}]
                assert {"401", "403", "422", "503"} <= set(operation["responses"])


@pytest.mark.parametrize("key", [None, "", "garbage", "tl_aaaaaaaaaaaa_" + "b" * 32, "x" * 10_000])
async def test_no_route_answers_without_a_key_that_works(
    anonymous: httpx2.AsyncClient, scene: Scene, routes: list[tuple[str, str, str]], key: str | None
) -> None:
    for route in routes:
        answer = await call(anonymous, key, route, scene.ids)
        assert (answer.status_code, answer.json()["slug"]) == (401, "not-authenticated"), route


@pytest.mark.parametrize("which", ["revoked", "expired"])
async def test_a_key_that_worked_once_answers_like_one_that_never_did(
    anonymous: httpx2.AsyncClient, scene: Scene, routes: list[tuple[str, str, str]], which: str
) -> None:
    def told(answer: Any) -> dict[str, Any]:
        return {name: value for name, value in answer.json().items() if name != "request_id"}

    for route in routes:
        dead = await call(anonymous, scene.keys[which], route, scene.ids)
        unknown = await call(anonymous, "tl_aaaaaaaaaaaa_" + "b" * 32, route, scene.ids)
        assert (dead.status_code, told(dead)) == (401, told(unknown)), route


@pytest.mark.parametrize("role", ["auditor", "member", "admin"])
async def test_a_role_that_does_not_reach_so_far_is_refused(
    anonymous: httpx2.AsyncClient, scene: Scene, routes: list[tuple[str, str, str]], role: Any
) -> None:
    refused = [one for one in routes if ROLES.index(ROLE_OF[one[0]]) > ROLES.index(role)]
    assert refused
    for route in refused:
        answer = await call(anonymous, scene.keys[role], route, scene.ids)
        assert (answer.status_code, answer.json()["slug"]) == (403, "not-allowed"), route


async def test_an_auditor_can_read_all_that_an_organization_has(
    anonymous: httpx2.AsyncClient, scene: Scene, routes: list[tuple[str, str, str]]
) -> None:
    for route in routes:
        if ROLE_OF[route[0]] == "auditor":
            assert (await call(anonymous, scene.keys["auditor"], route, scene.ids)).status_code == 200, route


async def test_an_auditor_changes_nothing(routes: list[tuple[str, str, str]]) -> None:
    assert all(method == "GET" for operation, method, _ in routes if ROLE_OF[operation] == "auditor")


async def test_what_belongs_to_another_organization_is_answered_like_what_does_not_exist(
    anonymous: httpx2.AsyncClient, scene: Scene, routes: list[tuple[str, str, str]]
) -> None:
    def told(answer: Any, ids: dict[str, str]) -> str:
        content = {name: value for name, value in answer.json().items() if name != "request_id"}
        text = str(content)
        for one in ids.values():
            text = text.replace(one, "ID")
        return text

    key, tried = scene.keys["other organization's admin"], 0
    for route in routes:
        operation, _, path = route
        owned = set(re.findall(r"{(\w+)}", path)) - SHARED
        if ROLE_OF[operation] == "operator" or not owned:
            continue
        foreign = await call(anonymous, key, route, scene.ids)
        absent = await call(anonymous, key, route, scene.ids | scene.absent)
        malformed = await call(anonymous, key, route, scene.ids | dict.fromkeys(owned, "..nonsense"))
        assert foreign.status_code == absent.status_code == malformed.status_code == 404, route
        assert told(foreign, scene.ids) == told(absent, scene.absent), route
        assert malformed.json()["slug"] == "not-found"
        tried += 1
    assert tried >= 20


async def test_listings_show_nothing_of_another_organization(
    anonymous: httpx2.AsyncClient, scene: Scene, routes: list[tuple[str, str, str]]
) -> None:
    catalog = {"list_providers", "list_oauth_availability", "list_checks", "list_frameworks"}
    for route in routes:
        operation, method, path = route
        if method != "GET" or "{" in path or ROLE_OF[operation] == "operator" or operation in catalog:
            continue
        if operation == "export_pack":  # tests/flows/test_pack.py looks into it
            continue
        answer = await call(anonymous, scene.keys["other organization's admin"], route, {})
        assert answer.status_code == 200
        assert not any(one in answer.text for name, one in scene.ids.items() if name not in SHARED)
        if operation == "list_controls":
            assert {row["status"] for row in answer.json()["items"]} == {"no-evidence"}
        elif operation != "list_api_keys":
            assert answer.json()["items"] == [], route


async def test_a_filter_by_another_organizations_id_finds_nothing(anonymous: httpx2.AsyncClient, scene: Scene) -> None:
    headers = {"X-API-Key": scene.keys["other organization's admin"]}
    for path in ("/v1/runs", "/v1/entities", "/v1/findings", "/v1/evidence", "/v1/entities/kinds"):
        params = {"connection_id": scene.ids["connection_id"]}
        assert (await anonymous.get(path, params=params, headers=headers)).json()["items"] == []


async def test_an_admin_can_neither_make_nor_revoke_a_key_of_a_higher_role(
    anonymous: httpx2.AsyncClient, scene: Scene
) -> None:
    headers = {"X-API-Key": scene.keys["admin"]}
    made = await anonymous.post("/v1/api-keys", json={"name": "k", "role": "operator"}, headers=headers)
    assert made.status_code == 403
    listed = (await anonymous.get("/v1/api-keys", headers=headers)).json()["items"]
    operator = next(one for one in listed if one["role"] == "operator" and one["status"] == "active")
    assert (await anonymous.delete(f"/v1/api-keys/{operator['id']}", headers=headers)).status_code == 403
    assert (await anonymous.get("/v1/engine", headers={"X-API-Key": scene.keys["operator"]})).status_code == 200


async def test_a_key_works_until_it_is_revoked_and_is_shown_only_once(
    anonymous: httpx2.AsyncClient, scene: Scene
) -> None:
    headers = {"X-API-Key": scene.keys["admin"]}
    made = (await anonymous.post("/v1/api-keys", json={"name": "k", "role": "auditor"}, headers=headers)).json()
    own = {"X-API-Key": made["key"]}
    assert (await anonymous.get("/v1/runs", headers=own)).status_code == 200
    assert made["key"] not in (await anonymous.get("/v1/api-keys", params={"limit": 5000}, headers=headers)).text
    revoked = await anonymous.delete(f"/v1/api-keys/{made['id']}", headers=headers)
    assert revoked.json()["status"] == "revoked"
    assert (await anonymous.get("/v1/runs", headers=own)).status_code == 401


async def test_an_operator_makes_an_organization_and_its_first_key(anonymous: httpx2.AsyncClient, scene: Scene) -> None:
    headers = {"X-API-Key": scene.keys["operator"]}
    wanted = {"slug": f"made-{scene.org_id[-8:]}", "name": "Made"}
    made = await anonymous.post("/v1/organizations", json=wanted, headers=headers)
    assert made.status_code == 201
    again = await anonymous.post("/v1/organizations", json=wanted, headers=headers)
    assert (again.status_code, again.json()["slug"]) == (409, "conflict")
    path = f"/v1/organizations/{made.json()['id']}/api-keys"
    key = (await anonymous.post(path, json={"name": "first", "role": "admin"}, headers=headers)).json()["key"]
    assert (await anonymous.get("/v1/connections", headers={"X-API-Key": key})).json()["items"] == []
