"""The key ring's file: one JSON file that only its owner may read, replaced whole or not at all.

Any number of processes share it. Whoever changes it holds a lock, the new file itself, and reads it anew under that lock;
whoever only reads it sees the former or the next state and nothing in between.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tieline.errors import KeyRingError
from tieline.vault.encryption import Bound, DataKey, KeyFailure, Wrapped
from tieline.vault.keys import FIRST_KEYS, FORMAT, KEY_BYTES, SINGLE_KEYS, LocalKeyRing

_FIELDS: Final = frozenset({"format", "current", "keys", *SINGLE_KEYS})
_LATER: Final = frozenset(SINGLE_KEYS) - frozenset(FIRST_KEYS)
_PATIENCE: Final = 5.0  # seconds in which another process must have replaced the file
_log = logging.getLogger(__name__)


class KeyRingFile:
    """The key ring in a file, read again whenever another process has replaced it."""

    def __init__(self, path: Path, ring: LocalKeyRing) -> None:
        self._path = path
        self._ring = ring
        self._seen: tuple[int, ...] = ()

    @property
    def ring(self) -> LocalKeyRing:
        """The ring as the file has it now; the last good one if the file cannot be read."""
        try:
            status = self._path.stat()
            seen: tuple[int, ...] = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            seen = (0,)
        if seen != self._seen:
            self._seen = seen
            try:
                self._ring = load_or_create(self._path, may_create=False)
            except KeyRingError as error:
                _log.warning("the key ring stays as it was read before: %s", error.message)
        return self._ring

    @property
    def ids(self) -> list[str]:
        """The names of its keys, the oldest first."""
        return self.ring.ids

    @property
    def fingerprint_key(self) -> bytes:
        """The key for fingerprints, which never changes."""
        return self._ring.fingerprint_key

    async def current(self) -> str:
        """The name of the current key."""
        return self.ring.current_id

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys under the current key."""
        return await self.ring.wrap(data_keys)

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        """Decrypt data keys that `wrap` made, here or in another process."""
        return await self.ring.unwrap(several)

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys anew under the current key."""
        return await self.ring.rewrap(several)


def load_or_create(path: Path, *, may_create: bool) -> LocalKeyRing:
    """Read the key ring; if it is missing and `may_create`, make it first, with owner-only permissions.

    Any number of processes may come here at once for the first time: one makes the ring and all get that one. Pass
    `may_create=False` as soon as anything is stored: a new ring could read nothing of it. A ring that an older version wrote, and
    that lacks some of the single keys, is given them. Raises `KeyRingError`.
    """
    try:
        found = _read(path)
        if found is None and may_create:
            _create(path)
        ring, complete = found or _read_existing(path)
    except OSError as error:
        raise KeyRingError(f"Key ring {path} cannot be read or written: {error.strerror}.") from None
    return ring if complete else _complete(path)


def save(ring: LocalKeyRing, path: Path) -> None:
    """Replace the key file, whole or not at all.

    Raises `KeyRingError` if there is no file, if it holds a key that `ring` lacks (someone else has rotated in
    between), or if another process is replacing it.
    """

    def unless_lost(former: LocalKeyRing) -> LocalKeyRing:
        now, before = ring.reveal(), former.reveal()
        if not now["keys"].items() >= before["keys"].items() or any(now[name] != before[name] for name in SINGLE_KEYS):
            raise KeyRingError(f"Key ring {path} holds a key that would be lost.", advice="Load it anew and try again.")
        return ring

    _replace(path, unless_lost)


def copy(path: Path, to: Path) -> None:
    """Copy the ring to another file, for its owner alone; one that is there already is left if it holds the same ring.

    Raises `KeyRingError`, also if another ring is there.
    """
    ring = load_or_create(path, may_create=False)
    try:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if load_or_create(to, may_create=False).reveal() == ring.reveal():
            return
        raise KeyRingError(f"Another key ring is at {to}.", advice="Move it away, or name another file.") from None
    except OSError as error:
        raise KeyRingError(f"{to} cannot be written: {error.strerror}.") from None
    try:
        _fill(file, ring)
    except BaseException:
        to.unlink()
        raise
    finally:
        os.close(file)
    _sync(to.parent)


def retire(path: Path, key_id: str) -> LocalKeyRing:
    """Remove exactly this key from the file, for good; raises `KeyRingError` if it is current, not there, or the file is busy.

    The caller has made sure that nothing stored needs it.
    """
    return _replace(path, lambda former: former.minus(key_id))


def _complete(path: Path) -> LocalKeyRing:
    """Add the single keys that the file lacks, unless another process is faster; then it is that one's keys that count."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return _replace(path, lambda ring: ring)
        except _BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class _BusyError(KeyRingError):
    """Another process is replacing the file."""


