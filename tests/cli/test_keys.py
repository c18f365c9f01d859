"""`tieline keys`: rotated, re-sealed and retired, while everything that was stored goes on opening."""

from __future__ import annotations

from typing import Any


def test_a_rotation_brings_all_that_is_stored_under_the_new_key(commands: Any, synced: Any) -> None:
    former = synced("keys", "--json").json["items"]
    rotated = synced("keys", "rotate", "--json").json
    assert rotated["total"] == rotated["done"] == sum(one["in_use"] for one in former) > 0
    assert rotated["left"] == rotated["failed"] == 0
    now = synced("keys", "--json").json["items"]
    assert [one["id"] for one in now if one["current"]] == [rotated["id"]]
    assert [one["id"] for one in now if one["in_use"]] == [rotated["id"]]
    assert {one["lives_in"] for one in now} == {"key ring"}
    connection = synced("connections", "--json").json["items"][0]["id"]
    assert synced("connections", "test", connection, "--json").json["status"] == "active"


def test_a_rotation_that_leaves_what_is_stored_is_finished_by_re_sealing(commands: Any, synced: Any) -> None:
    rotated = synced("keys", "rotate", "--no-rewrap", "--json").json
    assert rotated["id"] not in [one["id"] for one in synced("keys", "--json").json["items"] if one["in_use"]]
    former = next(one["id"] for one in synced("keys", "--json").json["items"] if one["in_use"])
    refused = synced("keys", "retire", former, "--json")
    assert refused.code == 1
    assert "still need" in refused.error["message"]
    done = synced("keys", "re-seal", "--json").json
    assert done["left"] == 0
    assert done["done"] > 0
    rests = synced("keys", "retire", former, "--json")
    assert rests.code == 1
    assert "until a moment ago" in rests.error["message"]
    assert synced("keys", "re-seal").out.startswith("0 of 0 stored values")


def test_the_current_key_is_not_retired_and_an_unknown_one_not_found(commands: Any) -> None:
    current = next(one["id"] for one in commands("keys", "--json").json["items"] if one["current"])
    assert commands("keys", "retire", current, "--json").code != 0
    assert commands("keys", "retire", "kek_gone", "--json").code != 0
    assert current in [one["id"] for one in commands("keys", "--json").json["items"]]


def test_a_start_is_refused_when_a_key_service_is_named_wrongly_or_its_token_is_missing(commands: Any) -> None:
    wrong = commands("keys", "--json", TIELINE_KEY_SERVICE="aws-kms:alias/tieline")
    assert (wrong.code, wrong.error["slug"]) == (4, "key-ring")
    service = "transit:https://bao.example.com/transit/tieline"
    assert "TIELINE_TRANSIT_TOKEN" in commands("keys", "--json", TIELINE_KEY_SERVICE=service).error["message"]


def test_where_a_key_service_keeps_the_key_it_is_rotated_there(commands: Any) -> None:
    service = {"TIELINE_KEY_SERVICE": "transit:http://127.0.0.1:9/transit/tieline", "TIELINE_TRANSIT_TOKEN": "canary"}
    refused = commands("keys", "rotate", "--json", **service)
    assert (refused.code, refused.error["slug"]) == (1, "conflict")
    listed = commands("keys", **service)
    assert "cannot be reached" in listed.err
    assert "canary" not in commands("settings", **service).out + listed.out + listed.err
