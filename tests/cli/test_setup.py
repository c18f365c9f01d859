"""Starting under bad conditions: a clear error, exit code 4, nothing lost."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest


@pytest.fixture
def embedded(place: Path) -> Iterator[dict[str, str]]:
    """Settings for a data directory with a database of its own, not made yet."""
    folder = place / f"e{uuid4().hex[:8]}"
    yield {"TIELINE_DATABASE_URL": "", "TIELINE_DATA_DIR": str(folder), "TIELINE_STATE_DIR": str(place / "state")}
    shutil.rmtree(folder, ignore_errors=True)


def refused(ended: Any) -> dict[str, Any]:
    """The problem told by a command that could not start."""
    assert ended.code == 4, ended.out + ended.err
    assert ended.out == ""
    problem: dict[str, Any] = ended.error
    assert problem["advice"]
    return problem


def test_bad_settings_are_named(commands: Any) -> None:
    problem = refused(commands("connections", "--json", TIELINE_WORKER_SLOTS="many"))
    assert "TIELINE_WORKER_SLOTS" in problem["message"]
    plain = commands("connections", TIELINE_WORKER_SLOTS="many")
    assert plain.err.startswith("error: ")
    assert "\n→ " in plain.err


def test_a_data_directory_that_cannot_be_used_is_refused(commands: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    below = {"TIELINE_DATABASE_URL": "", "TIELINE_DATA_DIR": str(tmp_path / "file" / "data")}
    problem = refused(commands("connections", "--json", **below))
    assert problem["slug"] == "database"
    beside = commands("connections", "--json", TIELINE_DATA_DIR=str(tmp_path / "file" / "data"))
    assert beside.code == 4


def test_a_data_directory_of_a_newer_release_is_refused(commands: Any, embedded: dict[str, str]) -> None:
    folder = Path(embedded["TIELINE_DATA_DIR"])
    folder.mkdir()
    (folder / "version.json").write_text(json.dumps({"format": 99, "postgres": 18}))
    assert "99" in refused(commands("connections", "--json", **embedded))["message"]


@pytest.mark.parametrize("query", ["", "?sslmode=require"])
def test_a_database_that_does_not_answer_is_told_without_its_password(commands: Any, query: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"postgresql://someone:hunter2-canary@127.0.0.1:{free.getsockname()[1]}/nowhere{query}"
        ended = commands("connections", "--json", TIELINE_DATABASE_URL=url)
    assert refused(ended)["slug"] == "database"
    assert "hunter2" not in ended.err
    assert refused(commands("connections", "--json", TIELINE_DATABASE_URL="mysql://x@127.0.0.1/y"))


def test_a_missing_key_ring_is_refused_once_something_is_sealed(commands: Any, synced: Any, tmp_path: Path) -> None:
    lost = str(tmp_path / "keys.json")
    problem = refused(commands("connections", "--json", TIELINE_KEY_RING=lost))
    assert (problem["slug"], "missing" in problem["message"]) == ("key-ring", True)
    assert not (tmp_path / "keys.json").exists()
    told = commands("doctor", "--json", TIELINE_KEY_RING=lost)
    assert told.code == 4
    assert [one["subject"] for one in told.json["items"] if one["status"] == "error"] == ["key ring"]
    assert synced("connections").code == 0


def test_a_port_that_is_taken_is_told_before_anything_is_started(commands: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = commands("serve", "--port", port, "--json", TIELINE_DATA_DIR=str(tmp_path / "untouched"))
    assert port in refused(ended)["message"]
    assert not (tmp_path / "untouched").exists()


def test_two_first_starts_at_once_share_one_database(commands: Any, embedded: dict[str, str]) -> None:
    started = [commands.start("orgs", "--json", **embedded) for _ in range(2)]
    ended = [one.wait() for one in started]
    assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
    first, second = (one.json["items"] for one in ended)
    assert first == second
    assert [one["slug"] for one in first] == ["default"]


def test_a_first_start_that_was_killed_is_made_good_by_the_next(commands: Any, embedded: dict[str, str]) -> None:
    started = commands.start("orgs", "--json", **embedded)
    folder = Path(embedded["TIELINE_DATA_DIR"])
    while not list(folder.glob("postgres*")):
        time.sleep(0.01)
    time.sleep(0.2)
    started.kill(signal.SIGKILL)
    assert started.wait().code == -signal.SIGKILL
    ended = commands("orgs", "--json", **embedded)
    assert ended.code == 0, ended.err
    assert [one["slug"] for one in ended.json["items"]] == ["default"]
