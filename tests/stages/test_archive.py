"""The archive that a backup is: whole or refused, whichever of its bytes somebody or something has changed."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from pathlib import Path

import pytest

from tieline.errors import BackupError, Conflict
from tieline.stages.archive import Manifest, drafting, is_archive, open_archive

KEY, OTHER = b"k" * 32, b"o" * 32
ROWS = b"".join(b"%d\tAda \\N\\t\xc3\xa9\n" % number for number in range(4_000))


def write(path: Path, *, key: bytes = KEY, revisions: tuple[str, ...] = ("0001",), format: int = 1) -> None:
    with drafting(path) as draft:
        for table, rows in {"people": ROWS, "groups": b""}.items():
            with draft.part(table, ["id", "name"]) as take:
                for begin in range(0, len(rows), 7_777):
                    take(rows[begin : begin + 7_777])
        draft.seal(Manifest("2026-11-22T10:00:00Z", "1", "18", list(revisions), 1, ["kek_a"], draft.parts, format), key)


async def read(path: Path) -> dict[str, bytes]:
    with open_archive(path) as archive:
        return {part.table: b"".join([chunk async for chunk in archive.lines(part)]) for part in archive.manifest.parts}


def signed_off(content: bytes) -> bytes:
    """The content of an archive as somebody would leave it who knows how the digest at its end is made."""
    return content[:-64] + hashlib.sha256(content[:-64]).hexdigest().encode()


def modes_in(folder: Path) -> dict[str, int]:
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()}


async def test_what_was_written_comes_back_with_its_counts_for_the_owner_alone(tmp_path: Path) -> None:
    write(path := tmp_path / "a.zip")
    assert await read(path) == {"people": ROWS, "groups": b""}
    with open_archive(path) as archive:
        assert [(part.table, part.rows, part.bytes) for part in archive.manifest.parts] == [
            ("people", 4_000, len(ROWS)),
            ("groups", 0, 0),
        ]
        assert archive.was_made_under(KEY)
        assert not archive.was_made_under(OTHER)
    assert modes_in(tmp_path) == {"a.zip": 0o600}
    assert zipfile.ZipFile(path).testzip() is None


async def test_no_byte_can_be_changed_put_in_or_left_out_unnoticed(tmp_path: Path) -> None:
    write(tmp_path / "a.zip")
    whole = (tmp_path / "a.zip").read_bytes()
    spoiled = tmp_path / "spoiled.zip"
    places = {*range(140), *range(len(whole) - 400, len(whole)), *range(140, len(whole) - 400, len(whole) // 300)}
    for place in sorted(places):
        spoiled.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        with pytest.raises(BackupError):
            await read(spoiled)
    for other in (
        whole[:-1],
        whole[: len(whole) // 2],
        whole[:40],
        whole[:50],
        b"",
        whole + b"\0",
        whole[:500] + b"x" + whole[500:],
    ):
        spoiled.write_bytes(other)
        with pytest.raises(BackupError):
            await read(spoiled)


async def test_who_makes_the_digest_anew_is_found_out_by_the_sums_in_the_manifest(tmp_path: Path) -> None:
    write(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as made:
        members = {name: made.read(name) for name in made.namelist()}
    changes = {
        "tables/people.tsv": ROWS.replace(b"Ada", b"Eve", 1),
        "manifest.json": b"{}",
        "tables/other.tsv": b"",
        "tables/groups.tsv": None,
    }
    for name, content in changes.items():
        forged = tmp_path / "forged.zip"
        with zipfile.ZipFile(forged, "w", zipfile.ZIP_DEFLATED) as made:
            made.comment = b"0" * 64
            for member, given in (members | {name: content}).items():
                if given is not None:
                    made.writestr(zipfile.ZipInfo(member), given)
        forged.write_bytes(signed_off(forged.read_bytes()))
        with pytest.raises(BackupError):
            await read(forged)


async def test_who_changes_manifest_and_sums_alike_lacks_the_key(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", key=OTHER)
    with open_archive(tmp_path / "a.zip") as archive:
        assert not archive.was_made_under(KEY)


def test_a_format_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", format=2)
    with pytest.raises(BackupError, match="newer"), open_archive(tmp_path / "a.zip"):
        pass


def test_a_failure_leaves_neither_the_file_nor_half_of_it(tmp_path: Path) -> None:
    def interrupt() -> None:
        with drafting(tmp_path / "a.zip") as draft, draft.part("people", []) as take:
            take(ROWS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_replaced_and_only_one_process_writes_one(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("precious")
    with pytest.raises(Conflict, match="there already"):
        write(tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_text() == "precious"
    with drafting(tmp_path / "b.zip") as draft:
        with pytest.raises(Conflict, match="being written"):
            write(tmp_path / "b.zip")
        draft.seal(Manifest("", "", "", [], 0, [], []), KEY)
    with open_archive(tmp_path / "b.zip"):
        assert is_archive(tmp_path / "b.zip")


def test_what_a_killed_backup_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(os.urandom(200_000))
    write(tmp_path / "a.zip")
    with open_archive(tmp_path / "a.zip") as archive:
        assert archive.manifest.rows == 4_000


def test_other_files_are_told_from_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as other:
        other.writestr("a", "b")
    (tmp_path / "empty").touch()
    for name in ("a.zip", "empty"):
        assert not is_archive(tmp_path / name)
        with pytest.raises(BackupError, match="is not a backup"), open_archive(tmp_path / name):
            pass
