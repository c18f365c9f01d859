"""`tieline provider` as an author meets it: a scaffold that types, and errors that name the place."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from tieline.cli import provider as author
from tieline.errors import DeclarationError


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
    ("before", "after", "told"),
    [
        ("import Account", "import Acount", "cannot import name 'Acount'"),
        ('every="6h"', 'every="6 hours"', "'6 hours' is not a period"),
        ('every="6h"', 'evry="6h"', "unexpected keyword argument 'evry'"),
        ("people = ", "people == ", "name 'people' is not defined"),
    ],
)
def test_what_stops_a_provider_from_loading_is_told_with_its_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str, told: str
) -> None:
    file = folder / "provider.py"
    broken = file.read_text(encoding="utf-8").replace(before, after)
    file.write_text(broken, encoding="utf-8")
    monkeypatch.chdir(folder.parent)
    with pytest.raises(DeclarationError, match=told) as refused:
        author._find("acme_hr")
    line = 1 + broken[: broken.index("people =" if before not in {"import Account"} else after)].count("\n")
    assert f"{file}, line {line}: " in refused.value.message


def test_why_an_installed_provider_is_broken_is_told_to_its_author(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "tieline_test_author" / "provider.py"
    module.parent.mkdir()
    (module.parent / "__init__.py").touch()
    module.write_text("name = 'acme'\nraise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("acme", "tieline_test_author.provider:acme", "tieline.providers")
    monkeypatch.setattr(author, "entry_points", lambda **_: [entry])
    told = author._why_broken("acme", "RuntimeError").message
    assert told == f"{module}, line 2: RuntimeError: no licence [cannot-load]"
    monkeypatch.setattr(
        author, "entry_points", lambda **_: [EntryPoint("acme", "tieline_absent:acme", "tieline.providers")]
    )
    told = author._why_broken("acme", "ModuleNotFoundError").message
    assert told == "acme (tieline_absent:acme): ModuleNotFoundError: No module named 'tieline_absent' [cannot-load]"
