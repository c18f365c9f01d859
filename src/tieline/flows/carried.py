"""What an attempt carries from its beginning to its end, sealed in between: the choices made, and the secrets of the present round."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any

import orjson

from tieline.errors import VaultError
from tieline.flows.parts import Parts
from tieline.store.attempts import Attempt
from tieline.store.types import Ciphertext
from tieline.vault import Place


@dataclass(frozen=True)
class Carried:
    """The connection's options and name, what a round before this one wants remembered, and this round's own secrets.

    `back` is where the person of a connect session comes back to; it holds what opens that session.
    """

    options: dict[str, Any]
    name: str | None
    memo: dict[str, str] = field(default_factory=dict)
    verifier: str = field(default="", repr=False)
    nonce: str = field(default="", repr=False)
    back: str | None = field(default=None, repr=False)

    @property
    def challenge(self) -> str:
        """The S256 code challenge of the verifier (RFC 7636, section 4.2)."""
        return urlsafe_b64encode(sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


def fresh_round(carried: Carried) -> Carried:
    """With the secrets of a new round: a verifier of 64 characters (RFC 7636 takes 43 to 128) and a nonce."""
    return replace(carried, verifier=secrets.token_urlsafe(48), nonce=secrets.token_urlsafe(24))


async def seal_carried(parts: Parts, org_id: str, attempt_id: str, carried: Carried) -> Ciphertext:
    """Seal it for its attempt; raises `VaultError`."""
    try:
        return Ciphertext(await parts.vault.seal(orjson.dumps(asdict(carried)), _place(org_id, attempt_id)))
    except VaultError:
        raise VaultError("Credential encryption failed") from None


async def open_carried(parts: Parts, attempt: Attempt) -> Carried:
    """What an attempt carries; raises `VaultError`."""
    plain = await parts.vault.open(attempt.sealed.sealed, _place(attempt.org_id, attempt.id))
    return Carried(**orjson.loads(plain))


def _place(org_id: str, attempt_id: str) -> Place:
    return Place(org_id, attempt_id, "attempt", 0)
