"""Waiting for runs: what is shown, how it ends, and that a killed one loses nothing."""

from __future__ import annotations

import signal
import time
from typing import Any


def connected(tieline: Any, company: Any) -> str:
    ended = company.connect(tieline, "--json")
    assert ended.code == 0, ended.err
    identifier: str = ended.json["id"]
    return identifier


def test_waiting_reads_everything_and_a_second_time_writes_nothing(tieline: Any, company: Any) -> None:
    connection = connected(tieline, company)
    first = tieline("sync", connection, "--wait")
    assert first.code == 0, first.err
    assert "people: succeeded" in first.out
    assert all(one.isprintable() or one == "\n" for one in first.out)
    again = tieline("sync", "--all", "--wait", "--json")
    assert again.code == 0, again.err
    counts = [run["counts"] for run in again.json["items"]]
    assert len(counts) == 11
    assert {run["status"] for run in again.json["items"]} == {"succeeded"}
    assert sum(one["unchanged"] for one in counts) == sum(one["records"] for one in counts) > 100
    assert not any(one["created"] or one["changed"] or one["removed"] or one["evidence"] for one in counts)


def test_without_waiting_the_runs_are_queued(tieline: Any, company: Any) -> None:
    connection = connected(tieline, company)
    ended = tieline("sync", connection, "--operation", "people", "--json")
    assert [(run["operation"], run["status"]) for run in ended.json["items"]] == [("people", "queued")]
    cancelled = tieline("runs", "cancel", ended.json["items"][0]["id"], "--json")
    assert cancelled.code == 0


def test_what_to_sync_must_be_named(tieline: Any) -> None:
    assert tieline("sync").code == 2
    assert tieline("sync", "conn_x", "--all").code == 2
    assert tieline("sync", "conn_x", "--json").error["slug"] == "not-found"
    nothing = tieline("sync", "--all", "--wait")
    assert (nothing.code, nothing.out) == (0, "There was nothing to run.\n")


def test_a_connection_that_refuses_keeps_no_other_from_being_synced(tieline: Any, company: Any, faulty: Any) -> None:
    other = {"account": {"id": "acc_other", "name": "Other"}, "token": {"scopes": []}}
    faulty.fault(match="GET /v1/me", body=other)
    refusing = connected(tieline, faulty)
    faulty.fault(match="/v1/", status=403, times=None)
    tieline("sync", refusing, "--wait")
    alone = tieline("sync", "--all")
    assert alone.code == 1
    assert "switched off" in alone.err
    connection = connected(tieline, company)
    both = tieline("sync", "--all", "--json")
    assert both.code == 0, both.err
    assert {run["connection_id"] for run in both.json["items"]} == {connection}
    assert "left out" in both.err


def test_patience_ends_when_only_the_provider_is_waited_for(tieline: Any, faulty: Any) -> None:
    connection = connected(tieline, faulty)
    faulty.fault(match="/v1/people", status=429, headers={"Retry-After": "3600"}, times=None)
    ended = tieline("sync", connection, "--wait", "--patience", "1")
    assert ended.code == 75, ended.out + ended.err
    assert "people: waiting until" in ended.out
    assert "--patience" in ended.err
    (waiting,) = tieline("runs", "--operation", "people", "--json").json["items"]
    assert (waiting["status"], waiting["reason"]["slug"]) == ("queued", "rate-limited")
    assert waiting["resume_at"]


def test_a_run_that_fails_or_reads_only_a_part_is_told_by_the_exit_code_and_a_warning(
    tieline: Any, faulty: Any
) -> None:
    connection = connected(tieline, faulty)
    faulty.fault(match="/v1/people", html=True, times=None)
    failed = tieline("sync", connection, "--wait", "--operation", "people")
    assert failed.code == 3, failed.out + failed.err
    assert "people: failed" in failed.err
    assert "{" not in failed.err, "a person at the terminal is told in words"
    faulty.fault(match="/v1/groups/[^/]+/members", skip=30, html=True, times=None)
    partial = tieline("sync", connection, "--wait", "--operation", "memberships", "--json")
    assert partial.code == 3
    (run,) = partial.json["items"]
    assert f"memberships: {run['status']}" in partial.err


def test_a_revoked_token_stops_all_runs_and_rotating_lets_them_go_on(tieline: Any, faulty: Any) -> None:
    connection = connected(tieline, faulty)
    replacement = faulty.control("revoke")["replacement"]
    ended = tieline("sync", connection, "--wait")
    assert ended.code == 3, ended.out + ended.err
    assert faulty.token not in ended.out + ended.err
    (shown,) = tieline("connections", "--json").json["items"]
    assert shown["status"] == "needs_reconnect"
    left_out = tieline("sync", "--all", "--wait")
    assert "left out" in left_out.err
    rotated = tieline("connections", "rotate", connection, "--credential", "token=-", stdin=replacement)
    assert rotated.code == 0, rotated.err
    assert tieline("sync", connection, "--wait").code == 0


def test_a_killed_sync_is_taken_up_again_where_it_stood(tieline: Any, faulty: Any) -> None:
    connection = connected(tieline, faulty)
    faulty.fault(match="/v1/devices", delay_ms=60_000)
    started = tieline.start("sync", connection, "--wait")
    started.until(lambda text: "people: succeeded" in text and "devices: running" in text)
    started.kill(signal.SIGKILL)
    assert started.wait().code == -signal.SIGKILL
    faulty.control("faults", {"rules": []})
    again = tieline("sync", connection, "--wait", "--json")
    assert again.code == 0, again.err
    accounts = tieline("entities", "--kind", "account", "--limit", "5000", "--json").json["items"]
    assert len({one["external_id"] for one in accounts}) == len(accounts) > 50
    killed = tieline("runs", "--operation", "devices", "--json").json["items"][-1]
    assert (killed["status"], killed["attempts"]) == ("succeeded", 2)


def test_interrupting_the_wait_leaves_the_runs_to_others(tieline: Any, faulty: Any) -> None:
    connection = connected(tieline, faulty)
    faulty.fault(match="/v1/devices", delay_ms=4_000)
    started = tieline.start("sync", connection, "--wait")
    started.until(lambda text: "devices: running" in text)
    time.sleep(0.1)
    started.kill(signal.SIGINT)
    ended = started.wait()
    assert ended.code == 130
    assert "go on where they stand" in ended.err
    faulty.control("faults", {"rules": []})
    assert tieline("sync", connection, "--wait").code == 0
