"""The command itself: help, usage errors, a provider of one's own, and the demonstration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_LAZY = """
import sys
from tieline.cli import run
try:
    run(read_settings=None, describe_settings=None, running=None, reaching=None)
finally:
    heavy = {"pydantic", "sqlalchemy", "asyncpg", "fastapi", "uvicorn", "rich", "httpx2", "boto3", "asyncio"}
    print("imported:", sorted(heavy & set(sys.modules)))
"""


def test_help_imports_nothing_heavy_and_tells_the_exit_codes() -> None:
    ended = subprocess.run([sys.executable, "-c", _LAZY, "--help"], capture_output=True, text=True, check=True)
    assert "imported: []" in ended.stdout
    assert "75  patience ran out" in ended.stdout


def test_what_ends_the_process_by_itself_is_not_taken_for_a_reader_who_left() -> None:
    ending = _LAZY.replace("read_settings=None", "read_settings=lambda **_: sys.exit(7)")
    assert subprocess.run([sys.executable, "-c", ending, "settings"], capture_output=True, check=False).returncode == 7


def test_the_module_and_the_script_are_the_same_command(environment: dict[str, str]) -> None:
    script = Path(sys.executable).with_name("tieline")
    for command in ([sys.executable, "-m", "tieline"], [str(script)]):
        ended = subprocess.run([*command, "--version"], capture_output=True, text=True, env=environment, check=True)
        assert ended.stdout.startswith("tieline ")


def test_every_command_has_help(commands: Any) -> None:
    from tieline.cli.group import TOPICS

    for name in (name for topic in TOPICS.values() for name in topic):
        ended = commands(name, "--help")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith(f"Usage: tieline {name}")
        assert "--json" in ended.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["conections"],
        ["runs", "lsit"],
        ["runs", "--colour"],
        ["entities", "--limit", "0"],
        ["entities", "--limit", "x"],
        ["connections", "--provider", "\udcff"],
        ["api-keys", "create", "--expires", "9999-12-31T23:59:59-23:59"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_told_with_exit_code_2(commands: Any, arguments: list[str]) -> None:
    ended = commands(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert commands(*arguments, "--json").error["slug"] == "usage"


def test_what_does_not_exist_is_told_with_exit_code_1(tieline: Any) -> None:
    for arguments in (["runs", "show", "run_x"], ["entities", "show", "nonsense"], ["controls", "--framework", "x"]):
        ended = tieline(*arguments, "--json")
        assert (ended.code, ended.error["slug"]) == (1, "not-found")
    assert tieline("connections", "--org", "no-such-org", "--json").error["slug"] == "not-found"


def test_an_organization_is_made_once(tieline: Any) -> None:
    again = tieline("orgs", "create", tieline.org, "--json")
    assert (again.code, again.error["slug"]) == (1, "conflict")
    assert tieline("orgs", "create", "No Slug").code == 2


def test_no_traceback_reaches_a_user_when_the_database_fails_under_way(tieline: Any) -> None:
    ended = tieline("connections", TIELINE_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert "Traceback" not in ended.err
    assert ended.code == 4


def test_a_new_provider_loads_and_passes_its_check(commands: Any, tmp_path: Path) -> None:
    made = commands("provider", "new", "acme-hr", "--into", str(tmp_path), "--json")
    assert made.code == 0, made.err
    folder = tmp_path / "acme_hr"
    assert {path.name for path in folder.iterdir()} == {
        "__init__.py", "provider.py", "README.md", "logo.svg", "test_conformance.py", "fixtures",
    }  # fmt: skip
    checked = commands("provider", "check", str(folder), "--json").json
    assert [one["fault"] for one in checked["rules"]] == [None] * len(checked["rules"]) != []
    assert checked["grade"] is None
    proven = commands("provider", "check", str(folder), "--prove", "--json").json
    assert (proven["grade"], proven["lacks"]) == ("bronze", ["a second operation"])
    assert (checked["id"], checked["name"], [one["id"] for one in checked["operations"]]) == (
        "acme-hr", "Acme Hr", ["people"],
    )  # fmt: skip
    assert commands("provider", "new", "acme-hr", "--into", str(tmp_path), "--json").error["slug"] == "invalid"


def test_a_provider_that_breaks_a_rule_is_told_which(commands: Any, tmp_path: Path) -> None:
    commands("provider", "new", "acme", "--into", str(tmp_path))
    file = tmp_path / "acme" / "provider.py"
    good = file.read_text()
    for broken, words in (
        (good.replace("payload.email", "payload.email +"), "bad-expression"),
        (good.replace("email=", "e_mail="), "unknown-field"),
        (good.replace("from tieline.sdk", "from tieline.sdx"), "line"),
        (good.replace("slug=", "slug=="), "line"),
        ("", "declares 0 providers"),
    ):
        file.write_text(broken)
        ended = commands("provider", "check", str(file), "--json")
        assert (ended.code, ended.error["slug"]) == (1, "declaration"), ended.err
        assert words in ended.error["message"]


@pytest.mark.parametrize("slug", ["../up", "class", "Acme", "a--b", "1st", "x'y"])
def test_a_bad_slug_leaves_nothing_behind(commands: Any, tmp_path: Path, slug: str) -> None:
    ended = commands("provider", "new", slug, "--into", str(tmp_path / "into"), "--json")
    assert ended.code == 1
    assert not (tmp_path / "into").exists()


def test_providers_that_are_installed_pass_their_check(commands: Any) -> None:
    assert commands("provider", "check", "okta").out.startswith("Okta (okta) is well declared.")
    assert commands("provider", "check", "no-such-thing", "--json").error["slug"] == "not-found"


def test_the_demonstration_tells_the_whole_tale_and_leaves_nothing(commands: Any, place: Path) -> None:
    folder = place / "demo"
    folder.mkdir(mode=0o711)
    told = commands("demo", "--people", "60", TMPDIR=str(folder), TIELINE_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert told.code == 0, told.err
    for words in (
        "1. Connect",
        "people: succeeded",
        "Open findings",
        "SOC 2",
        "ISO 27001",
        "hash ",
        "lost its protection",
    ):
        assert words in told.out
    assert all(one.isprintable() or one == "\n" for one in told.out)
    assert max(map(len, told.out.splitlines())) <= 100
    again = told.out.partition("5. A day goes by")[2]
    assert "opened" in again
    assert "resolved" in again
    assert list(folder.iterdir()) == []


def test_the_demonstration_takes_no_folder_that_holds_something(commands: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one")
    refused = commands("demo", "--data-dir", str(tmp_path), "--json")
    assert (refused.code, refused.error["slug"]) == (1, "invalid")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
