"""The key ring: named keys that encrypt data keys, and single keys for hashing and signing.

It holds random keys and derives nothing: each key has one use, so that one which leaks says nothing of the others. Whoever has
the ring and a copy of the database can read every credential; whoever has lost it can read none. A key in the ring is never
replaced: rotation adds a key and makes it current, the older ones go on opening what they once sealed.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tieline.errors import KeyRingError
from tieline.ids import new_id
from tieline.vault.encryption import Bound, DataKey, KeyFailure, Wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # the size GCM is defined for (NIST SP 800-38D, 5.2.1.1)
FORMAT: Final = 1
FIRST_KEYS: Final = ("fingerprint_key", "api_key_pepper", "cursor_key")
SINGLE_KEYS: Final = (*FIRST_KEYS, "state_key", "audit_key", "checkpoint_key", "session_key")
"""A file of the first format has at least the first keys; those that came later are added to it when it is read."""


class LocalKeyRing:
    """A key ring in memory, with material of its own. It shows the names of its keys, never a key.

    Raises `KeyRingError` unless every key is 32 bytes, all are different and the current one is among them.
    """

    __slots__ = ("_keys", "current_id", *SINGLE_KEYS)

    def __init__(
        self,
        keys: Mapping[str, bytes],
        *,
        current_id: str,
        fingerprint_key: bytes,
        api_key_pepper: bytes,
        cursor_key: bytes,
        state_key: bytes,
        audit_key: bytes,
        checkpoint_key: bytes,
        session_key: bytes,
    ) -> None:
        self._keys: Final = dict(keys)
        self.current_id: Final = current_id
        self.fingerprint_key: Final = fingerprint_key
        self.api_key_pepper: Final = api_key_pepper
        self.cursor_key: Final = cursor_key
        self.state_key: Final = state_key
        self.audit_key: Final = audit_key
        self.checkpoint_key: Final = checkpoint_key
        self.session_key: Final = session_key
        material = [*self._keys.values(), *(getattr(self, name) for name in SINGLE_KEYS)]
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
            **{name: os.urandom(KEY_BYTES) for name in SINGLE_KEYS},
        )

    @property
    def ids(self) -> list[str]:
        """The names of the key-encryption keys, in the order in which they were added."""
        return list(self._keys)

    async def current(self) -> str:
        """The name of the current key."""
        return self.current_id

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys under the current key: a random nonce, then AES-256-GCM ciphertext and tag."""
        return [self._wrap(one) for one in data_keys]

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        """Decrypt data keys that `wrap` made."""
        return [self._unwrap(one) for one in several]

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys anew under the current key."""
        opened = [(one.aad, self._unwrap(one)) for one in several]
        return [key if isinstance(key, KeyFailure) else self._wrap(DataKey(key, aad)) for aad, key in opened]

    def _wrap(self, one: DataKey) -> Wrapped:
        nonce = os.urandom(NONCE_BYTES)
        text = AESGCM(self._keys[self.current_id]).encrypt(nonce, one.key, _bind(self.current_id, one.aad))
        return Wrapped(self.current_id, nonce + text)

    def _unwrap(self, one: Bound) -> bytes | KeyFailure:
        key_id, text = one.wrapped
        key = self._keys.get(key_id)
        if key is None:
            return KeyFailure("missing")
        try:
            return AESGCM(key).decrypt(text[:NONCE_BYTES], text[NONCE_BYTES:], _bind(key_id, one.aad))
        except (InvalidTag, ValueError):
            return KeyFailure("damaged")

    def plus(self, key_id: str, key: bytes) -> LocalKeyRing:
        """A ring like this one with one more key, which is current from now on."""
        return LocalKeyRing({**self._keys, key_id: key}, current_id=key_id, **self._singles())

    def minus(self, key_id: str) -> LocalKeyRing:
        """A ring like this one without a key; raises `KeyRingError` if it is the current one or not here."""
        if key_id not in self._keys:
            raise KeyRingError("The key ring has no such key.", advice="`tieline keys list` shows those it has.")
        if key_id == self.current_id:
            raise KeyRingError("The current key cannot be retired.", advice="Run: tieline keys rotate")
        kept = {name: key for name, key in self._keys.items() if name != key_id}
        return LocalKeyRing(kept, current_id=self.current_id, **self._singles())

    def _singles(self) -> dict[str, bytes]:
        return {name: getattr(self, name) for name in SINGLE_KEYS}

    def reveal(self) -> dict[str, Any]:
        """The content of the key file, material and all; for writing that file only."""
        return {
            "format": FORMAT,
            "current": self.current_id,
            "keys": {key_id: b64encode(key).decode() for key_id, key in self._keys.items()},
            **{name: b64encode(getattr(self, name)).decode() for name in SINGLE_KEYS},
        }

    def __repr__(self) -> str:
        return f"LocalKeyRing(ids={self.ids!r}, current_id={self.current_id!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key ring cannot be pickled or copied")


def with_new_key(ring: LocalKeyRing) -> LocalKeyRing:
    """The ring with a fresh current key; all the older keys stay, so that what they sealed can be opened."""
    return ring.plus(new_id("kek"), os.urandom(KEY_BYTES))


def _bind(key_id: str, aad: bytes) -> bytes:
    """The associated data of a wrapped key: the name of the key that wraps it, its length first, then the caller's."""
    name = key_id.encode()
    return len(name).to_bytes(4, "big") + name + aad
