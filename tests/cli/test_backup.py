"""`tieline backup`: from one data directory and database to another, by nothing but the command."""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from tests.conftest import named


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@pytest.fixture
def instance(server: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of an instance that was never started."""
    name = f"instance_{uuid4().hex[:12]}"
    asyncio.run(execute(server, f"CREATE DATABASE {name}"))
    yield {"TIELINE_DATABASE_URL": named(server, name), "TIELINE_DATA_DIR": str(tmp_path / "instance")}
    asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def backup(commands: Any, synced: Any, tmp_path: Path) -> Path:
    """A backup of the installation that the tests of the command share."""
    made = commands("backup", "create", str(tmp_path / "all.zip"), "--json")
    assert made.code == 0, made.err
    return tmp_path / "all.zip"


def test_an_installation_moves_to_another_place_and_goes_on_there(
    commands: Any, synced: Any, company: Any, backup: Path, instance: dict[str, str], tmp_path: Path
) -> None:
    ring = tmp_path / "apart" / "keys.json"
    assert commands("backup", "key-ring", str(ring)).code == 0
    assert stat.S_IMODE(ring.stat().st_mode) == stat.S_IMODE(backup.stat().st_mode) == 0o600
    refused = commands("backup", "restore", str(backup), "--json", **instance)
    assert (refused.code, refused.error["slug"]) == (4, "key-ring")
    assert "--key-ring" in refused.error["advice"]
    done = commands("backup", "restore", str(backup), "--key-ring", str(ring), **instance)
    assert done.code == 0, done.err
    assert "are restored" in done.out
    assert "The original must not run any more" in done.err
    here, there = (
        synced("connections", "--json").json["items"],
        synced("connections", "--json", **instance).json["items"],
    )
    assert [one["id"] for one in there] == [one["id"] for one in here]
    assert synced("sync", here[0]["id"], "--wait", **instance).code == 0
    assert synced("audit", "verify", **instance).code == 0
    assert synced("entities", "--json", "--limit", "5000", **instance).json == synced("entities", "--json", "--limit", "5000").json  # fmt: skip
    again = commands("backup", "restore", str(backup), "--json", **instance)
    assert (again.code, again.error["slug"]) == (1, "conflict")
    assert "not empty" in again.error["message"]


def test_a_copy_of_an_embedded_installation_can_be_tried_beside_it(commands: Any, place: Path, tmp_path: Path) -> None:
    folders = [place / f"b{uuid4().hex[:8]}" for _ in range(2)]
    one, other = ({"TIELINE_DATABASE_URL": "", "TIELINE_DATA_DIR": str(folder)} for folder in folders)
    assert commands("orgs", "create", "acme", **one).code == 0
    assert commands("backup", "create", str(tmp_path / "all.zip"), **one).code == 0
    ring = str(folders[0] / "keys.json")
    done = commands("backup", "restore", str(tmp_path / "all.zip"), "--key-ring", ring, "--paused", "--json", **other)
    assert (done.code, done.json["paused"]) == (0, 0), done.err
    assert [row["slug"] for row in commands("orgs", "--json", **other).json["items"]] == ["acme", "default"]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def test_verifying_tells_what_a_backup_holds_and_whether_the_key_ring_fits(
    commands: Any, backup: Path, tmp_path: Path
) -> None:
    whole = commands("backup", "verify", str(backup))
    assert (whole.code, whole.err) == (0, "")
    assert "is whole" in whole.out
    assert "every key that it needs" in whole.out
    told = commands("backup", "verify", str(backup), "--json").json
    assert told["not_in_key_ring"] == []
    assert told["tables"]["entities"] > 100
    assert told["rows"] == sum(told["tables"].values())
    nowhere = commands("backup", "verify", str(backup), TIELINE_DATA_DIR=str(tmp_path / "nowhere"))
    assert (nowhere.code, "no key ring" in nowhere.err) == (0, True)
    elsewhere = {"TIELINE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    assert commands("backup", "verify", str(backup), **elsewhere).code == 0, "the database is not touched"
    backup.write_bytes(backup.read_bytes()[:-100] + bytes(100))
    damaged = commands("backup", "verify", str(backup), "--json")
    assert (damaged.code, damaged.error["slug"]) == (1, "backup-unusable")


def test_of_the_backups_in_a_directory_the_newest_are_kept_and_nothing_else_is_touched(
    commands: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    others = ["notes.txt", "tieline-today.zip", "tieline-20260101T000000Z.zip.part"]
    former = [f"tieline-2026010{day}T000000Z.zip" for day in (1, 2, 3)]
    for name in others + former:
        (folder / name).touch()
    made = commands("backup", "create", str(folder), "--keep", "2", "--json").json
    assert [Path(one).name for one in made["removed"]] == former[:2]
    assert {one.name for one in folder.iterdir()} == {*others, former[2], Path(made["file"]).name}
    assert commands("backup", "create", str(tmp_path / "one.zip"), "--keep", "2").code == 2


def test_the_key_ring_does_not_lie_beside_backups_by_accident(commands: Any, backup: Path) -> None:
    ring = backup.with_name("keys.json")
    refused = commands("backup", "key-ring", str(ring), "--json")
    assert (refused.code, ring.exists()) == (1, False)
    assert "--beside-backups" in refused.error["advice"]
    assert commands("backup", "key-ring", str(ring), "--beside-backups").code == 0
    actions = [one["action"] for one in commands("audit", "--json").json["items"]]
    assert actions[:2] == ["key_ring.copied", "backup.created"]
    again = commands("backup", "key-ring", str(ring), "--beside-backups", "--json")
    assert again.error["message"].endswith("is there already")


def test_another_key_ring_in_place_is_never_replaced(
    commands: Any, backup: Path, instance: dict[str, str], tmp_path: Path
) -> None:
    ring = tmp_path / "apart" / "keys.json"
    assert commands("backup", "key-ring", str(ring)).code == 0
    assert commands("orgs", **instance).code == 0, "started once, so it has a key ring of its own"
    own = Path(instance["TIELINE_DATA_DIR"]) / "keys.json"
    before = own.read_bytes()
    refused = commands("backup", "restore", str(backup), "--key-ring", str(ring), "--json", **instance)
    assert (refused.code, refused.error["slug"]) == (4, "key-ring")
    assert own.read_bytes() == before
    own.rename(tmp_path / "former.json")
    assert commands("backup", "restore", str(backup), "--key-ring", str(ring), **instance).code == 0
