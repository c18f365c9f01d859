"""Hostile bodies: whatever is sent to a route that takes a body, it is refused as a problem, and nothing of it is told again."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.shapes import SANDBOX_TOKEN, Scene
from tests.api.test_tenancy import BODIES

from tieline.api.body import BadJson, check_json

As = Callable[[str], httpx2.AsyncClient]
CANARY = "hunter2-canary"

ROUTES = {
    "create_connection": ("POST", "/v1/connections"),
    "change_connection": ("PATCH", "/v1/connections/{connection_id}"),
    "try_mapping": ("POST", "/v1/connections/{connection_id}/operations/{operation}/try"),
    "change_timetable": ("PATCH", "/v1/connections/{connection_id}/operations/{operation}"),
    "rotate_credential": ("POST", "/v1/connections/{connection_id}/rotate"),
    "reconnect": ("POST", "/v1/connections/{connection_id}/reconnect"),
    "roll_back_credential": ("POST", "/v1/connections/{connection_id}/roll-back"),
    "switch_way": ("POST", "/v1/connections/{connection_id}/switch"),
    "import_connections": ("POST", "/v1/connections/import"),
    "set_oauth_app": ("PUT", "/v1/oauth-apps/{slug}"),
    "start_sign_in": ("POST", "/v1/oauth/start"),
    "create_connect_session": ("POST", "/v1/connect-sessions"),
    "start_sync": ("POST", "/v1/connections/{connection_id}/sync"),
    "test_connection": ("POST", "/v1/connections/{connection_id}/test"),
    "pause_connection": ("POST", "/v1/connections/{connection_id}/pause"),
    "resume_connection": ("POST", "/v1/connections/{connection_id}/resume"),
    "cancel_run": ("POST", "/v1/runs/{run_id}/cancel"),
    "retry_run": ("POST", "/v1/runs/{run_id}/retry"),
    "release_run": ("POST", "/v1/runs/{run_id}/release"),
    "mute_finding": ("POST", "/v1/findings/{finding_id}/mute"),
    "unmute_finding": ("POST", "/v1/findings/{finding_id}/unmute"),
    "assign_finding": ("POST", "/v1/findings/{finding_id}/assign"),
    "mute_findings": ("POST", "/v1/findings/mute"),
    "unmute_findings": ("POST", "/v1/findings/unmute"),
    "assign_findings": ("POST", "/v1/findings/assign"),
    "materialize_evidence": ("POST", "/v1/evidence/materialize"),
    "invite_member": ("POST", "/v1/members"),
    "change_member": ("PATCH", "/v1/members/{member_id}"),
    "make_member_link": ("POST", "/v1/members/{member_id}/link"),
    "create_api_key": ("POST", "/v1/api-keys"),
    "create_organization": ("POST", "/v1/organizations"),
    "create_organization_api_key": ("POST", "/v1/organizations/{org_id}/api-keys"),
}
JSON = "application/json"
CASES: dict[str, tuple[bytes, str, int | tuple[int, ...]]] = {
    "no JSON": (CANARY.encode(), JSON, 400),
    "half of it": (b'{"name": "' + CANARY.encode(), JSON, 400),
    "two values": (b"{} {}", JSON, 400),
    "a trailing comma": (b'{"name": "x",}', JSON, 400),
    "a comment": (b'{"name": "x"} // y', JSON, 400),
    "single quotes": (b"{'name': 'x'}", JSON, 400),
    "depth of 10,000 lists": (b"[" * 10_000 + b"]" * 10_000, JSON, 400),
    "depth of 20,000 objects": (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, JSON, 400),
    "depth of 65 in a field": (b'{"options": ' + b"[" * 65 + b"]" * 65 + b"}", JSON, 400),
    "depth without end": (b"[" * 100_000, JSON, 400),
    "a float beyond doubles": (b'{"name": 1e999}', JSON, 400),
    "a whole number beyond 64 bits": (b'{"name": 123456789012345678901234567890}', JSON, 400),
    "a number of 100,000 digits": (b'{"name": ' + b"9" * 100_000 + b"}", JSON, 400),
    "NaN": (b'{"name": NaN}', JSON, 400),
    "Infinity": (b'{"name": -Infinity}', JSON, 400),
    "a name twice": (b'{"name": "x", "name": "y"}', JSON, 400),
    "a name twice, deeper": (b'{"options": {"a": 1, "a": 2}}', JSON, 400),
    "a name twice, escaped": (b'{"name": "x", "n\\u0061me": "y"}', JSON, 400),
    "half a surrogate pair": (b'{"name": "\\ud800"}', JSON, 400),
    "half a pair as a name": (b'{"\\udfff": "x"}', JSON, 400),
    "NUL, escaped": (b'{"name": "a\\u0000b"}', JSON, 400),
    "NUL as a name": (b'{"\\u0000": 1}', JSON, 400),
    "NUL, raw": (b'{"name": "a\x00b"}', JSON, 400),
    "a control character, raw": (b'{"name": "a\nb"}', JSON, 400),
    "a byte order mark": (b"\xef\xbb\xbf{}", JSON, 400),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), JSON, 400),
    "Latin-1": ('{"name": "é"}'.encode("latin-1"), JSON, 400),
    "overlong UTF-8": (b'{"name": "\xc0\xaf"}', JSON, 400),
    "a surrogate in UTF-8": (b'{"name": "\xed\xa0\x80"}', JSON, 400),
    "white space alone": (b"   ", JSON, 400),
    "10 MB of text": (b'{"name": "' + b"x" * 10_000_000 + b'"}', JSON, 413),
    "10 MB of white space": (b" " * 10_000_000 + b"{}", JSON, 413),
    "a list": (b"[]", JSON, 422),
    "a text": (b'"' + CANARY.encode() + b'"', JSON, 422),
    "a number": (b"7", JSON, 422),
    "null": (b"null", JSON, 422),
    "an unknown field": (json.dumps({CANARY: CANARY}).encode(), JSON, 422),
    "__proto__": (b'{"__proto__": {"role": "operator"}}', JSON, 422),
    "no type": (b"{}", "", 415),
    "text": (b"{}", "text/plain", 415),
    "a form": (b"name=x", "application/x-www-form-urlencoded", 415),
    "parts": (b"--x--", "multipart/form-data; boundary=x", 415),
    "another charset": (b"{}", "application/json; charset=utf-16", 415),
    "JSON lines": (b"{}", "application/jsonl", 415),
    "a type that begins alike": (b"{}", "application/json-patch+json", 415),
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
async def test_hostile_bodies_are_refused_and_not_told_again(as_: As, scene: Scene, route: str) -> None:
    client = as_("operator")
    method, path = ROUTES[route]
    for name, (content, kind, status) in CASES.items():
        headers = {"Content-Type": kind} if kind else {}
        answer = await client.request(method, path.format(**scene.ids), content=content, headers=headers)
        assert answer.status_code == status, (name, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert CANARY not in answer.text, name
        assert len(answer.content) < 2_000


async def test_every_route_with_a_body_is_among_those_tried(app: Any) -> None:
    documented = {
        operation["operationId"]
        for operations in app.openapi()["paths"].values()
        for operation in operations.values()
        if "requestBody" in operation
    }
    assert documented == set(ROUTES)


async def test_a_body_without_end_is_refused_as_soon_as_it_is_too_large(as_: As) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 65_536

    answer = await as_("operator").post(
        "/v1/organizations", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert sent <= 6


async def test_a_compressed_body_is_refused(as_: As) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await as_("operator").post("/v1/organizations", content=gzip.compress(b" " * 10**7), headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("create_api_key", {"name": 7, "role": "auditor"}),
        ("create_api_key", {"name": "k", "role": "auditor", "expires_at": 1_900_000_000}),
        ("create_api_key", {"name": "k", "role": "auditor", "expires_at": "2031-01-01T00:00:00"}),
        ("create_api_key", {"name": "k", "role": "auditor", "expires_at": "2001-01-01T00:00:00Z"}),
        ("create_api_key", {"name": "k", "role": "auditor", "expires_at": "9999-12-31T23:59:59-23:59"}),
        ("create_api_key", {"name": "k", "role": "emperor"}),
        ("create_api_key", {"name": "", "role": "auditor"}),
        ("create_api_key", {"name": "n" * 201, "role": "auditor"}),
        ("mute_finding", {"reason": ["x"]}),
        ("try_mapping", {}),
        ("try_mapping", {"record": [CANARY]}),
        ("try_mapping", {"record": {"id": CANARY}, "record_id": "ent_01k0c4m2w8eyv9x3f5t7h1n6qp"}),
        ("try_mapping", {"record": {"id": CANARY}, "variant": CANARY}),
        ("try_mapping", {"record": {"id": CANARY}, "filter": 7}),
        ("try_mapping", {"record": {"id": CANARY}, "fields": {"title": "payload.("}}),
        ("try_mapping", {"record": {"id": CANARY}, "fields": {"title": ""}}),
        ("try_mapping", {"record": {"id": CANARY}, "fields": {"no such field": "1"}}),
        ("try_mapping", {"record": {"id": CANARY}, "compare": 201}),
        ("assign_finding", {"owner": "somebody"}),
        ("assign_finding", {"owner": "mem_01k0c4m2w8eyv9x3f5t7h1n6qp"}),
        ("assign_findings", {"owner": "nobody"}),
        ("assign_findings", {"owner": "nobody", "findings": []}),
        ("mute_findings", {"reason": "x", "findings": ["find_01k0c4m2w8eyv9x3f5t7h1n6qp"], "filter": {}}),
        ("mute_findings", {"reason": "x", "filter": {"status": "gone"}}),
        ("unmute_findings", {"filter": {"nonsense": "x"}}),
        ("mute_finding", {"reason": "x", "until": "2001-01-01T00:00:00Z"}),
        ("mute_finding", {"reason": "x", "until": "9999-12-31T23:59:59-23:59"}),
        ("create_connection", {"provider": "sandbox", "credential": "lks_" + CANARY}),
        ("create_connection", {"provider": "sandbox", "credential": [CANARY]}),
        ("create_connection", {"provider": "sandbox", "credential": {"token": 7}}),
        ("create_connection", {"provider": "sandbox", "credential": {"token": {"value": CANARY}}}),
        ("create_connection", {"provider": "sandbox", "credential": {"token": "lks_\n" + CANARY}}),
        ("create_connection", {"provider": "sandbox", "credential": {"token": CANARY}, "options": {"base_url": CANARY}}),
        ("create_connection", {"provider": "sandbox", "options": "x", "credential": {}}),
        ("create_connection", {"provider": "sandbox"}),
        ("create_connection", {"provider": "sandbox", "credential": {}, "expires_at": "2031-01-01T00:00:00"}),
        ("create_connection", {"provider": "sandbox", "credential": {}, "expires_at": "9999-12-31T23:59:59-23:59"}),
        ("create_connection", {"provider": "sandbox", "credential": {"token": "lks_x"}, "expires_at": "2001-01-01T00:00:00Z"}),
        ("create_connection", {"provider": "sandbox", "credential": {}, "by": ["token"]}),
        ("rotate_credential", {"credential": CANARY}),
        ("rotate_credential", {"credential": {CANARY: CANARY}}),
        ("rotate_credential", {"credential": {"token": CANARY}}),
        ("rotate_credential", {"token": CANARY}),
        ("switch_way", {}),
        ("switch_way", {"by": None}),
        ("switch_way", {"by": "token", "credential": {"token": CANARY}}),
        ("import_connections", {}),
        ("import_connections", {"rows": []}),
        ("import_connections", {"rows": CANARY}),
        ("import_connections", {"rows": [CANARY]}),
        ("import_connections", {"rows": [[{"token": CANARY}]]}),
        ("import_connections", {"rows": [{"provider": "sandbox"}], "csv": "provider\nsandbox\n"}),
        ("import_connections", {"rows": [{"provider": "sandbox"}], "dry_run": "yes"}),
        ("import_connections", {"csv": ""}),
        ("import_connections", {"csv": CANARY}),
        ("import_connections", {"csv": f"provider,credential.token\nsandbox,{CANARY},{CANARY}\n"}),
        ("import_connections", {"csv": f'provider,credential.token\nsandbox,"{CANARY}\n'}),
        ("import_connections", {"csv": [CANARY]}),
        ("set_oauth_app", {"client_id": "x", "client_secret": [CANARY]}),
        ("set_oauth_app", {"client_secret": CANARY}),
        ("set_oauth_app", {"client_id": "x", "client_secret": CANARY}),
        ("start_sign_in", {"provider": "sandbox", "options": CANARY}),
        ("start_sign_in", {"provider": "sandbox", "return_to": 7}),
        ("create_connect_session", {"providers": "sandbox"}),
        ("create_connect_session", {"providers": [CANARY * 9]}),
        ("create_connect_session", {"origins": [CANARY]}),
        ("create_connect_session", {"locale": "fr"}),
        ("create_connect_session", {"options": {"x": CANARY}}),
        ("create_connect_session", {"providers": ["sandbox"], "options": {"nonsense": CANARY}}),
        ("create_connect_session", {"return_to": "https://evil.example/"}),
        ("change_connection", {"overrides": {"people": {"filter": 7}}}),
        ("change_connection", {"overrides": {"people": {"filter": "payload.("}}}),
        ("change_connection", {"overrides": {"people": [CANARY]}}),
        ("change_connection", {"id": "conn_x"}),
        ("change_connection", {"status": "active"}),
    ],
)  # fmt: skip
async def test_a_body_of_other_types_or_fields_is_refused_and_not_told_again(
    as_: As, scene: Scene, route: str, body: Any
) -> None:
    method, path = ROUTES[route]
    answer = await as_("operator").request(method, path.format(**scene.ids), json=body)
    assert (answer.status_code, answer.json()["slug"]) == (422, "invalid"), answer.text
    assert CANARY not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"provider": "sandbox", "credential": {"token": "lks_" + "x" * 110_000}, "options": {"base_url": "http://127.0.0.1:9"}},
        {"provider": "sandbox", "credential": {"token": SANDBOX_TOKEN}, "options": {"base_url": "http://" + "x" * 60_000}},
    ],
)  # fmt: skip
async def test_a_credential_or_options_over_their_size_are_refused(as_: As, body: Any) -> None:
    answer = await as_("admin").post("/v1/connections", json=body)
    assert (answer.status_code, answer.json()["slug"]) == (413, "too-large")


async def test_who_may_not_call_is_told_so_before_the_body_is_read(anonymous: httpx2.AsyncClient, scene: Scene) -> None:
    for route, (method, path) in ROUTES.items():
        for key, status in (("no", 401), (scene.keys["auditor"], 403)):
            headers = {"X-API-Key": key}
            answer = await anonymous.request(method, path.format(**scene.ids), content=b"{", headers=headers)
            assert answer.status_code == status, route


def json_values() -> Any:
    numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
    return st.recursive(
        st.none() | st.booleans() | numbers | text,
        lambda one: st.lists(one) | st.dictionaries(text, one),
        max_leaves=20,
    )


@given(json_values())
def test_all_json_that_every_reader_reads_alike_is_taken(value: Any) -> None:
    check_json(json.dumps(value, ensure_ascii=False).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_either_taken_or_refused_as_bad_json(content: bytes) -> None:
    with contextlib.suppress(BadJson):
        check_json(content)
        json.loads(content)


def test_the_bodies_of_the_matrix_are_good_ones() -> None:
    assert set(BODIES) <= set(ROUTES)
