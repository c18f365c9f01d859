"""`tieline provider` as an author meets it: a scaffold that types, and errors that name the place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def folder(commands: Any, tmp_path: Path) -> Path:
    """A new provider's folder."""
    commands("provider", "new", "acme-hr", "--into", str(tmp_path))
    return tmp_path / "acme_hr"


def test_a_new_provider_passes_the_strictest_typing(folder: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / ".types"), "provider.py"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    ("before", "after", "at", "told"),
    [
        ("import Account", "import Acount", "from ", "cannot import name 'Acount'"),
        ('every="6h"', 'every="6 hours"', "people = ", "'6 hours' is not a period"),
        ('every="6h"', 'evry="6h"', "people = ", "unexpected keyword argument 'evry'"),
    ],
)
def test_what_stops_a_provider_from_loading_is_told_with_its_line(
    commands: Any, folder: Path, before: str, after: str, at: str, told: str
) -> None:
    file = folder / "provider.py"
    broken = file.read_text(encoding="utf-8").replace(before, after)
    file.write_text(broken, encoding="utf-8")
    for path in (str(folder), os.path.relpath(folder, commands.folder.parent)):  # where commands are run
        ended = commands("provider", "check", path, "--json")
        line = next(number for number, text in enumerate(broken.splitlines(), 1) if text.startswith(at))
        assert f"provider.py, line {line}: " in ended.error["message"]
        assert told in ended.error["message"]


def test_why_an_installed_provider_is_broken_is_told_to_its_author(tmp_path: Path, environment: dict[str, str]) -> None:
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tieline.providers]\nraises = elsewhere:acme\nabsent = nowhere:acme\n")
    (tmp_path / "elsewhere.py").write_text("name = 'acme'\nraise RuntimeError('no licence')\n")
    told = {}
    for name in ("raises", "absent"):
        command = [sys.executable, "-m", "tieline", "provider", "check", name]
        ended = subprocess.run(
            command, env=environment | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
        )
        told[name] = (ended.returncode, ended.stderr.splitlines()[0])
    assert told == {
        "raises": (1, f"error: {tmp_path / 'elsewhere.py'}, line 2: RuntimeError: no licence [cannot-load]"),
        "absent": (1, "error: absent (nowhere:acme): ModuleNotFoundError: No module named 'nowhere' [cannot-load]"),
    }


def test_a_rule_that_is_broken_is_told_and_proves_nothing(commands: Any, folder: Path) -> None:
    answers = folder / "fixtures" / "answers.json"
    answers.write_text(
        answers.read_text(encoding="utf-8").replace("ben@example.com", "ben@example.org"), encoding="utf-8"
    )
    ended = commands("provider", "check", str(folder), "--prove")
    assert ended.code == 1
    assert "BROKEN  Each operation yields typed entities" in ended.out
    assert "ben@example.org" in ended.out
    assert not (folder / "fixtures" / "proof.json").exists()


def test_a_proof_ends_with_the_next_edit(commands: Any, folder: Path) -> None:
    assert commands("provider", "check", str(folder), "--prove", "--json").json["grade"] == "bronze"
    file = folder / "provider.py"
    file.write_text(file.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    assert commands("provider", "check", str(folder), "--json").json["grade"] is None


def test_an_author_s_own_test_passes_from_the_start(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(folder)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "11 passed" in ended.stdout, ended.stdout


def test_fixtures_are_not_written_over_unasked(commands: Any, folder: Path) -> None:
    ended = commands("provider", "record", str(folder), "--json")
    assert ended.error["slug"] == "invalid"
    assert "exists already" in ended.error["message"]
