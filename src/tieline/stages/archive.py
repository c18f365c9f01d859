"""The archive that a backup is: a zip of tables with a manifest, written and read as a stream.

    tieline-backup       what this is, and which format
    tables/NAME.tsv      the rows of a table, in COPY's text format
    manifest.json        what there is: tables, columns, counts and SHA-256, when and by which release, and the names of needed keys
    manifest.hmac        HMAC-SHA-256 of the manifest under the key ring, hexadecimal

The zip's comment holds the SHA-256 of all that comes before it, so that no byte of the file can change unnoticed. That and the sums
in the manifest tell damage; the HMAC tells who made it: whoever lacks the key ring can write no backup that is restored with it.
The key ring is never in an archive.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import zipfile
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import orjson

from tieline.errors import BackupError, Conflict
from tieline.store.file_locks import try_lock

FORMAT = 1
_LABEL = "tieline-backup"
_ABOUT = f"A backup of Tieline, format {FORMAT}. `tieline backup restore` restores it, with the key ring, which is not in it.\n"
_DIGITS = 64
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Part:
    """The rows of a table."""

    table: str
    columns: list[str]
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself; `keys` are the names of the keys that are needed to open what is sealed in it."""

    made_at: str
    tieline: str
    postgres: str
    revisions: list[str]
    organizations: int
    keys: list[str]
    parts: list[Part]
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(part.rows for part in self.parts)


# Writing


@dataclass
class Draft:
    """An archive that is being written."""

    zip: zipfile.ZipFile
    parts: list[Part] = field(default_factory=list)

    @contextmanager
    def part(self, table: str, columns: list[str]) -> Iterator[Callable[[bytes], None]]:
        """Take the rows of a table, by what this gives."""
        digest, rows, size = hashlib.sha256(), 0, 0
        with self.zip.open(_name(table), "w", force_zip64=True) as file:

            def write(chunk: bytes) -> None:
                nonlocal rows, size
                digest.update(chunk)
                rows += chunk.count(b"\n")  # within a row they are written as \n
                size += len(chunk)
                file.write(chunk)

            yield write
        self.parts.append(Part(table, columns, rows, size, digest.hexdigest()))

    def seal(self, manifest: Manifest, key: bytes) -> str:
        """Add the manifest; gives its SHA-256."""
        content = orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2)
        self.zip.writestr("manifest.json", content)
        self.zip.writestr("manifest.hmac", _mac(key, content))
        return hashlib.sha256(content).hexdigest()


@contextmanager
def drafting(path: Path) -> Iterator[Draft]:
    """Write an archive beside where it belongs, for its owner alone, and put it there when the block has ended well.

    Raises `Conflict` if the file is there already, or another process is writing it.
    """
    _refuse_existing(path)
    unfinished = path.with_name(f"{path.name}.part")
    with open(unfinished, "wb", opener=_open_own) as file:
        # Whoever had it may have put it in its place just before it was locked here.
        if not try_lock(file.fileno()) or not _is_at(file, unfinished):
            raise Conflict(
                f"Another backup is being written to {unfinished}", advice="Wait for it, or name another file."
            )
        try:
            file.truncate()  # what one that was killed left there
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
                made.comment = b"0" * _DIGITS
                made.writestr(zipfile.ZipInfo(_LABEL), _ABOUT)
                yield Draft(made)
            _sign_off(file, unfinished)
            _refuse_existing(path)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    _sync(path.parent)


def _sign_off(file: IO[bytes], path: Path) -> None:
    """Replace the comment by the digest of all before it, and bring the file to the disk."""
    file.flush()
    digest = _digest(path)
    file.seek(-_DIGITS, os.SEEK_END)
    file.write(digest.encode())
    file.flush()
    os.fsync(file.fileno())


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise Conflict(f"{path} is there already", advice="Name another file, or a directory.")


def _is_at(file: IO[bytes], path: Path) -> bool:
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _open_own(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_TRUNC | os.O_NOFOLLOW, 0o600)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Reading


@dataclass(frozen=True)
class Archive:
    """An archive that is as it was written."""

    zip: zipfile.ZipFile
    manifest: Manifest
    content: bytes
    mac: bytes

    @property
    def sha256(self) -> str:
        """Of the manifest."""
        return hashlib.sha256(self.content).hexdigest()

    def was_made_under(self, key: bytes) -> bool:
        """Whether the manifest is as the owner of this key ring wrote it."""
        return hmac.compare_digest(_mac(key, self.content).encode(), self.mac)

    async def lines(self, part: Part) -> AsyncGenerator[bytes, None]:
        """The rows of a table; raises `BackupError` at their end if they are not those that the manifest tells of."""
        digest, size = hashlib.sha256(), 0
        with _telling(), self.zip.open(_name(part.table)) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                yield chunk
        if (digest.hexdigest(), size) != (part.sha256, part.bytes):
            raise BackupError(f"The backup is damaged: its table {part.table} is not what the manifest says")


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive of which every byte is as it was written; raises `BackupError`."""
    if not is_archive(path):
        raise BackupError(f"{path} is not a backup")
    if _digest(path) != _comment(path):
        raise BackupError(f"{path} is damaged: it is not as it was written")
    with _telling():
        opened = zipfile.ZipFile(path)
    with opened:
        yield _read(opened)


def is_archive(path: Path) -> bool:
    """Whether a file begins as archives do."""
    with path.open("rb") as file:
        head = file.read(30 + len(_LABEL))  # a zip entry's name comes after 30 bytes
    return head[:4] == b"PK\3\4" and head[30:] == _LABEL.encode()


def _read(opened: zipfile.ZipFile) -> Archive:
    with _telling():
        content, mac = opened.read("manifest.json"), opened.read("manifest.hmac")
        archive = Archive(opened, _parse(content), content, mac)
    given = [_LABEL, *(_name(part.table) for part in archive.manifest.parts), "manifest.json", "manifest.hmac"]
    if opened.namelist() != given:
        raise BackupError("The backup does not hold what its manifest says")
    return archive


def _parse(content: bytes) -> Manifest:
    told = orjson.loads(content)
    if told["format"] > FORMAT:
        raise BackupError("The backup was made by a newer Tieline", advice="Restore it with that release.")
    return Manifest(**{**told, "parts": [Part(**one) for one in told["parts"]]})


@contextmanager
def _telling() -> Iterator[None]:
    """Tell as one error all that a file may be instead of an archive."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, TypeError, ValueError, NotImplementedError):
        raise BackupError("The backup is damaged: it cannot be read") from None


def _digest(path: Path) -> str:
    """Of all but the comment."""
    digest, left = hashlib.sha256(), path.stat().st_size - _DIGITS
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, 4 * _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _comment(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _DIGITS, 0))
        return file.read().decode("ascii", "replace")


def _mac(key: bytes, content: bytes) -> str:
    return hmac.new(key, b"tieline backup\0" + content, "sha256").hexdigest()


def _name(table: str) -> str:
    return f"tables/{table}.tsv"


__all__ = ["FORMAT", "Archive", "Draft", "Manifest", "Part", "drafting", "is_archive", "open_archive"]
