"""Google Cloud KMS, by its REST API: encrypt and decrypt, with additional authenticated data and CRC32C both ways.

The service account needs `cloudkms.cryptoKeyVersions.useToEncrypt` and `useToDecrypt` on the key. Its access token comes from a key
file, or from the metadata server of the machine that Tieline runs on. Google names the version that encrypted, but not the one that
decrypted; so that the name which is stored cannot be changed, it is authenticated by the data key itself:

    16        HMAC-SHA-256 of the name under the data key, cut
    n         Google's ciphertext

https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys
"""

from __future__ import annotations

import asyncio
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from tieline.vault.crc32c import crc32c
from tieline.vault.encryption import Bound, DataKey, KeyFailure, Wrapped, carry_over, only
from tieline.vault.gcp_token import AccessTokens
from tieline.vault.keys import KEY_BYTES
from tieline.vault.rest import Answer, Rest

SCHEME: Final = "gcp-kms"
ENDPOINT: Final = "https://cloudkms.googleapis.com"
_TAG_BYTES: Final = 16
_AT_ONCE: Final = 32


class GcpKeys:
    """A key with all its versions. Their names are `gcp-kms:projects/…/cryptoKeys/…/cryptoKeyVersions/…`."""

    ids: list[str] = []  # noqa: RUF012  no key of it is here

    def __init__(self, key: str, *, tokens: AccessTokens, rest: Rest, endpoint: str = ENDPOINT) -> None:
        self._url = f"{endpoint}/v1/{key}"
        self._versions = f"{key}/cryptoKeyVersions/"
        self._tokens = tokens
        self._rest = rest
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def owns(self, key_id: str) -> bool:
        """Whether it is a version of this key."""
        return key_id.startswith(f"{SCHEME}:{self._versions}")

    async def current(self) -> str:
        """The name of the primary version."""
        return only(await self.wrap([DataKey(os.urandom(KEY_BYTES), b"")])).key_id

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys under the primary version."""
        return await asyncio.gather(*(self._wrap(one) for one in data_keys))

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        """Decrypt data keys."""
        return await asyncio.gather(*(self._unwrap(one) for one in several))

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        """Decrypt and encrypt anew: Google has no call that does both."""
        return await carry_over(several, old=self, new=self)

    async def close(self) -> None:
        """Give the connections back."""
        await self._rest.close()

    async def _wrap(self, one: DataKey) -> Wrapped | KeyFailure:
        digest = sha256(one.aad).digest()
        asked = {
            "plaintext": _text(one.key),
            "plaintextCrc32c": str(crc32c(one.key)),
            "additionalAuthenticatedData": _text(digest),
            "additionalAuthenticatedDataCrc32c": str(crc32c(digest)),
        }
        answer = await self._ask("encrypt", asked)
        if isinstance(answer, KeyFailure):
            return answer
        verified = answer.get("verifiedPlaintextCrc32c"), answer.get("verifiedAdditionalAuthenticatedDataCrc32c")
        version, text = str(answer.get("name")), _checked(answer, "ciphertext")
        if verified != (True, True) or text is None or not version.startswith(self._versions):
            return KeyFailure("unexpected")
        key_id = f"{SCHEME}:{version}"
        return Wrapped(key_id, _tag(one.key, key_id) + text)

    async def _unwrap(self, one: Bound) -> bytes | KeyFailure:
        digest = sha256(one.aad).digest()
        tag, text = one.wrapped.text[:_TAG_BYTES], one.wrapped.text[_TAG_BYTES:]
        asked = {
            "ciphertext": _text(text),
            "ciphertextCrc32c": str(crc32c(text)),
            "additionalAuthenticatedData": _text(digest),
            "additionalAuthenticatedDataCrc32c": str(crc32c(digest)),
        }
        answer = await self._ask("decrypt", asked)
        if isinstance(answer, KeyFailure):
            return KeyFailure("damaged") if answer.reason == "unexpected" else answer
        key = _checked(answer, "plaintext")
        if key is None or len(key) != KEY_BYTES:
            return KeyFailure("unexpected")
        return key if hmac.compare_digest(tag, _tag(key, one.wrapped.key_id)) else KeyFailure("damaged")

    async def _ask(self, verb: str, asked: Mapping[str, str]) -> Mapping[str, Any] | KeyFailure:
        try:
            async with self._turns:
                token = await self._tokens.get()
                headers = {"Authorization": f"Bearer {token}"}
                answer = await self._rest.ask("POST", f"{self._url}:{verb}", json=asked, headers=headers)
        except KeyFailure as failure:
            return failure
        return answer.content if answer.status == 200 else _refusal(answer)


def _refusal(answer: Answer) -> KeyFailure:
    error = answer.content.get("error")
    told = error.get("status") if isinstance(error, dict) else None
    if told == "FAILED_PRECONDITION":  # the version is disabled or destroyed
        return KeyFailure("disabled")
    return KeyFailure("damaged") if told == "INVALID_ARGUMENT" else answer.failure


def _checked(answer: Mapping[str, Any], name: str) -> bytes | None:
    """The bytes of a field, if they arrived as they were sent."""
    try:
        value = b64decode(str(answer.get(name)), validate=True)
    except ValueError:
        return None
    return value if str(answer.get(f"{name}Crc32c")) == str(crc32c(value)) else None


def _tag(key: bytes, key_id: str) -> bytes:
    return hmac.digest(key, key_id.encode(), "sha256")[:_TAG_BYTES]


def _text(value: bytes) -> str:
    return b64encode(value).decode()
