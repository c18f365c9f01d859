"""The key ring: named keys that encrypt data keys, and three single keys for hashing and signing.

The ring of a self-hosted installation is one JSON file that only its owner may read. It holds random keys and derives
nothing: each key has one use, so that one which leaks says nothing of the others. Whoever has the file and a copy of
the database can read every credential; whoever has lost it can read none. A key in the ring is never replaced: rotation
adds a key and makes it current, the older ones go on opening what they once sealed.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tieline.errors import KeyRingError
from tieline.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # the size GCM is defined for (NIST SP 800-38D, 5.2.1.1)
_FORMAT: Final = 1
_SINGLE_KEYS: Final = ("fingerprint_key", "api_key_pepper", "cursor_key")
_FIELDS: Final = {"format", "current", "keys", *_SINGLE_KEYS}


class KeyEncryption(Protocol):
    """Encrypts data keys under named keys; what a cloud key service can do without giving its keys away."""

    @property
    def current_id(self) -> str:
        """The name of the key that `wrap` uses now."""
        ...

    def wrap(self, data_key: bytes, aad: bytes) -> tuple[str, bytes]:
        """Encrypt a data key, bound to `aad` and to the key's own name; answers that name and the ciphertext."""
        ...

    def unwrap(self, key_id: str, wrapped: bytes, aad: bytes) -> bytes:
        """Decrypt a data key; raises `KeyRingError` if the name, the ciphertext or `aad` is not that of `wrap`."""
        ...


class KeyRing(KeyEncryption, Protocol):
    """All that the vault needs: key encryption, and a key for fingerprints."""

    @property
    def fingerprint_key(self) -> bytes:
        """32 bytes, used for fingerprints of secrets and nothing else."""
        ...


class LocalKeyRing:
    """A key ring in memory, with material of its own. It shows the names of its keys, never a key.

    Raises `KeyRingError` unless every key is 32 bytes, all are different and the current one is among them.
    """

    __slots__ = ("_keys", "api_key_pepper", "current_id", "cursor_key", "fingerprint_key")

    def __init__(
        self,
        keys: Mapping[str, bytes],
        *,
        current_id: str,
        fingerprint_key: bytes,
        api_key_pepper: bytes,
        cursor_key: bytes,
    ) -> None:
        self._keys: Final = dict(keys)
        self.current_id: Final = current_id
        self.fingerprint_key: Final = fingerprint_key
        self.api_key_pepper: Final = api_key_pepper
        self.cursor_key: Final = cursor_key
        material = [*self._keys.values(), fingerprint_key, api_key_pepper, cursor_key]
        if any(len(key) != KEY_BYTES for key in material):
            raise KeyRingError(f"every key must be {KEY_BYTES} bytes long")
        if len(set(material)) != len(material):
            raise KeyRingError("two of its keys are equal; each must be different")
        if current_id not in self._keys:
            raise KeyRingError("the current key is not among its keys")

    @classmethod
    def generate(cls) -> LocalKeyRing:
        """A ring of fresh random keys, one of them current."""
        key_id = new_id("kek")
        return cls(
            {key_id: os.urandom(KEY_BYTES)},
            current_id=key_id,
            fingerprint_key=os.urandom(KEY_BYTES),
            api_key_pepper=os.urandom(KEY_BYTES),
            cursor_key=os.urandom(KEY_BYTES),
        )

    @property
    def ids(self) -> list[str]:
        """The names of the key-encryption keys, in the order in which they were added."""
        return list(self._keys)

    def wrap(self, data_key: bytes, aad: bytes) -> tuple[str, bytes]:
        """Encrypt a data key under the current key: a random nonce, then AES-256-GCM ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        kek = AESGCM(self._keys[self.current_id])
        return self.current_id, nonce + kek.encrypt(nonce, data_key, _bind(self.current_id, aad))

    def unwrap(self, key_id: str, wrapped: bytes, aad: bytes) -> bytes:
        """Decrypt a data key that `wrap` made."""
        key = self._keys.get(key_id)
        if key is None:
            raise KeyRingError("the key ring lacks a key that stored data needs")
        try:
            return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bind(key_id, aad))
        except (InvalidTag, ValueError):
            raise KeyRingError("the data key cannot be decrypted") from None

    def plus(self, key_id: str, key: bytes) -> LocalKeyRing:
        """A ring like this one with one more key, which is current from now on."""
        singles = {name: getattr(self, name) for name in _SINGLE_KEYS}
        return LocalKeyRing({**self._keys, key_id: key}, current_id=key_id, **singles)

    def reveal(self) -> dict[str, Any]:
        """The content of the key file, material and all; for writing that file only."""
        return {
            "format": _FORMAT,
            "current": self.current_id,
            "keys": {key_id: b64encode(key).decode() for key_id, key in self._keys.items()},
            **{name: b64encode(getattr(self, name)).decode() for name in _SINGLE_KEYS},
        }

    def __repr__(self) -> str:
        return f"LocalKeyRing(ids={self.ids!r}, current_id={self.current_id!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key ring cannot be pickled or copied")


class KeyRingFile:
    """The key ring in a file, read again when something was sealed under a key that another process has added since."""

    def __init__(self, path: Path, ring: LocalKeyRing) -> None:
        self._path = path
        self._ring = ring

    @property
    def current_id(self) -> str:
        return self._ring.current_id

    @property
    def fingerprint_key(self) -> bytes:
        return self._ring.fingerprint_key

    def wrap(self, data_key: bytes, aad: bytes) -> tuple[str, bytes]:
        """Encrypt a data key under the current key."""
        return self._ring.wrap(data_key, aad)

    def unwrap(self, key_id: str, wrapped: bytes, aad: bytes) -> bytes:
        """Decrypt a data key that `wrap` made, here or in another process."""
        if key_id not in self._ring.ids:
            self._ring = load_or_create(self._path, may_create=False)
        return self._ring.unwrap(key_id, wrapped, aad)


def load_or_create(path: Path, *, may_create: bool) -> LocalKeyRing:
    """Read the key ring; if it is missing and `may_create`, make it first, with owner-only permissions.

    Any number of processes may come here at once for the first time: one makes the ring and all get that one. Pass
    `may_create=False` as soon as anything is stored: a new ring could read nothing of it. Raises `KeyRingError`.
    """
    try:
        ring = _read(path)
        if ring is None and may_create:
            _create(path)
            ring = _read(path)
    except OSError as error:
        raise KeyRingError(f"Key ring {path} cannot be read or written: {error.strerror}.") from None
    if ring is None:
        raise _missing(path)
    return ring


def with_new_key(ring: LocalKeyRing) -> LocalKeyRing:
    """The ring with a fresh current key; all the older keys stay, so that what they sealed can be opened."""
    return ring.plus(new_id("kek"), os.urandom(KEY_BYTES))


def save(ring: LocalKeyRing, path: Path) -> None:
    """Replace the key file, whole or not at all.

    Raises `KeyRingError` if there is no file, if it holds a key that `ring` lacks (someone else has rotated in
    between), or if another `save` is under way: the new file, whose name ends in `.new`, is its lock.
    """
    new = path.with_name(path.name + ".new")
    try:
        _write(new, ring)
        try:
            _refuse_loss(ring, path)
            new.rename(path)
        except BaseException:
            # Not in a `finally`: once renamed, the name is free, and a file of that name another process's.
            new.unlink()
            raise
        _sync(path.parent)
    except FileExistsError:
        raise KeyRingError(
            f"Key ring {path} is being replaced by another process.",
            advice=f"Try again; if no other process is at work, one was cut short: delete {new}.",
        ) from None
    except OSError as error:
        raise KeyRingError(f"Key ring {path} cannot be replaced: {error.strerror}.") from None


def _bind(key_id: str, aad: bytes) -> bytes:
    """The associated data of a wrapped key: the name of the key that wraps it, its length first, then the caller's."""
    name = key_id.encode()
    return len(name).to_bytes(4, "big") + name + aad


