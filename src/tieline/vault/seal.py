"""Sealing: a secret goes in as bytes and comes out as bytes that only its own place can open.

Each call makes a random data key, encrypts the secret with it (AES-256-GCM) and has the key ring encrypt the data key.
Both ciphertexts are bound to the secret's `Place`, so that a row copied to another organization, owner, slot or version
does not open there. A key used once has no nonce to repeat, and a new key-encryption key needs only the data key to be
encrypted anew. What was sealed describes itself:

    1 byte    format, 1
    4 + n     name of the key-encryption key, its length first (big-endian)
    4 + n     encrypted data key, its length first; its inside is the key ring's own matter
    12        nonce
    n + 16    ciphertext and tag
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tieline.errors import VaultError
from tieline.telemetry import instruments, measured
from tieline.vault.encryption import Bound, DataKey, KeyFailure, Reason, Wrapped, only
from tieline.vault.keys import KEY_BYTES, NONCE_BYTES

if TYPE_CHECKING:
    from tieline.vault.encryption import KeyRing

_FORMAT: Final = b"\x01"
_FINGERPRINT_DIGITS: Final = 8
_log = logging.getLogger(__name__)

for _operation in sorted(instruments.VAULT.labels["operation"].values):
    for _outcome in ("ok", *get_args(Reason)):  # Prometheus does not see a series grow that begins with its first 1
        instruments.VAULT.add(0, operation=_operation, outcome=_outcome)


@dataclass(frozen=True)
class Place:
    """Where something sealed belongs, and the only place where it opens. `version` and `serial` are not negative."""

    org_id: str
    owner_id: str
    slot: str
    version: int
    serial: int = 0


class _Parts(NamedTuple):
    wrapped: Wrapped
    rest: bytes
    """Nonce and ciphertext, which a new key leaves as they are."""


class Vault:
    """Seals and opens secrets under a key ring.

    An error of its says no more than whether sealing or opening failed; why, in a word, is for the operator's log.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    async def seal(self, secret: bytes, place: Place) -> bytes:
        """Encrypt a secret for one place, differently each time; raises `VaultError`."""
        with _doing("seal", "Credential encryption failed"):
            bound = _bind(place)
            data_key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
            wrapped = only(await self._keys.wrap([DataKey(data_key, bound)]))
            return _join(wrapped, nonce + AESGCM(data_key).encrypt(nonce, secret, bound))

    async def open(self, sealed: bytes, place: Place) -> bytes:
        """Decrypt what `seal` made for this place; raises `VaultError`, the same one whatever is wrong."""
        with _doing("open", "Credential decryption failed"):
            bound = _bind(place)
            wrapped, rest = _split(sealed)
            data_key = only(await self._keys.unwrap([Bound(wrapped, bound)]))
            return AESGCM(data_key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], bound)

    async def rewrap(self, sealed: bytes, place: Place) -> bytes | None:
        """The same secret with its data key under the current key; `None` if it is already. Raises `VaultError`."""
        (outcome,) = await self.rewrap_many([(sealed, place)])
        if isinstance(outcome, VaultError):
            raise outcome
        return outcome

    async def rewrap_many(self, several: Sequence[tuple[bytes, Place]]) -> list[bytes | VaultError | None]:
        """`rewrap` for many at once: one outcome for each, in order; one that cannot be done does not stop the others.

        Raises `VaultError` if the current key cannot be used.
        """
        current = await self.current_key()
        outcomes: list[bytes | VaultError | None] = [None] * len(several)
        under_others: dict[int, tuple[Bound, bytes]] = {}
        for number, (sealed, place) in enumerate(several):
            try:
                wrapped, rest = _split(sealed)
                if wrapped.key_id != current:
                    under_others[number] = Bound(wrapped, _bind(place)), rest
            except (ValueError, OverflowError):
                outcomes[number] = VaultError("Credential decryption failed")
        anew = await self._rewrap([bound for bound, _ in under_others.values()])
        for (number, (_, rest)), wrapped_anew in zip(under_others.items(), anew, strict=True):
            if isinstance(wrapped_anew, KeyFailure):
                outcomes[number] = VaultError("Credential encryption failed")
            else:
                outcomes[number] = _join(wrapped_anew, rest)
        return outcomes

    async def _rewrap(self, several: list[Bound]) -> list[Wrapped | KeyFailure]:
        with _doing("rewrap", "Credential encryption failed"):
            outcomes = await self._keys.rewrap(several) if several else []
        for reason in {one.reason for one in outcomes if isinstance(one, KeyFailure)}:
            _explain(KeyFailure(reason))
        return outcomes

    async def current_key(self) -> str:
        """The name of the key that seals now, which is asked to work for it; raises `VaultError`."""
        with _doing("current", "Credential encryption failed"):
            return await self._keys.current()

    @property
    def local_keys(self) -> list[str]:
        """The names of the key-encryption keys in the key ring file, the oldest first."""
        return self._keys.ids

    def fingerprint(self, secret: bytes, *, org_id: str) -> str:
        """Eight hex digits by which an organization recognises a secret.

        Keyed, since a weak password could be guessed from a bare hash; bound to the organization, so that equal secrets
        of two organizations do not look equal.
        """
        digest = hmac.digest(self._keys.fingerprint_key, _frame(org_id.encode(), secret), "sha256")
        return digest.hex()[:_FINGERPRINT_DIGITS]


