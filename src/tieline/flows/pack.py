"""Pack: evidence as one zip to hand over, which can be verified offline with nothing but Python.

It holds `statements.txt` and `provenances.txt` (a line each: id, SHA-256 in hex, and the very bytes that were hashed), for people
`index.html` (what each control has for and against it) and `summary.csv` (a line for each statement), `verify.py`, and
`manifest.json`: what was asked for, how much there is, and the checksum of each file. It is written as it is read, so it needs
no room, and one that breaks off is no zip at all. The audit log says who asked for it and, by the SHA-256 of its manifest, what
they were given.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib import resources
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile

import orjson

from tieline.access.actor import acting_as, current_actor
from tieline.flows.audit import record
from tieline.flows.controls import find_framework
from tieline.flows.pack_index import HEADINGS, Index, summary_line
from tieline.flows.parts import Parts
from tieline.flows.sheet import line
from tieline.flows.views import moment
from tieline.stages.attest import canonical
from tieline.store.evidence import Evidence, Provenance, get_provenance, list_evidence
from tieline.store.listing import Paging

MOST_STATEMENTS = 100_000
"""Statements in one pack, the newest; the manifest says whether there were more."""
_PAGE = 1_000
_PER_READ = 50
_IN_MEMORY = 4 << 20
_CHUNK = 1 << 20

Told = Callable[[int], None]
"""Is told how many statements have been written."""


@dataclass(frozen=True)
class _Asked:
    """What a pack is to hold, and who asked for it."""

    parts: Parts
    org_id: str
    actor: str
    filters: Mapping[str, str]
    before: datetime | None
    told: Told

    @property
    def controls(self) -> list[str]:
        """The controls that the index names even if nothing is stated of them."""
        if framework := self.filters.get("framework"):
            return [one.id for one in find_framework(framework).controls]
        return [self.filters["control"]] if "control" in self.filters else []


async def open_pack(
    parts: Parts,
    org_id: str,
    wanted: Mapping[str, str | None],
    *,
    before: datetime | None = None,
    told: Told = lambda _: None,
) -> AsyncIterator[bytes]:
    """A pack of the statements that `list_evidence` gives for the same filters, as the bytes of a zip.

    That it was asked for is in the audit log before the first byte is there, and what it is before the last one. Raises `NotFound`
    for a framework, or for an id that nothing can have.
    """
    asked = {name: value for name, value in wanted.items() if value}
    if "framework" in asked:
        find_framework(asked["framework"])
    async with parts.db.work(org_id) as work:
        await list_evidence(work, Paging(limit=1), **asked, before=before)  # what is wrong is said before it begins
        await record(work, parts, "evidence.exported", **asked, before=before)
    return _write(_Asked(parts, org_id, current_actor(), asked, before, told))


async def _write(asked: _Asked) -> AsyncIterator[bytes]:
    made, index = _Made(), Index(asked.controls)
    runs: dict[str, None] = {}
    statements = provenances = 0
    complete = True
    with ZipFile(made.out, "w", ZIP_DEFLATED) as pack, SpooledTemporaryFile(_IN_MEMORY) as summary:
        summary.write(line(HEADINGS).encode())
        with made.opened(pack, "statements.txt") as file:
            async for found, more in _statements(asked):
                complete = not more
                runs.update((one.run_id, None) for one in found)
                file.write(_lines(found))
                summary.write(b"".join(summary_line(one) for one in found))
                index.add(found)
                statements += len(found)
                asked.told(statements)
                yield made.taken()
        with made.opened(pack, "provenances.txt") as file:
            async for come_from in _provenances(asked, list(runs)):
                file.write(_lines(come_from))
                provenances += len(come_from)
                yield made.taken()
        with made.opened(pack, "summary.csv") as file:
            for chunk in _chunks(summary):
                file.write(chunk)
                yield made.taken()
        about = {
            "organization": asked.org_id,
            "made_at": moment(asked.parts.clock.now()) or "",
            "asked": {**asked.filters, "before": moment(asked.before)},
            "complete": complete,
            "statements": statements,
            "provenances": provenances,
        }
        made.add(pack, "index.html", index.page(_facts(about)))
        made.add(pack, "verify.py", resources.files("tieline.flows").joinpath("pack_verifier.py").read_bytes())
        manifest = orjson.dumps({**about, "files": made.sums}, option=orjson.OPT_INDENT_2)
        pack.writestr("manifest.json", manifest)
        await _record_packed(asked, manifest, statements)
    yield made.taken()


async def _statements(asked: _Asked) -> AsyncIterator[tuple[list[Evidence], bool]]:
    """The statements page by page, newest first, and whether there are more than were read so far."""
    cursor, count = None, 0
    while count < MOST_STATEMENTS:
        async with asked.parts.db.work(asked.org_id) as work:
            page = await list_evidence(work, Paging(cursor, _PAGE), **asked.filters, before=asked.before)
        yield page.items, page.next is not None
        cursor, count = page.next, count + len(page.items)
        if cursor is None:
            return


async def _provenances(asked: _Asked, runs: list[str]) -> AsyncIterator[list[Provenance]]:
    for start in range(0, len(runs), _PER_READ):
        async with asked.parts.db.work(asked.org_id) as work:
            some = [await get_provenance(work, run) for run in runs[start : start + _PER_READ]]
        yield [one for one in some if one]


async def _record_packed(asked: _Asked, manifest: bytes, statements: int) -> None:
    """Say in the audit log which pack it was; the answer's own task may act as nobody."""
    with acting_as(asked.actor):
        async with asked.parts.db.work(asked.org_id) as work:
            digest = sha256(manifest).hexdigest()
            await record(work, asked.parts, "evidence.packed", manifest=digest, statements=statements)


def _facts(about: Mapping[str, Any]) -> dict[str, str]:
    """What the index tells at its head."""
    asked = ", ".join(f"{name} {value}" for name, value in about["asked"].items() if value)
    held = f"{about['statements']:,}" + ("" if about["complete"] else ", the newest: there were more than fit")
    return {
        "Organization": about["organization"],
        "Made at": about["made_at"],
        "Asked for": asked or "all",
        "Statements": held,
    }


def _lines(rows: Iterable[Evidence | Provenance]) -> bytes:
    return b"".join(b"%s %s %s\n" % (one.id.encode(), one.hash.hex().encode(), canonical(one.content)) for one in rows)


def _chunks(file: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    file.seek(0)
    return iter(lambda: file.read(_CHUNK), b"")


class _Summed:
    """A file of the zip that sums up what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.total = sha256()

    def write(self, content: bytes) -> None:
        """Write and sum up."""
        self.total.update(content)
        self._file.write(content)


class _Made:
    """What of the zip has been written and not yet taken, and the checksum of each file in it."""

    def __init__(self) -> None:
        self.out = _Tape()
        self.sums: dict[str, str] = {}

    @contextmanager
    def opened(self, pack: ZipFile, name: str) -> Iterator[_Summed]:
        """A file of the zip, to write to."""
        with pack.open(name, "w", force_zip64=True) as file:
            summed = _Summed(file)
            yield summed
        self.sums[name] = summed.total.hexdigest()

    def add(self, pack: ZipFile, name: str, content: bytes) -> None:
        """A file of the zip, whole."""
        with self.opened(pack, name) as file:
            file.write(content)

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
