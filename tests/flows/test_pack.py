"""Evidence packs: what is in one, that it verifies offline, and that nothing in it can be changed unnoticed."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import orjson
import pytest
from tests.flows.bench import Bench

from tieline.catalog import load_frameworks
from tieline.errors import NotFound
from tieline.flows.pack import open_pack
from tieline.flows.pack_index import Index, summary_line
from tieline.flows.pack_verifier import NAMES, check
from tieline.store.audit import list_entries
from tieline.store.listing import Paging


async def pack(bench: Bench, **wanted: Any) -> bytes:
    return b"".join([part async for part in await open_pack(bench.parts, bench.org, wanted)])


def files_of(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def verified(*arguments: str) -> tuple[int, list[str]]:
    """The exit code of a pack's own script, run as whoever gets it would, and what it says."""
    done = subprocess.run([sys.executable, "-I", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
async def folder(synced: Bench, tmp_path: Path) -> Path:
    with ZipFile(io.BytesIO(await pack(synced, framework="soc2"))) as zipped:
        zipped.extractall(tmp_path)
    return tmp_path


async def test_a_pack_holds_the_statements_and_an_index_of_every_control(synced: Bench, folder: Path) -> None:
    assert sorted(files_of(folder)) == sorted([*NAMES, "manifest.json"])
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    assert manifest["asked"] == {"framework": "soc2", "before": None}
    statements = (folder / "statements.txt").read_text().splitlines()
    with (folder / "summary.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["id"] for row in rows] == [line.partition(" ")[0] for line in statements]
    assert len(rows) == manifest["statements"] > 100
    assert all("soc2:" in row["controls"] for row in rows)
    about = [one for one in await synced.evidence() if any(name.startswith("soc2:") for name in one.controls)]
    assert {row["id"] for row in rows} == {one.id for one in about}
    page = (folder / "index.html").read_text()
    assert all(one.id in page for one in load_frameworks()["soc2"].controls)
    heard = sum("soc2:CC6.1" in row["controls"].split() for row in rows)
    assert f"summary.csv has {heard - 50} more" in page
    assert "<script" not in page
    assert "://" not in page, "it needs no network"


async def test_a_pack_verifies_as_a_folder_and_as_a_zip(synced: Bench, folder: Path, tmp_path: Path) -> None:
    digest = sha256((folder / "manifest.json").read_bytes()).hexdigest()
    code, said = verified(str(folder / "verify.py"))
    assert (code, said[0]) == (0, f"Manifest {digest}")
    assert verified(str(folder / "verify.py"), digest)[0] == 0
    zipped = tmp_path / "pack.zip"
    zipped.write_bytes(await pack(synced, control="soc2:CC6.1"))
    assert verified(str(folder / "verify.py"), str(zipped))[0] == 0
    manifest, problems = check(zipped)
    assert (manifest["asked"]["control"], problems) == ("soc2:CC6.1", [])
    async with synced.parts.db.work(synced.org) as work:
        entries = (await list_entries(work, Paging(), action="evidence.packed")).items
    assert {one.details["manifest"] for one in entries} == {digest, manifest["sha256"]}


def spoil_first(file: Path, old: bytes, new: bytes) -> None:
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new, 1))


SPOILT: dict[str, Callable[[Path], None]] = {
    "a statement says the contrary": lambda at: spoil_first(at / "statements.txt", b'"supports"', b'"contradicts"'),
    "a statement is gone": lambda at: spoil_first(
        at / "statements.txt", (at / "statements.txt").read_bytes().partition(b"\n")[0] + b"\n", b""
    ),
    "a line too many": lambda at: (at / "statements.txt").write_bytes((at / "statements.txt").read_bytes() + b"x y {}\n"),
    "a provenance is another": lambda at: spoil_first(at / "provenances.txt", b"sandbox", b"sandpit"),
    "the provenances are gone": lambda at: (at / "provenances.txt").write_bytes(b""),
    "the summary says otherwise": lambda at: spoil_first(at / "summary.csv", b"contradicts", b"supports"),
    "the index says otherwise": lambda at: spoil_first(at / "index.html", b"Against", b"For"),
    "the script is another": lambda at: (at / "verify.py").write_bytes((at / "verify.py").read_bytes() + b"\n"),
    "a file is gone": lambda at: (at / "summary.csv").unlink(),
    "the manifest has another count": lambda at: spoil_first(at / "manifest.json", b'"statements": ', b'"statements": 1'),
    "the manifest names no file": lambda at: spoil_first(at / "manifest.json", b'"index.html"', b'"index.htm"'),
    "the manifest is no JSON": lambda at: (at / "manifest.json").write_bytes(b"{"),
    "there is no manifest": lambda at: (at / "manifest.json").unlink(),
}  # fmt: skip


async def test_whatever_is_changed_is_found(folder: Path) -> None:
    kept = files_of(folder)
    for what, spoil in SPOILT.items():
        spoil(folder)
        code, said = verified(str(folder / "verify.py"))
        assert (code, said[-1].startswith("The pack does not verify")) == (1, True), what
        for name, content in kept.items():
            (folder / name).write_bytes(content)
    assert check(folder)[1] == []


async def test_who_forges_the_checksums_too_is_found_by_the_summary_or_the_known_manifest(folder: Path) -> None:
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    digest = sha256((folder / "manifest.json").read_bytes()).hexdigest()
    summary = (folder / "summary.csv").read_bytes()
    spoil_first(folder / "summary.csv", b"contradicts", b"supports")
    manifest["files"]["summary.csv"] = sha256((folder / "summary.csv").read_bytes()).hexdigest()
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    assert ["what the statements do not" in one for one in check(folder)[1]] == [True]
    (folder / "summary.csv").write_bytes(summary)
    manifest["files"]["summary.csv"] = sha256(summary).hexdigest()
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest | {"organization": "another"}))
    assert check(folder)[1] == []
    assert check(folder, digest)[1] == [f"manifest.json is another one than the one with SHA-256 {digest}"]


async def test_a_pack_of_what_is_not_there_is_empty_and_verifies(synced: Bench, tmp_path: Path) -> None:
    zipped = tmp_path / "pack.zip"
    zipped.write_bytes(await pack(synced, control="soc2:CC1.1"))
    manifest, problems = check(zipped)
    assert (manifest["statements"], manifest["provenances"], problems) == (0, 0, [])
    assert b"no statement" in ZipFile(zipped).read("index.html")
    with pytest.raises(NotFound):
        await pack(synced, framework="nist")


async def test_a_name_that_is_a_formula_or_a_tag_is_text_in_what_people_open(synced: Bench) -> None:
    one = (await synced.evidence())[0]
    hostile = replace(one, external_id="=1+1", content={"statement": "<script>alert(1)</script>"})
    assert b",'=1+1," in summary_line(hostile)
    index = Index()
    index.add([hostile])
    assert b"<script" not in index.page({"Organization": "<b>"})
    assert b"<b>" not in index.page({"Organization": "<b>"})
