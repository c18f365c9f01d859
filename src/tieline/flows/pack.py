"""Pack: evidence as one zip to hand over, which can be verified offline with nothing but Python.

It holds `statements.txt` and `provenances.txt` (a line each: id, SHA-256 in hex, and the very bytes that were hashed), `manifest.json`
(what was asked for, how much there is, the checksum of each file) and `verify.py`. It is written as it is read, so it needs no
room, and one that breaks off is no zip at all.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from importlib import resources
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import orjson

from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.flows.views import moment
from tieline.stages.attest import canonical
from tieline.store.evidence import Evidence, Provenance, get_provenance, list_evidence
from tieline.store.listing import Paging

MOST_STATEMENTS = 100_000
"""Statements in one pack, the newest; the manifest says whether there were more."""
_PAGE = 1_000
_PER_READ = 50


async def open_pack(
    parts: Parts, org_id: str, wanted: Mapping[str, str | None], *, before: datetime | None = None
) -> AsyncIterator[bytes]:
    """A pack of the statements that `list_evidence` gives for the same filters, as the bytes of a zip.

    That it was asked for is in the audit log before the first byte is there. Raises `NotFound` for an id that nothing can have.
    """
    asked = {name: value for name, value in wanted.items() if value}
    async with parts.db.work(org_id) as work:
        await list_evidence(
            work, Paging(limit=1), **asked, before=before
        )  # what is wrong is said before the answer begins
        await record(work, parts, "evidence.exported", **asked, before=before)
    return _write(parts, org_id, asked, before)


async def _write(parts: Parts, org_id: str, asked: Mapping[str, str], before: datetime | None) -> AsyncIterator[bytes]:
    made = _Made()
    runs: dict[str, None] = {}
    more, cursor, statements, provenances = True, None, 0, 0
    with ZipFile(made.out, "w", ZIP_DEFLATED) as pack:
        with made.opened(pack, "statements.txt") as write:
            while more and statements < MOST_STATEMENTS:
                async with parts.db.work(org_id) as work:
                    page = await list_evidence(work, Paging(cursor, _PAGE), **asked, before=before)
                runs.update((one.run_id, None) for one in page.items)
                write(page.items)
                cursor, more, statements = page.next, page.next is not None, statements + len(page.items)
                yield made.taken()
        with made.opened(pack, "provenances.txt") as write:
            for some in _in_parts(list(runs)):
                async with parts.db.work(org_id) as work:
                    found = [one for run in some if (one := await get_provenance(work, run))]
                write(found)
                provenances += len(found)
                yield made.taken()
        manifest = {
            "organization": org_id,
            "made_at": moment(parts.clock.now()),
            "asked": {**asked, "before": moment(before)},
            "complete": not more,
            "statements": statements,
            "provenances": provenances,
            "files": made.sums,
        }
        pack.writestr("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        pack.writestr("verify.py", resources.files("tieline.flows").joinpath("pack_verifier.py").read_bytes())
    yield made.taken()


class _Made:
    """What of the zip has been written and not yet taken, and the checksum of each file in it."""

    def __init__(self) -> None:
        self.out = _Tape()
        self.sums: dict[str, str] = {}

    @contextmanager
    def opened(self, pack: ZipFile, name: str) -> Iterator[Any]:
        """A function that writes rows to a file of the zip."""
        total = sha256()
        with pack.open(name, "w", force_zip64=True) as file:

            def write(rows: Iterable[Evidence | Provenance]) -> None:
                lines = b"".join(b"%s %s %s\n" % (_id(one), _hex(one), canonical(one.content)) for one in rows)
                total.update(lines)
                file.write(lines)

            yield write
        self.sums[name] = total.hexdigest()

    def taken(self) -> bytes:
        """What was written since it was last taken."""
        return self.out.take()


class _Tape(io.RawIOBase):
    """Takes bytes in order, and cannot go back; so the zip is written without seeking."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any, /) -> int:
        """Hold more bytes."""
        self._held += data
        return len(data)

    def take(self) -> bytes:
        """All that is held, which is then no longer held."""
        taken = bytes(self._held)
        self._held.clear()
        return taken


def _id(one: Evidence | Provenance) -> bytes:
    return one.id.encode()


def _hex(one: Evidence | Provenance) -> bytes:
    return one.hash.hex().encode()


def _in_parts(runs: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(runs), _PER_READ):
        yield runs[start : start + _PER_READ]