def _create(path: Path) -> None:
    """Write a fresh ring, unless another process was faster."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        _write(draft, LocalKeyRing.generate())
        # Unlike a rename, a link never replaces: the first process wins, and nobody ever sees half a file.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync(path.parent)


def _write(path: Path, ring: LocalKeyRing) -> None:
    """Write a new file, owner-only from its first moment, down to the disk; raises `FileExistsError`."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "w", encoding="utf-8") as text:
            json.dump(ring.reveal(), text, indent=2)
            text.write("\n")
            text.flush()
            os.fsync(file)
    except OSError:
        path.unlink()
        raise


def _sync(folder: Path) -> None:
    """Bring a folder's entries to the disk, without which a rename may not outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> LocalKeyRing | None:
    """The ring in a file, or None if there is no file."""
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


def _open_itself(path: str, flags: int) -> int:
    """Open a file, but no symbolic link; without blocking, since a named pipe would wait for ever."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _refuse_unsafe(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise KeyRingError(f"Key ring {path} is not a file.")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyRingError(f"Key ring {path} is open to other users.", advice=f"Run: chmod 600 {path}")


def _missing(path: Path) -> KeyRingError:
    return KeyRingError(
        f"Key ring {path} is missing, and stored data needs it.",
        advice=f"Put the key ring back at {path}; without it no stored credential can be read.",
    )


def _parse(content: bytes) -> LocalKeyRing:
    """The ring in a file's content; no message quotes any of it."""
    fields = _decode(content)
    if not isinstance(fields, dict):
        raise KeyRingError("it is not a JSON object with each field given once")
    if set(fields) != _FIELDS:
        raise KeyRingError(f"its fields must be {', '.join(sorted(_FIELDS))}")
    if fields["format"] != _FORMAT:
        raise KeyRingError(f"its format must be {_FORMAT}")
    if not isinstance(fields["current"], str) or not isinstance(fields["keys"], dict):
        raise KeyRingError("`current` must be a name and `keys` an object")
    return LocalKeyRing(
        {key_id: _key(text) for key_id, text in fields["keys"].items()},
        current_id=fields["current"],
        **{name: _key(fields[name]) for name in _SINGLE_KEYS},
    )


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


def _refuse_loss(ring: LocalKeyRing, path: Path) -> None:
    """Refuse a ring that lacks or alters anything that the file has."""
    former = _read(path)
    if former is None:
        raise _missing(path)
    now, before = ring.reveal(), former.reveal()
    if not now["keys"].items() >= before["keys"].items() or any(now[name] != before[name] for name in _SINGLE_KEYS):
        raise KeyRingError(f"Key ring {path} holds a key that would be lost.", advice="Load it anew and try again.")
