"""The sandbox, asked over a real socket: paging, limits, faults, control, and facts that agree with a full walk."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import orjson
import pytest
import uvicorn

from tieline.providers.sandbox.changes import ACTIONS, apply_all
from tieline.providers.sandbox.company import COLLECTIONS
from tieline.providers.sandbox.founding import build_company
from tieline.providers.sandbox.server import Setup, create_app

TOKEN = "lks_for_tests_only"
CONTROL = {"X-Sandbox-Control": TOKEN}
AS_OF = datetime(2026, 3, 2, tzinfo=UTC)


@contextmanager
def serving(**choices: Any) -> Iterator[httpx2.Client]:
    """A sandbox of 240 people on a port of its own, and a client that holds its token."""
    given: dict[str, Any] = {"people": 240, "token": TOKEN, **choices}
    app = create_app(Setup(**given))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx2.Client(
                base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=60
            ) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def running() -> Iterator[httpx2.Client]:
    with serving() as client:
        yield client


@pytest.fixture
def sandbox(running: httpx2.Client) -> httpx2.Client:
    """The one sandbox of this file, as at its start."""
    running.post("/_sandbox/reset", headers=CONTROL).raise_for_status()
    return running


def walk(client: httpx2.Client, path: str, *, limit: int = 100) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    rows: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": limit}
    while True:
        page = client.get(f"/v1/{path}", params=params).raise_for_status().json()
        assert len(page["data"]) <= limit
        rows += page["data"]
        if page["paging"]["next"] is None:
            return rows
        params["after"] = page["paging"]["next"]


def change(client: httpx2.Client, action: str, count: int = 1) -> list[dict[str, str]]:
    answer = client.post("/_sandbox/change", json={"action": action, "count": count}, headers=CONTROL)
    changes: list[dict[str, str]] = answer.raise_for_status().json()["changes"]
    return changes


def spoil(client: httpx2.Client, **rule: Any) -> None:
    client.post("/_sandbox/faults", json={"rules": [rule]}, headers=CONTROL).raise_for_status()


def facts(client: httpx2.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/_sandbox/facts", headers=CONTROL).raise_for_status().json()
    return found


def ids(rows: Any) -> list[str]:
    return [row["id"] for row in rows]


# Data


def dump(seed: int) -> bytes:
    company = build_company(120, seed=seed, as_of=AS_OF)
    return orjson.dumps([list(table) for table in (*company.tables.values(), *company.members.values())])


def test_the_same_seed_builds_the_same_company_and_another_seed_another() -> None:
    assert dump(7) == dump(7)
    assert dump(7) != dump(8)


def test_the_company_has_the_sizes_and_shares_it_promises() -> None:
    company = build_company(2400, as_of=AS_OF)
    active = [row for row in company.people if row["status"] == "active" and row["employment_type"] != "service"]
    without = [row for row in active if not row["mfa_methods"]]
    in_use = [row for row in company.tables["repositories"] if not row["archived"]]
    assert len(company.people) == 2400
    assert len(without) / len(active) == pytest.approx(0.06, abs=0.001)
    assert sum(row["admin"] for row in without) == 2
    assert sum(row["admin"] for row in company.people) == pytest.approx(24, abs=2)
    assert len([row for row in in_use if not row["protection"]]) / len(in_use) == pytest.approx(0.07, abs=0.01)
    public = {row["name"] for row in in_use if row["visibility"] == "public"}
    assert public == {"billing-service", "instrument-protocol", "larkfield-python"}


def test_names_are_of_many_scripts_and_addresses_are_unique_plain_ascii() -> None:
    people = list(build_company(2400, as_of=AS_OF).people)
    addresses = {row["email"] for row in people}
    assert len(addresses) == len(people)
    assert all(re.fullmatch(r"[a-z]+(-[a-z0-9]+)*(\.[a-z-]+\d*)?@larkfield\.example", address) for address in addresses)
    for letters in ("א-ת", "ء-ي", "一-龥", "가-힣", "ก-ฮ", "а-я", "अ-ह", "α-ω"):
        assert any(re.search(f"[{letters}]", row["display_name"]) for row in people), letters


def test_every_reference_leads_to_a_row_and_nothing_lies_in_the_future() -> None:
    company = build_company(240, as_of=AS_OF)
    tables = company.tables
    for name in ("authenticators", "devices", "access-keys"):
        assert all(row["person_id"] is None or row["person_id"] in company.people for row in tables[name])
    assert all(row["manager_id"] is None or row["manager_id"] in company.people for row in company.people)
    assert all(row["repository_id"] in tables["repositories"] for row in tables["vulnerabilities"])
    assert all(group["member_count"] == len(company.members[group["id"]]) for group in tables["groups"])
    for table in tables.values():
        for row in table:
            times = [value for name, value in row.items() if name != "expires_at" and isinstance(value, datetime)]
            assert all(value <= AS_OF for value in times), row


def test_no_age_stands_near_a_line_that_checks_draw() -> None:
    company = build_company(2400, as_of=AS_OF)
    for at in (row["last_login_at"] for row in company.people if row["last_login_at"]):
        assert not AS_OF - timedelta(days=93) < at < AS_OF - timedelta(days=87)


def test_a_company_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 60"):
        build_company(59, as_of=AS_OF)


# Token and scopes


@pytest.mark.parametrize("header", ["", "Bearer wrong", f"Basic {TOKEN}", "Bearer"])
def test_a_request_without_the_token_gets_a_json_401(sandbox: httpx2.Client, header: str) -> None:
    answer = sandbox.get("/v1/people", headers={"Authorization": header})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_token")


def test_me_names_the_account_and_the_scopes() -> None:
    with serving(scopes=("people:read",)) as client:
        me = client.get("/v1/me").json()
        refused = client.get("/v1/devices")
        assert me["account"] == {"id": "acc_larkfield_7", "name": "Larkfield Instruments"}
        assert me["token"]["scopes"] == ["people:read"]
        assert client.get("/v1/people").status_code == 200
        assert (refused.status_code, refused.json()["error"]["scope"]) == (403, "devices:read")


def test_a_revoked_token_gets_401_and_its_replacement_works(sandbox: httpx2.Client) -> None:
    replacement = sandbox.post("/_sandbox/revoke", headers=CONTROL).json()["replacement"]
    assert sandbox.get("/v1/me").status_code == 401
    assert sandbox.get("/v1/me", headers={"Authorization": f"Bearer {replacement}"}).status_code == 200
    sandbox.post("/_sandbox/reset", headers=CONTROL).raise_for_status()
    assert sandbox.get("/v1/me").status_code == 200


def test_the_control_api_is_closed_without_its_header(sandbox: httpx2.Client) -> None:
    assert sandbox.get("/_sandbox/facts").status_code == 401
    assert sandbox.post("/_sandbox/revoke", headers={"X-Sandbox-Control": "wrong"}).status_code == 401
    assert sandbox.get("/v1/me").status_code == 200


# Paging


@pytest.mark.parametrize("limit", [1, 7, 60, 200])
def test_pages_of_any_size_give_every_row_once_in_order(sandbox: httpx2.Client, limit: int) -> None:
    found = ids(walk(sandbox, "groups", limit=limit))
    assert found == sorted(set(found))
    assert len(found) == facts(sandbox)["counts"]["groups"] == 60


def test_a_walk_that_ends_on_a_full_page_has_no_next(sandbox: httpx2.Client) -> None:
    page = sandbox.get("/v1/groups", params={"limit": 60}).json()
    assert len(page["data"]) == 60
    assert page["paging"] == {"next": None}


def test_a_cursor_outlives_the_row_it_stands_on_and_rows_that_come_in_between(sandbox: httpx2.Client) -> None:
    before = set(ids(walk(sandbox, "authenticators")))
    first = sandbox.get("/v1/authenticators", params={"limit": 50}).json()
    change(sandbox, "drop_mfa", 100)
    change(sandbox, "enrol_mfa", 20)
    after = set(ids(walk(sandbox, "authenticators")))
    assert not set(ids(first["data"])) <= after  # rows of the page already read are gone
    rest: list[str] = []
    cursor = first["paging"]["next"]
    while cursor:
        page = sandbox.get("/v1/authenticators", params={"limit": 50, "after": cursor}).json()
        rest += ids(page["data"])
        cursor = page["paging"]["next"]
    seen = ids(first["data"]) + rest
    assert len(seen) == len(set(seen))
    assert before & after <= set(seen)


def test_a_cursor_works_when_its_own_row_is_gone(sandbox: httpx2.Client) -> None:
    rows = walk(sandbox, "access-keys")
    by_place = {row["id"]: place for place, row in enumerate(rows)}
    cursors = {
        row["id"]: sandbox.get("/v1/access-keys", params={"limit": place + 1}).json()["paging"]["next"]
        for place, row in enumerate(rows[:-1])
    }
    change(sandbox, "rotate_key", 3)
    left = ids(walk(sandbox, "access-keys"))
    gone = [key for key in cursors if key not in left]
    assert gone
    for key in gone:
        page = sandbox.get("/v1/access-keys", params={"limit": 200, "after": cursors[key]}).json()
        expected = [row["id"] for row in rows[by_place[key] + 1 :] if row["id"] in left]
        assert set(expected) <= set(ids(page["data"]))
        assert all(found > key for found in ids(page["data"]))


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"limit": "0"}, "invalid_limit"),
        ({"limit": "201"}, "invalid_limit"),
        ({"limit": "-5"}, "invalid_limit"),
        ({"limit": "0000000001999"}, "invalid_limit"),
        ({"limit": "²"}, "invalid_limit"),
        ({"after": "per_00"}, "invalid_cursor"),
        ({"after": "é"}, "invalid_cursor"),
    ],
)
def test_a_wrong_limit_or_cursor_is_refused(sandbox: httpx2.Client, params: dict[str, str], code: str) -> None:
    answer = sandbox.get("/v1/people", params=params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_a_cursor_of_one_list_is_refused_by_another(sandbox: httpx2.Client) -> None:
    cursor = sandbox.get("/v1/people", params={"limit": 1}).json()["paging"]["next"]
    assert sandbox.get("/v1/devices", params={"after": cursor}).json()["error"]["code"] == "invalid_cursor"


@pytest.mark.parametrize("path", ["/v1/unicorns", "/v1/groups/grp_0/members", "/v1/people/per_0/members", "/elsewhere"])
def test_an_unknown_address_gets_a_json_404(sandbox: httpx2.Client, path: str) -> None:
    answer = sandbox.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


# Rate limit


def test_the_request_over_the_limit_gets_429_and_says_when_to_return() -> None:
    with serving(rate_limit=3, rate_window=3600.0) as client:
        answers = [client.get("/v1/me") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
        assert "Retry-After" not in answers[2].headers
        assert 1 <= int(answers[3].headers["Retry-After"]) <= 3600
        assert len({answer.headers["X-RateLimit-Reset"] for answer in answers}) == 1
        assert client.get("/_sandbox/facts", headers=CONTROL).status_code == 200
        client.post("/_sandbox/reset", headers=CONTROL)
        assert client.get("/v1/me").status_code == 200


# Faults


def test_a_rule_lets_some_pass_then_spoils_so_many_and_then_rests(sandbox: httpx2.Client) -> None:
    spoil(sandbox, match="/people", status=429, headers={"Retry-After": "2"}, skip=1, times=2)
    statuses = [sandbox.get("/v1/people").status_code for _ in range(5)]
    assert statuses == [200, 429, 429, 200, 200]
    spoil(sandbox, match="/people", status=503, body={"why": "maintenance"}, headers={"Retry-After": "9"})
    assert sandbox.get("/v1/devices").status_code == 200
    answer = sandbox.get("/v1/people")
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()) == (503, "9", {"why": "maintenance"})


def test_a_rule_without_end_holds_until_the_rules_are_replaced(sandbox: httpx2.Client) -> None:
    spoil(sandbox, match="^GET /v1/me$", status=500, times=None)
    assert {sandbox.get("/v1/me").status_code for _ in range(5)} == {500}
    sandbox.post("/_sandbox/faults", json={"rules": []}, headers=CONTROL)
    assert sandbox.get("/v1/me").status_code == 200


def test_a_truncated_answer_is_whole_as_http_but_broken_as_json(sandbox: httpx2.Client) -> None:
    whole = sandbox.get("/v1/people").content
    spoil(sandbox, match="/people", truncate=True)
    cut = sandbox.get("/v1/people")
    assert cut.status_code == 200
    assert cut.content == whole[: len(whole) // 2]
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):  # the cut may fall within a character
        json.loads(cut.content)


def test_a_sign_in_page_comes_as_html_with_200(sandbox: httpx2.Client) -> None:
    spoil(sandbox, match="/me", html=True)
    answer = sandbox.get("/v1/me")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Sign in" in answer.text


def test_a_repeated_cursor_is_the_one_that_was_asked_with(sandbox: httpx2.Client) -> None:
    first = sandbox.get("/v1/people", params={"limit": 50}).json()["paging"]["next"]
    spoil(sandbox, match="/people", repeat_cursor=True)
    assert sandbox.get("/v1/people", params={"limit": 50}).json()["paging"]["next"] == first
    second = sandbox.get("/v1/people", params={"limit": 50, "after": first}).json()
    assert second["paging"]["next"] == first
    third = sandbox.get("/v1/people", params={"limit": 50, "after": first}).json()
    assert third["data"] == second["data"]
    assert third["paging"]["next"] != first


def test_a_status_without_body_and_a_delay_are_answered_well(sandbox: httpx2.Client) -> None:
    spoil(sandbox, match="/me", status=204, delay_ms=1)
    answer = sandbox.get("/v1/me")
    assert (answer.status_code, answer.content) == (204, b"")
    assert sandbox.get("/v1/me").status_code == 200


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"match": "("},
        {"match": "x", "status": "429"},
        {"match": "x", "status": 99},
        {"match": "x", "skip": -1},
        {"match": "x", "delay_ms": 10**9},
        {"match": "x", "colour": "red"},
        {"match": "x", "headers": {"A": "b\r\nC: d"}},
        "x",
    ],
)
def test_a_wrong_rule_is_refused_and_those_in_force_stay(sandbox: httpx2.Client, rule: Any) -> None:
    spoil(sandbox, match="/me", status=500, times=None)
    answer = sandbox.post("/_sandbox/faults", json={"rules": [rule]}, headers=CONTROL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_rules")
    assert sandbox.get("/v1/me").status_code == 500


def test_the_log_tells_what_was_asked_and_never_the_token(sandbox: httpx2.Client) -> None:
    spoil(sandbox, match="/people", status=500)
    sandbox.get("/v1/me")
    sandbox.get("/v1/people", params={"limit": 5})
    answer = sandbox.get("/_sandbox/log", headers=CONTROL)
    told = [(entry["request"], entry["status"], entry["fault"]) for entry in answer.json()["data"]]
    assert told == [("GET /v1/me", 200, False), ("GET /v1/people?limit=5", 500, True)]
    assert TOKEN not in answer.text


# Changes


def test_every_action_changes_something_and_says_what(sandbox: httpx2.Client) -> None:
    for action in ACTIONS:
        before = {name: walk(sandbox, name) for name in ("people", "repositories", "access-keys", "authenticators")}
        (done,) = change(sandbox, action)
        after = {name: walk(sandbox, name) for name in before}
        assert before != after, action
        assert done["action"] == action
        assert done["sentence"].endswith(".")
        assert done["id"] in ids(after[done["collection"]])


def test_a_leaver_loses_groups_authenticators_keys_and_laptop(sandbox: httpx2.Client) -> None:
    (done,) = change(sandbox, "leave")
    person = next(row for row in walk(sandbox, "people") if row["id"] == done["id"])
    assert (person["status"], person["mfa_methods"]) == ("deactivated", [])
    for name in ("authenticators", "access-keys", "devices"):
        assert all(row["person_id"] != done["id"] for row in walk(sandbox, name))
    for group in walk(sandbox, "groups"):
        members = walk(sandbox, f"groups/{group['id']}/members")
        assert len(members) == group["member_count"]
        assert all(row["person_id"] != done["id"] for row in members)


def test_the_story_moves_the_facts_as_it_tells(sandbox: httpx2.Client) -> None:
    before = facts(sandbox)
    told = sandbox.post("/_sandbox/story", headers=CONTROL).json()
    after = facts(sandbox)
    actions = [row["action"] for row in told["changes"]]
    assert actions == ["enrol_mfa"] * 5 + ["hire"] * 2 + ["unprotect", "protect", "leave"]
    assert len(told["sentences"]) == len(set(told["sentences"])) == 10
    of = {action: {row["id"] for row in told["changes"] if row["action"] == action} for action in actions}
    without, unprotected = set(before["people"]["active_without_mfa"]), set(before["repositories"]["unprotected"])
    assert set(after["people"]["active_without_mfa"]) == (without - of["enrol_mfa"] - of["leave"]) | of["hire"]
    assert set(after["repositories"]["unprotected"]) == (unprotected - of["protect"]) | of["unprotect"]
    assert after["counts"]["people"] == before["counts"]["people"] + 2


def test_after_a_reset_the_same_changes_tell_the_same_tale(sandbox: httpx2.Client) -> None:
    untouched = walk(sandbox, "people")
    first = sandbox.post("/_sandbox/story", headers=CONTROL).json()["sentences"] + change(sandbox, "suspend", 3)
    sandbox.post("/_sandbox/reset", headers=CONTROL).raise_for_status()
    assert walk(sandbox, "people") == untouched
    second = sandbox.post("/_sandbox/story", headers=CONTROL).json()["sentences"] + change(sandbox, "suspend", 3)
    assert first == second


def test_no_step_undoes_another() -> None:
    company = build_company(60, as_of=AS_OF)
    steps = [("protect", 200), ("unprotect", 1), ("protect", 1)]
    done = [change.action for change in apply_all(company, steps, at=AS_OF)]
    assert done.count("unprotect") == 1
    assert done[-1] == "unprotect"  # the one repository left to protect was touched before


def test_an_action_stops_when_nothing_is_left_to_change(sandbox: httpx2.Client) -> None:
    unprotected = len(facts(sandbox)["repositories"]["unprotected"])
    assert len(change(sandbox, "protect", unprotected + 5)) == unprotected
    assert facts(sandbox)["repositories"]["unprotected"] == []
    assert change(sandbox, "protect") == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"action": "explode"}', b'{"action": "hire", "count": 0}'])
def test_a_wrong_change_is_refused(sandbox: httpx2.Client, body: bytes) -> None:
    assert sandbox.post("/_sandbox/change", content=body, headers=CONTROL).status_code == 400


# Facts


def test_the_facts_agree_with_a_full_walk_before_and_after_changes() -> None:
    with serving(rate_limit=10_000) as client:
        for action in ACTIONS:
            change(client, action, 2)
        compare_with_walk(client)
        client.post("/_sandbox/reset", headers=CONTROL)
        compare_with_walk(client)


def compare_with_walk(client: httpx2.Client) -> None:
    """Work the facts out from the lists alone."""
    found = facts(client)
    rows = {name: walk(client, name) for name in COLLECTIONS}
    members = [member for group in rows["groups"] for member in walk(client, f"groups/{group['id']}/members")]
    assert found["counts"] == {name: len(rows[name]) for name in COLLECTIONS} | {"memberships": len(members)}

    old = datetime.now(UTC) - timedelta(days=90)
    active = [row for row in rows["people"] if row["status"] == "active"]
    enrolled = {row["person_id"] for row in rows["authenticators"]}
    without = [row for row in active if row["employment_type"] != "service" and row["id"] not in enrolled]
    assert all(bool(row["mfa_methods"]) == (row["id"] in enrolled) for row in rows["people"])
    people = found["people"]
    assert people["active_without_mfa"] == ids(without)
    assert people["admins_without_mfa"] == ids(row for row in without if row["admin"])
    assert people["dormant"] == ids(row for row in active if row["last_login_at"] and before(row["last_login_at"], old))
    assert people["never_signed_in"] == ids(row for row in active if row["last_login_at"] is None)
    suspended = {row["id"] for row in rows["people"] if row["status"] == "suspended"}
    assert set(people["suspended_members"]) == suspended & {row["person_id"] for row in members}
    assert people["suspended_members"]
    assert sum(people["by_status"].values()) == len(rows["people"])

    in_use = [row for row in rows["repositories"] if not row["archived"]]
    assert found["repositories"]["unprotected"] == ids(row for row in in_use if row["protection"] is None)
    assert found["repositories"]["public"] == ids(row for row in rows["repositories"] if row["visibility"] == "public")
    assert found["devices"]["unencrypted"] == ids(row for row in rows["devices"] if not row["disk_encrypted"])
    assert found["access_keys"]["old"] == ids(row for row in rows["access-keys"] if before(row["created_at"], old))
    critical = [row for row in rows["vulnerabilities"] if row["state"] == "open" and row["severity"] == "critical"]
    assert found["vulnerabilities"]["open_critical"] == ids(critical)
    assert sum(found["alerts"].values()) == sum(row["status"] != "resolved" for row in rows["alerts"])


def before(text: str, moment: datetime) -> bool:
    return datetime.fromisoformat(text) < moment


# The command


def start(*options: str) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    command = [sys.executable, "-m", "tieline.providers.sandbox", "--people", "60", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    line: dict[str, str] = json.loads(process.stdout.readline())
    return process, line


def test_the_command_says_where_it_serves_and_ends_with_its_standard_input() -> None:
    process, told = start("--until-stdin-closes", "--token", TOKEN)
    with process:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", told["url"])
        assert told["token"] == TOKEN
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx2.get(f"{told['url']}/v1/me", headers=headers, trust_env=False, timeout=60).status_code == 200
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def test_the_command_ends_at_sigterm_and_makes_a_token_of_its_own() -> None:
    process, told = start("--port", "0")
    with process:
        headers = {"Authorization": f"Bearer {told['token']}"}
        assert httpx2.get(f"{told['url']}/v1/me", headers=headers, trust_env=False, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert len(told["token"]) > 30
