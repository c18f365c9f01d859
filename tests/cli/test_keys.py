"""`tieline keys`: rotated, re-sealed and retired, while everything that was stored goes on opening."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest


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


@contextmanager
def unrecordable(database: str, action: str) -> Iterator[None]:
    """Let the commit of every audit entry of one action fail for as long as the block lasts."""

    def execute(statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(database)
            await connection.execute(statement)
            await connection.close()

        asyncio.run(run())

    execute(
        f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''full''; END';
        CREATE CONSTRAINT TRIGGER refusing AFTER INSERT ON audit_entries DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.action = '{action}') EXECUTE FUNCTION refuse()"""
    )
    try:
        yield
    finally:
        execute("DROP TRIGGER refusing ON audit_entries; DROP FUNCTION refuse()")


@pytest.fixture
def rested(tieline: Any, tmp_path: Path) -> dict[str, str]:
    """Settings with a key ring of two more keys: `kek_former`, which has rested, and `kek_present`, which is current."""
    ring = json.loads((Path(tieline.environment["TIELINE_DATA_DIR"]) / "keys.json").read_text())
    ring["keys"] |= {name: b64encode(os.urandom(32)).decode() for name in ("kek_former", "kek_present")}
    path = tmp_path / "keys.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(ring | {"current": "kek_present"}))
    return {"TIELINE_KEY_RING": str(path)}


def keys_and_log(tieline: Any, settings: dict[str, str]) -> tuple[set[str], list[str]]:
    """The names in the key ring, and what the audit log tells of keys, in order."""
    ring = json.loads(Path(settings["TIELINE_KEY_RING"]).read_text())
    entries = tieline("audit", "--json", **settings).json["items"]
    return set(ring["keys"]), [one["action"] for one in entries if one["action"].startswith("key.")][::-1]


def test_a_retirement_is_recorded_before_it_begins_and_when_it_is_done(tieline: Any, rested: dict[str, str]) -> None:
    before, _ = keys_and_log(tieline, rested)
    assert tieline("keys", "retire", "kek_gone", **rested).code != 0
    assert tieline("keys", "retire", "kek_present", **rested).code != 0
    assert keys_and_log(tieline, rested) == (before, []), "what is refused was never begun"
    assert tieline("keys", "retire", "kek_former", **rested).code == 0
    assert keys_and_log(tieline, rested) == (before - {"kek_former"}, ["key.retirement_begun", "key.retired"])


def test_no_key_is_retired_unless_that_can_be_recorded(tieline: Any, rested: dict[str, str]) -> None:
    before, _ = keys_and_log(tieline, rested)
    with unrecordable(tieline.environment["TIELINE_DATABASE_URL"], "key.retirement_begun"):
        assert tieline("keys", "retire", "kek_former", **rested).code != 0
    assert keys_and_log(tieline, rested) == (before, [])


def test_a_change_of_the_key_ring_whose_end_cannot_be_recorded_is_told_and_left_as_begun(
    tieline: Any, rested: dict[str, str]
) -> None:
    before, _ = keys_and_log(tieline, rested)
    with unrecordable(tieline.environment["TIELINE_DATABASE_URL"], "key.retired"):
        refused = tieline("keys", "retire", "kek_former", "--json", **rested)
    assert refused.error["slug"] == "audit-unavailable"
    assert "was changed, but" in refused.error["message"]
    assert keys_and_log(tieline, rested) == (before - {"kek_former"}, ["key.retirement_begun"])
    with unrecordable(tieline.environment["TIELINE_DATABASE_URL"], "key.rotated"):
        assert tieline("keys", "rotate", "--no-rewrap", "--json", **rested).error["slug"] == "audit-unavailable"
    keys, log = keys_and_log(tieline, rested)
    assert len(keys) == len(before)
    assert log == ["key.retirement_begun", "key.rotation_begun"]


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
