"""A small Google Cloud KMS: one key with versions, checksums both ways, service accounts and a metadata server."""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import RSAKey
from tests.vault.faulty import Asked, Said, say

from tieline.vault.crc32c import crc32c

KEY = "projects/acme-test/locations/europe-west3/keyRings/tieline/cryptoKeys/credentials"
EMAIL = "tieline@acme-test.iam.gserviceaccount.example"


@dataclass
class Google:
    """The state: versions of the key by number, those that are disabled, and the tokens that were given."""

    url: str = ""
    versions: dict[int, bytes] = field(default_factory=lambda: {1: os.urandom(32)})
    disabled: set[int] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    signer: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    lifetime: int = 3600

    def rotate(self) -> None:
        self.versions[max(self.versions) + 1] = os.urandom(32)

    def key_file(self) -> dict[str, str]:
        """The file that Google gives for a service account."""
        pem = self.signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return {
            "type": "service_account", "client_email": EMAIL, "private_key_id": "k1", "private_key": pem,
            "token_uri": f"{self.url}/token",
        }  # fmt: skip

    def answer(self, asked: Asked) -> Said:
        """Play the servers."""
        if asked.path.startswith("/computeMetadata/"):
            return self._give_token() if asked.headers.get("Metadata-Flavor") == "Google" else say(403, {})
        if asked.path == "/token":
            return self._exchange(asked)
        token = asked.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            return _error(401, "UNAUTHENTICATED")
        key, _, verb = asked.path.removeprefix("/v1/").partition(":")
        if key != KEY:
            return _error(404, "NOT_FOUND")
        given: dict[str, str] = json.loads(asked.body)
        return self._encrypt(given) if verb == "encrypt" else self._decrypt(given)

    def _encrypt(self, given: dict[str, str]) -> Said:
        plain, aad = _checked(given, "plaintext"), _checked(given, "additionalAuthenticatedData")
        number = max(self.versions)
        if plain is None or aad is None:
            return _error(400, "INVALID_ARGUMENT")
        if number in self.disabled:
            return _error(400, "FAILED_PRECONDITION")
        nonce = os.urandom(12)
        text = bytes([number]) + nonce + AESGCM(self.versions[number]).encrypt(nonce, plain, aad)
        return say(
            200,
            {
                "name": f"{KEY}/cryptoKeyVersions/{number}",
                "ciphertext": b64encode(text).decode(),
                "ciphertextCrc32c": str(crc32c(text)),
                "verifiedPlaintextCrc32c": True,
                "verifiedAdditionalAuthenticatedDataCrc32c": True,
            },
        )

    def _decrypt(self, given: dict[str, str]) -> Said:
        text, aad = _checked(given, "ciphertext"), _checked(given, "additionalAuthenticatedData")
        if not text or aad is None or text[0] not in self.versions:
            return _error(400, "INVALID_ARGUMENT")
        if text[0] in self.disabled:
            return _error(400, "FAILED_PRECONDITION")
        try:
            plain = AESGCM(self.versions[text[0]]).decrypt(text[1:13], text[13:], aad)
        except (InvalidTag, ValueError):
            return _error(400, "INVALID_ARGUMENT")
        primary = text[0] == max(self.versions)
        told = {"plaintext": b64encode(plain).decode(), "plaintextCrc32c": str(crc32c(plain)), "usedPrimary": primary}
        return say(200, told)

    def _exchange(self, asked: Asked) -> Said:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        key = RSAKey.import_key(self.key_file()["private_key"])
        claims = jwt.decode(form["assertion"], key, algorithms=["RS256"]).claims
        scope = "https://www.googleapis.com/auth/cloudkms"
        good = claims["iss"] == EMAIL and claims["aud"] == f"{self.url}/token" and claims["scope"] == scope
        bearer = form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return self._give_token() if good and bearer else say(400, {"error": "invalid_grant"})

    def _give_token(self) -> Said:
        token = os.urandom(16).hex()
        self.tokens.add(token)
        return say(200, {"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"})


def _checked(given: dict[str, str], name: str) -> bytes | None:
    value = b64decode(given[name])
    return value if given[f"{name}Crc32c"] == str(crc32c(value)) else None


def _error(status: int, word: str) -> Said:
    told: dict[str, Any] = {"code": status, "status": word, "message": "no"}
    return say(status, {"error": told})
