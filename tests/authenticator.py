"""An authenticator in software, written from the Web Authentication specification, that can also be made to do wrong.

`make` and `sign` take the options as our routes give them and return what our script sends; each keyword puts something wrong in
place of what a good authenticator, or a good browser around it, says.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40
GOOD = PRESENT | VERIFIED


def encode(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")


@dataclass
class Authenticator:
    """One passkey, on one device."""

    origin: str
    counter: int = 0
    counts: bool = True
    flags: int = GOOD
    handle: bytes = b""
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def make(self, options: dict[str, Any], **wrong: Any) -> str:
        """What a browser answers to `navigator.credentials.create()`."""
        self.handle = decode(options["user"]["id"])
        client_data = self._client_data("webauthn.create", options["challenge"], wrong)
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + self.public_key()
        told = self._told(wrong.get("rp_id", options["rp"]["id"]), wrong, ATTESTED) + attested
        statement = cbor2.dumps({"fmt": wrong.get("fmt", "none"), "attStmt": {}, "authData": told})
        response = {"attestationObject": encode(statement), "transports": ["internal", "hybrid"]}
        return self._answer(client_data, response)

    def sign(self, options: dict[str, Any], **wrong: Any) -> str:
        """What a browser answers to `navigator.credentials.get()`."""
        self.counter += self.counts
        client_data = self._client_data("webauthn.get", options["challenge"], wrong)
        told = self._told(wrong.get("rp_id", options["rpId"]), wrong)
        key = wrong.get("key", self.key)
        signature = key.sign(told + sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "authenticatorData": encode(wrong.get("told", told)),
            "signature": encode(wrong.get("signature", signature)),
            "userHandle": encode(wrong.get("handle", self.handle)),
        }
        return self._answer(client_data, response)

    def _client_data(self, kind: str, challenge: str, wrong: dict[str, Any]) -> bytes:
        told = {
            "type": wrong.get("type", kind),
            "challenge": wrong.get("challenge", challenge),
            "origin": wrong.get("origin", self.origin),
            "crossOrigin": wrong.get("cross_origin", False),
        }
        return json.dumps(told).encode()

    def _told(self, rp_id: str, wrong: dict[str, Any], more: int = 0) -> bytes:
        """Authenticator data: the hash of the relying party's id, flags, and the counter."""
        flags = wrong.get("flags", self.flags) | more
        counter = wrong.get("counter", self.counter)
        return sha256(rp_id.encode()).digest() + bytes([flags]) + int(counter).to_bytes(4, "big")

    def public_key(self) -> bytes:
        """In COSE: an elliptic curve key (2) for ES256 (-7) on P-256 (1)."""
        at = self.key.public_key().public_numbers()
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: at.x.to_bytes(32, "big"), -3: at.y.to_bytes(32, "big")})

    def _answer(self, client_data: bytes, response: dict[str, Any]) -> str:
        passkey = {"id": encode(self.credential_id), "rawId": encode(self.credential_id), "type": "public-key"}
        return json.dumps(passkey | {"response": response | {"clientDataJSON": encode(client_data)}})
