"""A robot's account whose key signs a request for tokens, itself or in a person's name (RFC 7523, as Google uses it)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import Field, SecretStr

from tieline.errors import Invalid
from tieline.sdk.auth.assertion import sign_jwt, times
from tieline.sdk.auth.bearer import Bearer
from tieline.sdk.auth.credential import Credential, Grant
from tieline.sdk.auth.kinds import AuthContext
from tieline.sdk.auth.token_answer import DEAD, Reading
from tieline.sdk.auth.token_endpoint import TokenEndpoint, fill

_LIFETIME = timedelta(hours=1)  # the most that is allowed


class ServiceAccountKey(Credential):
    """A key file, as text, and for whom its account stands in."""

    key: SecretStr = Field(
        min_length=1,
        max_length=20_000,
        title="Key file",
        description="The whole JSON file",
        json_schema_extra={"multiline": True},
    )
    subject: str | None = Field(
        None,
        max_length=320,
        title="Acts for",
        description="The e-mail address of the administrator in whose name it reads",
        examples=["admin@example.com"],
    )

    def secrets(self) -> list[str]:
        """The file, and the key in it as it stands there and as it is meant."""
        try:
            inside = json.loads(self.key.get_secret_value()).get("private_key")
        except (ValueError, AttributeError):
            inside = None
        return [*super().secrets(), *([inside] if isinstance(inside, str) else [])]


@dataclass(frozen=True, kw_only=True)
class ServiceAccount(Bearer):
    """A key file is exchanged for tokens of an hour. Where to is declared here: what the file itself names is not trusted."""

    token_url: str
    scopes: tuple[str, ...]
    slot: str = "service_account"
    kind: str = "service_account"

    @property
    def credential(self) -> type[Credential]:
        """`key` and, perhaps, `subject`."""
        return ServiceAccountKey

    async def mint(self, ctx: AuthContext, credential: ServiceAccountKey) -> Grant:
        """A token; raises `Invalid` if the key is no such file, `Forbidden` if the subject may not be stood in for."""
        key = read_key(credential.key.get_secret_value())
        claims: dict[str, Any] = {
            "iss": key["client_email"],
            "scope": fill({"scope": " ".join(self.scopes)}, ctx.places)["scope"],
            "aud": ctx.url(self.token_url),
            **times(ctx.clock.now(), _LIFETIME),
        }
        if credential.subject:
            claims["sub"] = credential.subject
        headers = {"kid": key["private_key_id"]} if key.get("private_key_id") else {}
        assertion = sign_jwt(key["private_key"], claims, headers=headers, algorithm="RS256")
        fields = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        # An unknown account or key is `invalid_grant` or `invalid_client`; `unauthorized_client` is about the subject.
        reading = Reading(dead=DEAD | {"invalid_client"}, app_refused=frozenset())
        return await TokenEndpoint(self.token_url, reading=reading).grant(ctx, None, fields)


def read_key(text: str) -> dict[str, str]:
    """The fields of a key file; raises `Invalid` that says what is wrong with it, never what is in it."""
    try:
        told = json.loads(text)
    except ValueError:
        raise _wrong("The key is not JSON") from None
    if not isinstance(told, dict) or told.get("type") != "service_account":
        raise _wrong("The key is not that of a service account")
    for name in ("client_email", "private_key"):
        if not isinstance(told.get(name), str) or not told[name]:
            raise _wrong(f"The key has no {name}")
    return {name: value for name, value in told.items() if isinstance(value, str)}


def _wrong(message: str) -> Invalid:
    return Invalid(message, advice="Paste the whole JSON file that was downloaded when the key was made.")
