"""A short-lived JWT that a stored key signs, and that is the token itself: no token endpoint is asked (RFC 7519)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import Field, SecretStr

from tieline.sdk.auth.assertion import sign_jwt, times
from tieline.sdk.auth.bearer import Bearer
from tieline.sdk.auth.credential import Credential, Token
from tieline.sdk.auth.kinds import AuthContext
from tieline.sdk.auth.token_endpoint import fill


class SigningKey(Credential):
    """A private key, or a shared secret, and by which name the provider knows it."""

    private_key: SecretStr = Field(
        min_length=1, max_length=20_000, title="Private key", json_schema_extra={"multiline": True}
    )
    key_id: str | None = Field(None, max_length=500, title="Key ID")


@dataclass(frozen=True, kw_only=True)
class Jwt(Bearer):
    """A JWT of the declared claims, signed by the credential's `private_key`, with `key_id` as `kid` if there is one.

    The values of `claims` and `headers` are templates over the credential's fields that are not secret, and over the context's
    places. The algorithm follows from the key, except for a shared secret (`HS256`). `model` is for more fields.

        Jwt(claims={"iss": "{issuer_id}", "aud": "example-v1"}, model=IssuerKey, lifetime=600)
    """

    claims: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    algorithm: str | None = None
    lifetime: int = 300
    model: type[Credential] = SigningKey
    slot: str = "jwt"
    kind: str = "jwt"

    @property
    def credential(self) -> type[Credential]:
        """The declared model."""
        return self.model

    async def mint(self, ctx: AuthContext, credential: Any) -> Token:
        """The next JWT; raises `Invalid` if the key cannot be read."""
        now, lifetime = ctx.clock.now(), timedelta(seconds=self.lifetime)
        open_fields = {name: value for name, value in credential if isinstance(value, str)}
        places = {**ctx.places, **open_fields}
        key_id = {"kid": open_fields["key_id"]} if open_fields.get("key_id") else {}
        token = sign_jwt(
            credential.private_key.get_secret_value(),
            {**fill(self.claims, places), **times(now, lifetime)},
            headers={**fill(self.headers, places), **key_id},
            algorithm=self.algorithm,
        )
        return Token(access_token=SecretStr(token), expires_at=now + lifetime)