def key_id_of(sealed: bytes) -> str:
    """The name of the key-encryption key that something sealed needs; not authenticated. Raises `VaultError`."""
    try:
        return _split(sealed).wrapped.key_id
    except ValueError:
        raise VaultError("Credential decryption failed") from None


@contextmanager
def _doing(operation: str, failed: str) -> Iterator[None]:
    """Whatever goes wrong within is one `VaultError`: which part it was would help whoever is guessing.

    A key service fails in its own ways, and its words may hold a secret: only a reason in a word of ours is counted, traced and logged.
    """
    try:
        with measured(f"vault: {operation}", instruments.VAULT, timed=instruments.VAULT_SECONDS, operation=operation):
            yield
    except Exception as error:  # noqa: BLE001
        _explain(error)
        raise VaultError(failed) from None


def _explain(error: Exception) -> None:
    """Tell the operator why, in a word of ours; any other error by its type alone."""
    reason = error.reason if isinstance(error, KeyFailure) else type(error).__name__
    _log.warning("the vault could not do its work: %s", reason)


def _bind(place: Place) -> bytes:
    """The associated data of both ciphertexts; no two places encode alike."""
    names = (place.org_id, place.owner_id, place.slot)
    numbers = (place.version, place.serial)
    return _FORMAT + _frame(*(name.encode() for name in names)) + b"".join(one.to_bytes(8, "big") for one in numbers)


def _frame(*parts: bytes) -> bytes:
    """The parts, each after its length, so that no boundary between them can shift."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _join(wrapped: Wrapped, rest: bytes) -> bytes:
    return _FORMAT + _frame(wrapped.key_id.encode(), wrapped.text) + rest


def _split(sealed: bytes) -> _Parts:
    """The encrypted data key, and nonce with ciphertext; raises `ValueError` if it is not of our format."""
    if sealed[:1] != _FORMAT:
        raise ValueError("unknown format")
    key_id, rest = _take(sealed[1:])
    wrapped, rest = _take(rest)
    return _Parts(Wrapped(key_id.decode(), wrapped), rest)


def _take(framed: bytes) -> tuple[bytes, bytes]:
    """The first part of a frame and what follows; raises `ValueError` if it is cut short."""
    end = 4 + int.from_bytes(framed[:4], "big")
    if len(framed) < end:
        raise ValueError("cut short")
    return framed[4:end], framed[end:]
