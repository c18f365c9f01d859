"""Replay answers what was recorded, strictly; a scrubber's stand-ins keep shapes and joins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tieline.sdk.testing import Case, Recorded, Replay, UnforeseenError
from tieline.sdk.testing.scrub import Scrubber

BASE = "https://api.example.com/v1"


def replay(*answers: dict[str, Any], **more: Any) -> Replay:
    return Replay([Recorded.model_validate(one) for one in answers], BASE, **more)


def ask(playing: Replay, method: str, url: str, body: bytes = b"") -> Any:
    return playing.answer(httpx2.Request(method, url), body).body


def test_a_query_is_matched_whole_in_any_order() -> None:
    playing = replay({"ask": "GET /users?limit=2&filter=a+b", "body": 1})
    assert ask(playing, "GET", f"{BASE}/users?filter=a%20b&limit=2") == 1
    for url in (
        "/users?limit=2",
        "/users?limit=2&filter=a+b&x=1",
        "/users?limit=3&filter=a+b",
        "/user?limit=2&filter=a+b",
    ):
        with pytest.raises(UnforeseenError, match=r"is not recorded; nearest: GET /users\?filter=a b&limit=2"):
            ask(playing, "GET", BASE + url)
    assert len(playing.unforeseen) == 4


def test_an_escaped_slash_is_not_a_slash() -> None:
    playing = replay({"ask": "GET /branches/a%2Fb", "body": 1})
    assert ask(playing, "GET", f"{BASE}/branches/a%2Fb") == 1
    with pytest.raises(UnforeseenError):
        ask(playing, "GET", f"{BASE}/branches/a/b")


def test_another_host_is_named_whole() -> None:
    playing = replay({"ask": "POST https://login.example.com/token", "body": 1}, {"ask": "POST /token", "body": 2})
    assert (ask(playing, "POST", "https://login.example.com/token"), ask(playing, "POST", f"{BASE}/token")) == (1, 2)


def test_the_answer_that_says_most_about_the_body_is_given() -> None:
    playing = replay(
        {"ask": "POST /graphql", "body": "first", "send": {"query": "*teams(*", "variables": {"after": None}}},
        {"ask": "POST /graphql", "body": "second", "send": {"query": "*teams(*", "variables": {"after": "x"}}},
        {"ask": "POST /graphql", "body": "other", "send": {"query": "*users(*"}},
    )
    bodies = [
        b'{"query": "{ teams(first: 1) }", "variables": {"after": "x"}}',
        b'{"query": "{ teams(first: 1) }", "variables": {}}',
        b'{"query": "{ users(first: 1) }"}',
    ]
    assert [ask(playing, "POST", f"{BASE}/graphql", body) for body in bodies] == ["second", "first", "other"]
    with pytest.raises(UnforeseenError, match="was asked with"):
        ask(playing, "POST", f"{BASE}/graphql", b'{"query": "{ issues }"}')


def test_a_form_is_matched_as_json_is() -> None:
    playing = replay({"ask": "POST /", "body": 1, "send": {"Action": "ListUsers"}})
    assert ask(playing, "POST", f"{BASE}/", b"Action=ListUsers&Version=1") == 1


def test_equal_asks_are_answered_in_turn_and_the_last_one_stays() -> None:
    playing = replay({"ask": "GET /job", "body": "pending"}, {"ask": "GET /job", "body": "done"})
    assert [ask(playing, "GET", f"{BASE}/job") for _ in range(3)] == ["pending", "done", "done"]
    assert playing.used == {0, 1}


def test_a_secret_in_a_query_needs_not_be_written_down() -> None:
    playing = replay({"ask": "GET /users?limit=2", "body": 1}, secrets=frozenset({"hush"}))
    assert ask(playing, "GET", f"{BASE}/users?key=hush&limit=2") == 1


def scrubber(**secret: str) -> Scrubber:
    return Scrubber(
        {"status active", "/users"}, secret={one: name for name, one in secret.items()}, hosts={"api.example.com"}
    )


def test_the_same_value_has_the_same_stand_in_wherever_it_comes() -> None:
    told = scrubber().json({
        "id": "00uAb3", "login": "Acme", "full_name": "acme/wiki", "url": "https://api.example.com/users/00uAb3?after=00uAb3",
        "owner": {"id": "00uAb3", "number": 123456, "ref": "n-123456"}, "mail": "jo@acme.com", "host": "acme.com",
    })  # fmt: skip
    assert told["id"] != "00uAb3"
    assert re.fullmatch(r"\d\d[a-z][A-Z][a-z]\d", told["id"])
    assert told["owner"]["id"] == told["id"]
    assert told["url"] == f"https://api.example.com/users/{told['id']}?after={told['id']}"
    assert told["full_name"].partition("/")[0] == told["login"].lower() != "acme"
    assert told["owner"]["ref"].rpartition("-")[2] == str(told["owner"]["number"]) != "123456"
    assert told["mail"].endswith(f"@{told['login'].lower()}.example")


def test_what_has_a_meaning_is_kept() -> None:
    kept = {
        "status": "active",
        "at": "2026-01-15T12:00:00Z",
        "count": 42,
        "on": True,
        "none": None,
        "share": 0.5,
        "expires_at": 1768478400,
    }
    assert scrubber().json(kept) == kept


def test_secrets_and_telling_numbers_go() -> None:
    told = scrubber(stand_in="s3cret-value").json(
        {"note": "Bearer s3cret-value!", "phone": "+49 170 12", "ip": "10.1.2.3", "키": "강"}
    )
    assert told["note"].endswith("stand_in!")
    assert not {"49", "170", "12"} & set(re.findall(r"\d+", told["phone"]))
    assert "10.1.2.3" not in told["ip"]
    assert told["키"] != "강"


def test_stand_ins_are_others_in_every_recording() -> None:
    assert len({scrubber().text("Lovelace") for _ in range(4)}) > 1


def test_many_short_words_do_not_run_out_of_stand_ins() -> None:
    words = [f"{one}{other}" for one in "abcdefghijklm" for other in "nopqrstuvwxyz"]
    scrubbing = scrubber()
    assert len({scrubbing.text(word) for word in words}) == len(words)


def test_every_key_of_a_case_is_documented() -> None:
    page = (Path(__file__).parent.parent.parent / "docs/adding-a-provider.md").read_text()
    assert not [name for name in Case.model_fields if name not in page]
