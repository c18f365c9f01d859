"""Sealing: a credential goes in as bytes and comes out as bytes that only its own place can open.

Each call makes a random data key, encrypts the secret with it (AES-256-GCM) and has the key ring encrypt the data key.
Both ciphertexts are bound to the credential's `Place`, so that a row copied to another organization, connection, slot
or version does not open there. A key used once has no nonce to repeat, and a new key-encryption key needs only the data
key to be encrypted anew. A sealed credential describes itself:

    1 byte    format, 1
    4 + n     name of the key-encryption key, its length first (big-endian)
    4 + n     encrypted data key, its length first; its inside is the key ring's own matter
    12        nonce
    n + 16    ciphertext and tag
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tieline.errors import VaultError
from tieline.vault.keys import KEY_BYTES, NONCE_BYTES

if TYPE_CHECKING:
    from tieline.vault.keys import KeyRing

_FORMAT: Final = b"\x01"
_FINGERPRINT_DIGITS: Final = 8


@dataclass(frozen=True)
class Place:
    """Where a sealed credential belongs, and the only place where it opens. `version` is not negative."""

    org_id: str
    connection_id: str
    slot: str
    version: int


class Vault:
    """Seals and opens credentials under a key ring."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def seal(self, secret: bytes, place: Place) -> bytes:
        """Encrypt a secret for one place, differently each time; raises `VaultError`."""
        try:
            bound = _bind(place)
            data_key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
            key_id, wrapped = self._keys.wrap(data_key, bound)
            body = AESGCM(data_key).encrypt(nonce, secret, bound)
            return _FORMAT + _frame(key_id.encode(), wrapped) + nonce + body
        except Exception:  # noqa: BLE001  a key service fails in its own ways, and its words may hold a secret
            raise VaultError("Credential encryption failed") from None

    def open(self, sealed: bytes, place: Place) -> bytes:
        """Decrypt what `seal` made for this place; raises `VaultError`, the same one whatever is wrong."""
        try:
            bound = _bind(place)
            key_id, wrapped, nonce, body = _split(sealed)
            data_key = self._keys.unwrap(key_id, wrapped, bound)
            return AESGCM(data_key).decrypt(nonce, body, bound)
        except Exception:  # noqa: BLE001  which part was wrong would help whoever is guessing
            raise VaultError("Credential decryption failed") from None

    def fingerprint(self, secret: bytes, *, org_id: str) -> str:
        """Eight hex digits by which an organization recognises a secret.

        Keyed, since a weak password could be guessed from a bare hash; bound to the organization, so that equal secrets
        of two organizations do not look equal.
        """
        digest = hmac.digest(self._keys.fingerprint_key, _frame(org_id.encode(), secret), "sha256")
        return digest.hex()[:_FINGERPRINT_DIGITS]


def key_id_of(sealed: bytes) -> str:
    """The name of the key-encryption key that a sealed credential needs; not authenticated. Raises `VaultError`."""
    try:
        return _split(sealed)[0]
    except ValueError:
        raise VaultError("Credential decryption failed") from None


def _bind(place: Place) -> bytes:
    """The associated data of both ciphertexts; no two places encode alike."""
    names = (place.org_id, place.connection_id, place.slot)
    return _FORMAT + _frame(*(name.encode() for name in names)) + place.version.to_bytes(8, "big")


def _frame(*parts: bytes) -> bytes:
    """The parts, each after its length, so that no boundary between them can shift."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _split(sealed: bytes) -> tuple[str, bytes, bytes, bytes]:
    """Key name, encrypted data key, nonce and ciphertext; raises `ValueError` if it is not of our format."""
    if sealed[:1] != _FORMAT:
        raise ValueError("unknown format")
    key_id, rest = _take(sealed[1:])
    wrapped, rest = _take(rest)
    return key_id.decode(), wrapped, rest[:NONCE_BYTES], rest[NONCE_BYTES:]


def _take(framed: bytes) -> tuple[bytes, bytes]:
    """The first part of a frame and what follows; raises `ValueError` if it is cut short."""
    end = 4 + int.from_bytes(framed[:4], "big")
    if len(framed) < end:
        raise ValueError("cut short")
    return framed[4:end], framed[end:]
