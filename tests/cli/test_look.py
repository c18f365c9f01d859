"""What the listing commands show: one JSON shape for programs, plain tables for people."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (["connections"], {"id", "provider", "kind", "external_id", "connection_id", "status"}),
        (["runs"], {"id", "provider", "kind", "connection_id", "status", "counts", "reason"}),
        (
            ["entities", "--kind", "account", "--limit", "5000"],
            {"id", "external_id", "connection_id", "status", "data"},
        ),
        (["findings"], {"id", "provider", "kind", "external_id", "connection_id", "status", "severity"}),
        (["evidence"], {"id", "provider", "connection_id", "status", "controls", "hash"}),
        (["controls", "--framework", "soc2"], {"id", "status", "supporting", "contradicting"}),
        (["checks"], {"id", "kind", "severity", "answers"}),
        (["providers"], {"id", "provider", "kind", "status"}),
        (["orgs"], {"id", "slug", "name"}),
        (["keys"], {"id", "lives_in", "current", "in_use"}),
        (["settings"], {"name", "value", "set", "about"}),
        (["doctor"], {"subject", "status", "said", "advice"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_listing_is_an_object_of_items_and_next(synced: Any, arguments: list[str], fields: set[str]) -> None:
    ended = synced(*arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert set(ended.json) == {"items", "next"}
    assert ended.json["items"]
    assert all(fields <= set(row) for row in ended.json["items"])


def test_json_and_org_are_taken_before_and_after_the_command(commands: Any, synced: Any) -> None:
    before = commands("--json", "--org", "synced", "connections")
    between = commands("connections", "--org=synced", "list", "--json")
    after = commands("connections", "list", "--json", "--org", "synced")
    assert before.json == between.json == after.json == synced("connections", "--json").json


def test_a_cursor_leads_through_all_rows_once(synced: Any) -> None:
    everything = synced("entities", "--kind", "account", "--limit", "5000", "--json").json
    assert everything["next"] is None
    first = synced("entities", "--kind", "account", "--limit", "40", "--json").json
    second = synced("entities", "--kind", "account", "--limit", "5000", "--cursor", first["next"], "--json").json
    assert first["items"] + second["items"] == everything["items"]
    assert len(first["items"]) == 40


def test_another_organization_sees_nothing_of_it(synced: Any, tieline: Any) -> None:
    connection = synced("connections", "--json").json["items"][0]["id"]
    assert tieline("connections", "--json").json["items"] == []
    shown = tieline("connections", "show", connection, "--json")
    assert (shown.code, shown.error["slug"]) == (1, "not-found")


def test_in_a_pipe_there_are_neither_control_characters_nor_cut_ids(synced: Any) -> None:
    rows = synced("entities", "--kind", "account", "--json").json["items"]
    table = synced("entities", "--kind", "account").out
    assert all(row["id"] in table for row in rows)
    assert not [one for one in table if not one.isprintable() and one != "\n"]


def test_one_row_is_shown_with_what_belongs_to_it(synced: Any) -> None:
    finding = synced("findings", "--status", "open", "--limit", "1", "--json").json["items"][0]
    shown = synced("findings", "show", finding["id"], "--json").json
    assert shown["fix"]
    assert shown["history"][0]["event"] == "opened"
    entity = synced("entities", "show", finding["entity_id"], "--json").json
    assert entity["answers"][finding["check"]] == "fail"
    assert entity["raw"]
    run = synced("runs", "--operation", "people", "--json").json["items"][0]
    assert synced("runs", "show", run["id"], "--json").json == run
    assert finding["title"] in synced("findings", "show", finding["id"]).out


def test_evidence_matches_its_hashes_and_materialising_again_writes_nothing(synced: Any) -> None:
    checked = synced("evidence", "verify", "--json")
    assert (checked.code, checked.json["altered"]) == (0, [])
    assert checked.json["checked"] > 100
    counts = synced("evidence", "materialize", "--json").json
    assert counts["entities"] > 100
    assert counts["evidence"] == counts["findings_opened"] == counts["findings_resolved"] == 0


def test_a_muted_finding_is_told_with_its_reason_and_can_be_unmuted(synced: Any) -> None:
    finding = synced("findings", "--status", "open", "--limit", "1", "--json").json["items"][0]["id"]
    muted = synced("findings", "mute", finding, "--reason", "accepted until spring", "--until", "90d", "--json").json
    assert (muted["status"], muted["muted_reason"]) == ("muted", "accepted until spring")
    assert synced("findings", "unmute", finding, "--json").json["status"] == "open"


def test_findings_are_grouped_and_given_to_somebody_one_or_many(synced: Any) -> None:
    groups = synced("findings", "groups", "--by", "subject", "--json").json["items"]
    everything = synced("findings", "--limit", "5000", "--json").json["items"]
    assert sum(one["open"] + one["resolved"] for one in groups) == len(everything)
    assert "What should hold" not in synced("findings", "groups").err
    synced("members", "invite", "care@example.com", "--json")
    one = everything[0]["id"]
    given = synced("findings", "assign", one, "--to", "care@example.com", "--json").json
    assert given["owner"].startswith("mem_")
    assert [row["id"] for row in synced("findings", "--owner", "care@example.com", "--json").json["items"]] == [one]
    many = synced("findings", "assign", "--to", "nobody", "--all-matching", "--owner", "care@example.com", "--json")
    assert many.json == {"changed": 1, "left": 0}
    muted = synced("findings", "mute", "--all-matching", "--check", "mfa-enabled", "--reason", "known", "--json").json
    assert muted["changed"] > 1
    assert synced("findings", "unmute", "--all-matching", "--status", "muted").out.startswith("Open again: ")
    for wrong in ([], [one, "--all-matching"], [one, "--check", "mfa-enabled"]):
        assert synced("findings", "unmute", *wrong).code == 2


def test_a_pack_is_written_verified_and_not_written_over(synced: Any, tmp_path: Path) -> None:
    out = tmp_path / "soc2.zip"
    written = synced("evidence", "pack", "--out", str(out), "--framework", "soc2", "--json").json
    assert (written["wrong"], written["complete"], len(written["sha256"])) == ([], True, 64)
    with ZipFile(out) as pack:
        assert json.loads(pack.read("manifest.json"))["statements"] == written["statements"] > 100
    assert [one.name for one in tmp_path.iterdir()] == ["soc2.zip"]
    assert synced("evidence", "pack", "--out", str(out)).code == 2
    assert synced("evidence", "pack", "--out", str(tmp_path / "x.zip"), "--framework", "nist").code == 1
    assert [one.name for one in tmp_path.iterdir()] == ["soc2.zip"]
    packed = synced("audit", "--action", "evidence.packed", "--json").json["items"]
    assert packed[0]["details"]["manifest"] == written["sha256"]


def test_controls_are_shown_as_of_a_day(synced: Any) -> None:
    today = datetime.now(UTC).date()
    now = synced("controls", "--framework", "soc2", "--json").json["items"]
    then = synced("controls", "--framework", "soc2", "--as-of", str(today), "--json").json["items"]
    assert [(one["supporting"], one["contradicting"]) for one in then] == [
        (one["supporting"], one["contradicting"]) for one in now
    ]
    assert {one["unknown"] for one in then} == {None}
    for day, told in ((today + timedelta(days=2), "still to come"), (today - timedelta(days=60), "no evidence yet")):
        refused = synced("controls", "--as-of", str(day), "--json")
        assert (refused.code, refused.error["slug"]) == (1, "invalid")
        assert told in refused.error["message"]


def test_a_provider_is_shown_with_what_connecting_it_needs(commands: Any) -> None:
    shown = commands("providers", "show", "okta", "--json").json
    assert "org_url" in shown["setup"]["options"]["properties"]
    ways = {way["slot"]: way for way in shown["setup"]["ways"]}
    assert shown["setup"]["credential"] == shown["setup"]["ways"][0]["credential"]
    assert ways["api_key"]["credential"]["properties"]["api_token"]["writeOnly"]
    assert "api_token" in commands("providers", "show", "okta").out


def test_a_setup_names_the_organization_and_the_hosts_that_are_in_force(commands: Any) -> None:
    host = {"TIELINE_HOST_AWS_STS": "https://sts.eu-central-1.amazonaws.com"}
    setup = commands("providers", "show", "aws", "--json", **host).json["setup"]
    assert setup["hosts"]["sts"] == host["TIELINE_HOST_AWS_STS"]
    ways = {way["slot"]: way for way in setup["ways"]}
    own, subject = ways["role"]["external_id"], ways["web_identity"]["trust"]["subject"]
    assert own.startswith("tieline-")
    assert subject.startswith("organization:org_")
    shown = commands("providers", "show", "aws", **host).out
    for told in (own, subject, host["TIELINE_HOST_AWS_STS"]):
        assert told in shown


def test_without_the_organization_a_setup_says_what_it_lacks(commands: Any) -> None:
    shown = commands("providers", "show", "aws", "--org", "nobody", "--json")
    assert [way["external_id"] for way in shown.json["setup"]["ways"]] == [None] * len(shown.json["setup"]["ways"])
    assert "cannot be looked up: There is no organization 'nobody'" in shown.err


def test_an_api_key_is_shown_once_and_can_be_revoked(tieline: Any) -> None:
    made = tieline("api-keys", "create", "--name", "ci", "--role", "auditor", "--expires", "30d", "--json").json
    assert made["key"].startswith(f"tl_{made['prefix']}_")
    listed = tieline("api-keys", "--json")
    assert made["key"] not in listed.out
    assert [(one["name"], one["role"], one["status"]) for one in listed.json["items"]] == [("ci", "auditor", "active")]
    assert tieline("api-keys", "revoke", made["id"], "--json").json["status"] == "revoked"
    plain = tieline("api-keys", "create")
    assert plain.out.startswith("tl_")
    assert plain.out.strip() not in plain.err


def test_the_settings_mask_the_database_password(commands: Any) -> None:
    url = "postgresql://someone:hunter2-canary@127.0.0.1/nowhere"
    shown = commands("settings", "--json", TIELINE_DATABASE_URL=url)
    assert shown.code == 0
    assert "hunter2" not in shown.out + shown.err
    assert "hunter2" not in commands("connections", TIELINE_DATABASE_URL=url).err


def test_migrating_what_is_migrated_does_nothing(commands: Any) -> None:
    assert json.loads(commands("migrate", "--json").out)["revisions"]


def test_a_mapping_is_tried_on_a_real_record(synced: Any, tmp_path: Path) -> None:
    connection = synced("connections", "--json").json["items"][0]["id"]
    assert synced("connections", "rejected", connection, "--json").json == {"items": [], "next": None}
    wanted = ("--field", "title='Chief'", "--filter", "payload.id != 'x'", "--compare", "20")
    told = synced("connections", "try", connection, "people", *wanted, "--json").json
    assert (told["outcome"], told["entity"]["title"], told["compared"]["records"]) == ("kept", "Chief", 20)
    shown = synced("connections", "try", connection, "people", *wanted)
    assert (shown.code, shown.err) == (0, "")
    for words in ("account kept", "yours", "payload.email", "20 kept (20 now)"):
        assert words in shown.out
    (tmp_path / "record.json").write_text('{"id": "p_1", "title": 7}')
    given = synced("connections", "try", connection, "people", "--record", str(tmp_path / "record.json"))
    assert given.out.startswith("account rejected: title is not text")
    wrong = synced("connections", "try", connection, "people", "--field", "title=payload.(", "--json")
    assert (wrong.code, wrong.error["fields"][0]["field"]) == (1, "fields.title")


def test_a_filter_that_nothing_fits_is_not_said_to_mean_that_there_is_nothing(synced: Any) -> None:
    for arguments in (
        ("runs", "--operation", "nothing"),
        ("runs", "--status", "held"),
        ("connections", "--provider", "nothing"),
        ("findings", "--check", "nothing"),
        ("evidence", "--control", "nothing"),
    ):
        assert synced(*arguments).out == "None fits these filters.\n", arguments


@pytest.mark.parametrize("command", ["runs", "connections"])
def test_a_status_that_does_not_exist_is_refused_with_those_that_do(synced: Any, command: str) -> None:
    ended = synced(command, "--status", "bogus")
    assert ended.code == 2
    assert {"runs": "succeeded", "connections": "needs_reconnect"}[command] in ended.err


@pytest.mark.parametrize("what", ["run", "settings", "providers"])
def test_whoever_reads_no_further_hears_of_no_error(synced: Any, what: str) -> None:
    run = synced("runs", "--limit", "1", "--json").json["items"][0]["id"]
    arguments = {"run": ["runs", "show", run]}.get(what, [what])
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as stdout:
        ended = subprocess.run(
            [sys.executable, "-m", "tieline", "--org", "synced", *arguments],
            env=synced.environment, stdout=stdout, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, b"")
