"""Vault or OpenBao: its transit engine encrypts the data keys, and never gives its own keys away.

A data key is bound to its place twice. The engine gets the place as the context from which it derives the key of this very
encryption, if the key was made with `derived=true`, as it should be. And the digest of the place is encrypted along with the data
key and compared afterwards, which holds for any key. (`associated_data` would be the natural way, but what was encrypted with it
cannot be re-wrapped.) The token needs `update` on `encrypt/<key>`, `decrypt/<key>` and `rewrap/<key>`, and should not have `create`:
with it, a misspelt key comes into being.

https://openbao.org/api-docs/secret/transit/
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, Literal

from tieline.vault.encryption import Bound, DataKey, KeyFailure, Wrapped, only
from tieline.vault.keys import KEY_BYTES
from tieline.vault.rest import PATIENCE, Rest

SCHEME: Final = "transit"
_BATCH: Final = 128  # OpenBao refuses a body of more than a thousand strings, of which an item has four
_TEXT: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/=]+", re.ASCII)


class TransitKeys:
    """A key of a transit engine, with all its versions. Its names are `transit:<mount>/<key>:v<version>`.

    `token` is asked anew for each request, so that an agent may renew what is in a file.
    """

    ids: list[str] = []  # noqa: RUF012  no key of it is here

    def __init__(
        self,
        address: str,
        mount: str,
        key: str,
        *,
        token: Callable[[], str],
        namespace: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._url = f"{address}/v1/{mount}"
        self._key = key
        self._name = f"{SCHEME}:{mount}/{key}"
        self._token = token
        self._namespace = namespace
        self._rest = Rest(patience=patience)

    def owns(self, key_id: str) -> bool:
        """Whether it is a version of this key."""
        return key_id.startswith(f"{self._name}:v")

    async def current(self) -> str:
        """The name of the version that encrypts now."""
        return only(await self.wrap([DataKey(os.urandom(KEY_BYTES), b"")])).key_id

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys under the newest version."""
        items = [
            {"plaintext": b64encode(one.key + _digest(one.aad)).decode(), "context": _context(one.aad)}
            for one in data_keys
        ]
        return [self._wrapped(outcome) for outcome in await self._ask("encrypt", items)]

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        """Decrypt data keys."""
        outcomes = await self._ask("decrypt", [self._item(one) for one in several])
        return [_opened(outcome, one.aad) for one, outcome in zip(several, outcomes, strict=True)]

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        """Have the engine encrypt data keys anew; they do not leave it."""
        return [self._wrapped(outcome) for outcome in await self._ask("rewrap", [self._item(one) for one in several])]

    async def close(self) -> None:
        """Give the connections back."""
        await self._rest.close()

    def _item(self, one: Bound) -> dict[str, str] | None:
        """What to ask for a wrapped key; `None` if it is not of the form or the version that its name says."""
        text = one.wrapped.text.decode("ascii", "replace")
        form = _TEXT.fullmatch(text)
        if not form or one.wrapped.key_id != f"{self._name}:v{form[1]}":
            return None
        return {"ciphertext": text, "context": _context(one.aad)}

    def _wrapped(self, outcome: Mapping[str, Any] | KeyFailure) -> Wrapped | KeyFailure:
        if isinstance(outcome, KeyFailure):
            return outcome
        text = str(outcome.get("ciphertext"))
        form = _TEXT.fullmatch(text)
        return Wrapped(f"{self._name}:v{form[1]}", text.encode()) if form else KeyFailure("unexpected")

    async def _ask(
        self, verb: Literal["encrypt", "decrypt", "rewrap"], items: Sequence[dict[str, str] | None]
    ) -> list[Mapping[str, Any] | KeyFailure]:
        """The engine's outcome for each item, in batches side by side; what is `None` was damaged before it was asked."""
        formed = [item for item in items if item is not None]
        chunks = [formed[start : start + _BATCH] for start in range(0, len(formed), _BATCH)]
        answered = await asyncio.gather(*(self._ask_batch(verb, chunk) for chunk in chunks))
        outcomes = iter([outcome for chunk in answered for outcome in chunk])
        return [KeyFailure("damaged") if item is None else next(outcomes) for item in items]

    async def _ask_batch(self, verb: str, items: list[dict[str, str]]) -> Sequence[Mapping[str, Any] | KeyFailure]:
        try:
            headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true"}
            if self._namespace:
                headers["X-Vault-Namespace"] = self._namespace
            url = f"{self._url}/{verb}/{self._key}"
            answer = await self._rest.ask("POST", url, json={"batch_input": items}, headers=headers)
        except KeyFailure as failure:
            return [failure] * len(items)
        data = answer.content.get("data")
        results = data.get("batch_results") if isinstance(data, dict) else None
        if not isinstance(results, list) or len(results) != len(items):  # no outcomes: a refusal of the whole
            told = str(answer.content.get("errors"))
            unknown = answer.status == 400 and "key not found" in told
            return [KeyFailure("missing") if unknown else answer.failure] * len(items)
        return [_outcome(result) for result in results]


def _outcome(result: Any) -> Mapping[str, Any] | KeyFailure:
    if not isinstance(result, dict):
        return KeyFailure("unexpected")
    if told := result.get("error"):
        return KeyFailure("disabled" if "disallowed by policy" in str(told) else "damaged")
    return result


def _opened(outcome: Mapping[str, Any] | KeyFailure, aad: bytes) -> bytes | KeyFailure:
    if isinstance(outcome, KeyFailure):
        return outcome
    try:
        plain = b64decode(str(outcome.get("plaintext")), validate=True)
    except ValueError:
        return KeyFailure("unexpected")
    if len(plain) != KEY_BYTES + 32 or not hmac.compare_digest(plain[KEY_BYTES:], _digest(aad)):
        return KeyFailure("damaged")
    return plain[:KEY_BYTES]


def _digest(aad: bytes) -> bytes:
    return sha256(aad).digest()


def _context(aad: bytes) -> str:
    return b64encode(_digest(aad)).decode()
