"""Verify an evidence pack offline: `python3 verify.py` in its folder, with nothing but Python 3.9 or newer.

`python3 verify.py pack.zip` verifies a pack that is still a zip. It proves that the files are those that the manifest names, that
every statement and provenance matches its hash, that every statement names a provenance that is here, and that the summary
says what the statements say. That the pack is the one that Tieline gave, the manifest's own SHA-256 proves: it is told at the
end, and Tieline's audit log holds it in the entry `evidence.packed`. Give it as an argument, and it is compared.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("index.html", "provenances.txt", "statements.txt", "summary.csv", "verify.py")
"""The files of a pack, besides its manifest."""


def main(arguments: list[str]) -> int:
    """Say what is wrong with a pack, or that nothing is; 0 if nothing is."""
    expected = next((one.lower() for one in arguments if len(one) == 64 and not Path(one).exists()), None)
    given = next((Path(one) for one in arguments if one.lower() != expected), Path(__file__).resolve().parent)
    manifest, problems = check(given, expected)
    for problem in problems:
        sys.stdout.write(f"WRONG  {problem}\n")
    if problems:
        sys.stdout.write(f"The pack does not verify: {len(problems)} things are wrong.\n")
        return 1
    more = "" if manifest["complete"] else " There were more than fit in it: these are the newest."
    sys.stdout.write(f"Manifest {manifest['sha256']}\nThe pack verifies: {manifest['statements']} statements.{more}\n")
    return 0


def check(given: Path, expected: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """A pack's manifest with its own SHA-256, and what is wrong with the pack; `given` is its folder or its zip."""
    try:
        with _opened(given) as place:
            content = (place / "manifest.json").read_bytes()
            manifest = {**json.loads(content), "sha256": hashlib.sha256(content).hexdigest()}
            problems = list(verify(place, manifest))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        return {}, [f"the pack cannot be read: {error}"]
    if expected and manifest["sha256"] != expected:
        problems.append(f"manifest.json is another one than the one with SHA-256 {expected}")
    return manifest, problems


@contextmanager
def _opened(given: Path) -> Iterator[Any]:
    """A pack's folder, or its zip, which is gone through like one."""
    if given.is_dir():
        yield given
        return
    with zipfile.ZipFile(given) as zipped:
        yield zipfile.Path(zipped)


def verify(place: Any, manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a pack, one problem after another."""
    if sorted(manifest["files"]) != sorted(NAMES):
        yield "the manifest does not name the files that a pack has"
    for name in NAMES:
        if _sum_of(place / name) != manifest["files"].get(name):
            yield f"{name} is not the file that the manifest names"
    provenances: set[str] = set()
    stated: dict[str, list[str]] = {}
    for name, kind in (("provenances.txt", "provenances"), ("statements.txt", "statements")):
        count = 0
        for row_id, told, content in _rows(place / name):
            count += 1
            if hashlib.sha256(content).hexdigest() != told:
                yield f"{row_id} does not match its hash"
            elif kind == "provenances":
                provenances.add(told)
            else:
                said = json.loads(content)
                stated[row_id] = [told, said["stance"]]
                if said["provenance"] not in provenances:
                    yield f"{row_id} names a provenance that is not here"
        if count != manifest[kind]:
            yield f"{name} has {count} lines, and the manifest says {manifest[kind]}"
    yield from _verify_summary(place / "summary.csv", stated)


def _verify_summary(file: Any, stated: dict[str, list[str]]) -> Iterator[str]:
    """What the summary says otherwise than the statements."""
    with file.open("rb") as lines:
        for row in csv.DictReader(line.decode() for line in lines):
            if stated.pop(row["id"], None) != [row["hash"], row["says"]]:
                yield f"summary.csv says of {row['id']} what the statements do not"
    if stated:
        yield f"summary.csv leaves out {len(stated)} statements"


def _sum_of(file: Any) -> str:
    total = hashlib.sha256()
    with file.open("rb") as content:
        for part in iter(lambda: content.read(1 << 20), b""):
            total.update(part)
    return total.hexdigest()


def _rows(file: Any) -> Iterator[tuple[str, str, bytes]]:
    """The id, the hash and the hashed bytes of each line."""
    with file.open("rb") as lines:
        for line in lines:
            row_id, told, content = line.rstrip(b"\n").split(b" ", 2)
            yield row_id.decode(), told.decode(), content


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
