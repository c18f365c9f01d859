"""Connecting by the command: where secrets may come from, and what is refused."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_connecting_saves_the_account_and_queues_its_first_runs(tieline: Any, company: Any) -> None:
    connected = company.connect(tieline, "--name", "Our company", "--json").json
    assert (connected["name"], connected["status"], connected["provider"]) == ("Our company", "active", "sandbox")
    assert {run["status"] for run in tieline("runs", "--json").json["items"]} == {"queued"}
    shown = tieline("connections", "show", connected["id"], "--json")
    assert len(shown.json["schedules"]) == len({one["operation"] for one in shown.json["schedules"]}) == 11
    assert company.token not in shown.out


def test_a_secret_may_come_from_a_file(tieline: Any, company: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(company.token + "\n")
    given = ("--option", f"base_url={company.url}", "--credential", f"token=@{tmp_path / 'token'}")
    assert tieline("connect", "sandbox", *given).code == 0


def test_a_secret_on_the_command_line_is_refused_and_not_repeated(tieline: Any, company: Any) -> None:
    for name in ("token", "tokn"):
        given = ("--option", f"base_url={company.url}", "--credential", f"{name}={company.token}")
        ended = tieline("connect", "sandbox", *given, "--json")
        assert (ended.code, ended.error["slug"]) == (2, "usage")
        assert "command line" in ended.error["message"]
        assert "-" in ended.error["advice"]
        assert company.token not in ended.out + ended.err
    assert tieline("connections", "--json").json["items"] == []


def test_on_a_terminal_a_missing_secret_is_asked_for_and_not_shown(
    environment: dict[str, str], tieline: Any, company: Any
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tieline", "--org", tieline.org, "connect", "sandbox"]
    process = subprocess.Popen(
        [*command, "--option", f"base_url={company.url}"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = read_until(ours, b"Token")
    os.write(ours, company.token.encode() + b"\n")
    seen += read_until(ours, None)
    assert process.wait(timeout=60) == 0, seen
    os.close(ours)
    assert company.token.encode() not in seen
    assert tieline("connections", "--json").json["items"]


def read_until(terminal: int, words: bytes | None) -> bytes:
    """What appears on the terminal until these words do, or until it is closed."""
    seen = b""
    while words is None or words not in seen:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        if not more:
            break
        seen += more
    return seen


def test_what_cannot_be_connected_is_refused_with_the_reason(tieline: Any, company: Any) -> None:
    url = f"base_url={company.url}"
    token = ("--credential", "token=-")
    cases = [
        ((["no-such-thing"], "x"), (1, "not-found", "no-such-thing")),
        ((["sandbox", "--option", url, "--option", "colour=red", *token], company.token), (1, "invalid", "colour")),
        ((["sandbox", "--option", "base_url=7", *token], company.token), (1, "invalid", "base_url")),
        ((["sandbox", "--option", "base_url", *token], company.token), (2, "usage", "NAME=VALUE")),
        ((["sandbox", "--option", url, "--credential", "key=-"], company.token), (1, "invalid", "key")),
        ((["sandbox", "--option", url], ""), (1, "invalid", "token")),
        ((["sandbox", "--option", url, *token], "x" * 200_000), (1, "too-large", "100 KB")),
        ((["sandbox", "--option", url, *token], b"\xff\xfe"), (1, "invalid", "UTF-8")),
        ((["sandbox", "--option", "base_url=" + "x" * 60_000, *token], company.token), (1, "too-large", "50 KB")),
        ((["sandbox", "--option", url, "--name", "x" * 201, *token], company.token), (1, "invalid", "200 characters")),
        ((["sandbox", "--option", url, *token], "nonsense"), (1, "invalid", "Invalid API key format for Sandbox")),
        ((["sandbox", "--option", url, *token], "lks_wrong"), (1, "credential-rejected", "invalid or expired")),
        (
            (["sandbox", "--option", "base_url=http://127.0.0.1:9", *token], company.token),
            (1, "provider-unavailable", ""),
        ),
    ]
    for (arguments, stdin), (code, slug, words) in cases:
        ended = tieline("connect", *arguments, "--json", stdin=stdin)
        assert (ended.code, ended.error["slug"]) == (code, slug), ended.err
        assert words in ended.error["message"]
        assert ended.error["advice"]
        assert company.token not in ended.out + ended.err
    assert tieline("connections", "--json").json["items"] == []


def test_the_same_account_is_not_connected_twice(tieline: Any, company: Any) -> None:
    assert company.connect(tieline).code == 0
    again = company.connect(tieline, "--json")
    assert (again.code, again.error["message"]) == (1, "Integration already exists for Sandbox")


def test_an_account_whose_id_has_no_end_is_refused(tieline: Any, faulty: Any) -> None:
    faulty.fault(match="GET /v1/me", body={"account": {"id": "a" * 3_000, "name": "Endless"}, "token": {"scopes": []}})
    refused = faulty.connect(tieline, "--json")
    assert (refused.code, refused.error["slug"]) == (1, "unexpected-answer")
    assert tieline("connections", "--json").json["items"] == []


def test_a_private_address_is_refused_unless_the_operator_allows_it(tieline: Any, company: Any) -> None:
    given = ("--option", f"base_url={company.url}", "--credential", "token=-", "--json")
    ended = tieline("connect", "sandbox", *given, stdin=company.token, TIELINE_ALLOW_PRIVATE_ADDRESSES="")
    assert ended.code == 1
    assert ended.error["advice"]


def test_a_connection_is_paused_resumed_reconfigured_and_disconnected(tieline: Any, company: Any) -> None:
    connection = company.connect(tieline, "--json").json["id"]
    assert tieline("connections", "pause", connection, "--json").json["status"] == "paused"
    refused = tieline("sync", connection, "--json")
    assert (refused.code, refused.error["slug"]) == (1, "conflict")
    assert tieline("connections", "resume", connection, "--json").json["status"] == "active"
    assert tieline("connections", "configure", connection, "--name", "Renamed", "--json").json["name"] == "Renamed"
    rotated = tieline("connections", "rotate", connection, "--credential", "token=-", "--json", stdin=company.token)
    assert rotated.json["status"] == "active"
    assert tieline("connections", "disconnect", connection).code == 130  # nobody is there to say yes
    assert tieline("connections", "disconnect", connection, "--yes", "--json").json["status"] == "disconnected"
    assert tieline("connections", "--json").json["items"] == []
