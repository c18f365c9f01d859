"""Importing by the command: a file's rows, each on its own, and a report on each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

WRONG = "lks_wrong_canary"


@pytest.fixture
def good(company: Any) -> dict[str, Any]:
    return {"provider": "sandbox", "options": {"base_url": company.url}, "credential": {"token": company.token}}


def test_a_csv_file_is_imported_row_by_row(tieline: Any, company: Any, tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    rows = [f"sandbox,{company.url},{WRONG},", f"sandbox,{company.url},{company.token},2199-01-31"]
    file.write_text("\n".join(["provider,options.base_url,credential.token,expires_at", *rows, ""]))
    tried = tieline("connections", "import", str(file), "--dry-run", "--json")
    assert [one["status"] for one in tried.json["items"]] == ["refused", "valid"]
    assert tieline("connections", "--json").json["items"] == []

    done = tieline("connections", "import", str(file), "--json")
    assert [one["status"] for one in done.json["items"]] == ["refused", "connected"]
    assert done.json["items"][0]["reason"]["slug"] == "credential-rejected"
    (made,) = tieline("connections", "--json").json["items"]
    assert (made["id"], made["expires_at"]) == (done.json["items"][1]["connection_id"], "2199-01-31T00:00:00.000000Z")

    again = tieline("connections", "import", str(file))
    assert "exists" in again.out
    assert "API key is invalid or expired" in again.out
    assert tried.code == done.code == again.code != 0, "a program sees that a row was refused"
    told = "".join(one.out + one.err for one in (tried, done, again))
    assert company.token not in told
    assert WRONG not in told


def test_json_is_told_by_the_files_name_or_by_the_option(tieline: Any, good: Any, tmp_path: Path) -> None:
    file = tmp_path / "accounts.JSON"
    file.write_text(json.dumps([good]))
    assert tieline("connections", "import", str(file), "--dry-run").code == 0
    piped = tieline("connections", "import", "-", "--format", "json", "--json", stdin=json.dumps([good]))
    assert (piped.code, [one["status"] for one in piped.json["items"]]) == (0, ["connected"])


@pytest.mark.parametrize(
    ("content", "slug"),
    [
        (b"", "invalid"),
        (b"\xff\xfe", "invalid"),
        (b"provider,token\nsandbox," + WRONG.encode(), "invalid"),
        (b"provider,credential.token\nsandbox," + WRONG.encode() + b",more\n", "invalid"),
        (b"provider\n" + b"x" * (8 * 1024 * 1024), "too-large"),
    ],
    ids=["empty", "no text", "a bad heading", "a line of another length", "too large"],
)
def test_a_file_of_another_form_is_refused_whole(tieline: Any, content: bytes, slug: str) -> None:
    ended = tieline("connections", "import", "-", "--json", stdin=content)
    assert (ended.code, ended.error["slug"]) == (1, slug)
    assert WRONG not in ended.out + ended.err