def _replace(path: Path, change: Callable[[LocalKeyRing], LocalKeyRing]) -> LocalKeyRing:
    """Change the ring in the file: the new file, whose name ends in `.new`, is the lock under which it is read."""
    new = path.with_name(path.name + ".new")
    try:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            ring = change(_read_existing(path)[0])
            _fill(file, ring)
            new.rename(path)
        except BaseException:
            # Not in a `finally`: once renamed, the name is free, and a file of that name another process's.
            new.unlink()
            raise
        finally:
            os.close(file)
        _sync(path.parent)
    except FileExistsError:
        raise _BusyError(
            f"Key ring {path} is being replaced by another process.",
            advice=f"Try again; if no other process is at work, one was cut short: delete {new}.",
        ) from None
    except OSError as error:
        raise KeyRingError(f"Key ring {path} cannot be replaced: {error.strerror}.") from None
    return ring


def _create(path: Path) -> None:
    """Write a fresh ring, unless another process was faster."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _fill(file, LocalKeyRing.generate())
        # Unlike a rename, a link never replaces: the first process wins, and nobody ever sees half a file.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.close(file)
        draft.unlink(missing_ok=True)
    _sync(path.parent)


def _fill(file: int, ring: LocalKeyRing) -> None:
    """Write a ring into an open file, down to the disk; the file was owner-only from its first moment."""
    with os.fdopen(file, "w", encoding="utf-8", closefd=False) as text:
        json.dump(ring.reveal(), text, indent=2)
        text.write("\n")
        text.flush()
        os.fsync(file)


def _sync(folder: Path) -> None:
    """Bring a folder's entries to the disk, without which a rename may not outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[LocalKeyRing, bool] | None:
    """The ring in a file and whether it was complete, or None if there is no file."""
    try:
        with open(path, "rb", opener=_open_itself) as file:
            # Asked of the open file, not of its name, so that nobody can exchange it between question and reading.
            _refuse_unsafe(path, os.fstat(file.fileno()).st_mode)
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KeyRingError(f"Key ring {path} is a symbolic link.", advice="Name the file itself.") from None
        raise
    try:
        return _parse(content)
    except KeyRingError as error:
        raise KeyRingError(f"Key ring {path} is damaged: {error.message}.") from None


def _read_existing(path: Path) -> tuple[LocalKeyRing, bool]:
    found = _read(path)
    if found is None:
        raise KeyRingError(
            f"Key ring {path} is missing, and stored data needs it.",
            advice=f"Put the key ring back at {path}; without it no stored credential can be read.",
        )
    return found


def _open_itself(path: str, flags: int) -> int:
    """Open a file, but no symbolic link; without blocking, since a named pipe would wait for ever."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _refuse_unsafe(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise KeyRingError(f"Key ring {path} is not a file.")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyRingError(f"Key ring {path} is open to other users.", advice=f"Run: chmod 600 {path}")


def _parse(content: bytes) -> tuple[LocalKeyRing, bool]:
    """The ring in a file's content, with fresh keys for those that it lacks, and whether it lacked none; no message quotes any."""
    fields = _decode(content)
    if not isinstance(fields, dict):
        raise KeyRingError("it is not a JSON object with each field given once")
    lacking = _FIELDS - set(fields)
    if not (set(fields) <= _FIELDS and lacking <= _LATER):
        raise KeyRingError(f"its fields must be {', '.join(sorted(_FIELDS))}")
    if fields["format"] != FORMAT:
        raise KeyRingError(f"its format must be {FORMAT}")
    if not isinstance(fields["current"], str) or not isinstance(fields["keys"], dict):
        raise KeyRingError("`current` must be a name and `keys` an object")
    ring = LocalKeyRing(
        {key_id: _key(text) for key_id, text in fields["keys"].items()},
        current_id=fields["current"],
        **{name: os.urandom(KEY_BYTES) if name in lacking else _key(fields[name]) for name in SINGLE_KEYS},
    )
    return ring, not lacking


def _decode(content: bytes) -> object:
    """The JSON value, or None; the decoder's own errors carry the whole document, so none leaves this function."""
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; a name given twice is refused, for one of the two keys would be lost."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name is given twice")
    return fields


def _key(text: object) -> bytes:
    """The key in a base64 text; empty, and so refused, if it is not one."""
    try:
        return b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return b""
