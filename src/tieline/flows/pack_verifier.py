"""Verify an evidence pack offline: `python3 verify.py` in its folder, with nothing but Python 3.9 or newer.

It proves that the files are those that the manifest names, that every statement and provenance matches its hash, and that every
statement names a provenance that is here. That a pack is the one that Tieline gave, its hashes prove beside those that Tieline shows
for the same ids.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main(folder: Path) -> int:
    """Say what is wrong with a pack, or that nothing is; 0 if nothing is."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        problems = list(verify(folder, manifest))
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems = [f"the pack cannot be read: {error}"]
    for problem in problems:
        sys.stdout.write(f"WRONG  {problem}\n")
    if problems:
        sys.stdout.write(f"The pack does not verify: {len(problems)} things are wrong.\n")
        return 1
    more = "" if manifest["complete"] else " There were more than fit in it: these are the newest."
    sys.stdout.write(f"The pack verifies: {manifest['statements']} statements.{more}\n")
    return 0


def verify(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a pack, one problem after another."""
    provenances: set[str] = set()
    for name, kind in (("provenances.txt", "provenances"), ("statements.txt", "statements")):
        total, count = hashlib.sha256(), 0
        with (folder / name).open("rb") as lines:
            for line in lines:
                total.update(line)
                count += 1
                row_id, told, content = line.rstrip(b"\n").split(b" ", 2)
                if hashlib.sha256(content).hexdigest() != told.decode():
                    yield f"{row_id.decode()} does not match its hash"
                elif kind == "provenances":
                    provenances.add(told.decode())
                elif json.loads(content)["provenance"] not in provenances:
                    yield f"{row_id.decode()} names a provenance that is not here"
        if total.hexdigest() != manifest["files"][name]:
            yield f"{name} is not the file that the manifest names"
        if count != manifest[kind]:
            yield f"{name} has {count} lines, and the manifest says {manifest[kind]}"


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent))
