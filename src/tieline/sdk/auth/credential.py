"""What a slot holds, what is made from it for a while, and the app by which Tieline is known at a provider."""

from __future__ import annotations

import re
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Credential(BaseModel):
    """What a slot holds: a frozen model that refuses unknown fields; mark every secret field as `SecretStr`."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)

    def secrets(self) -> list[str]:
        """The plain secret values, for redaction only."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


class ShortLived(Credential):
    """What a credential is exchanged for and requests are signed with, until `expires_at` (aware; `None`: not told)."""

    expires_at: datetime | None = None


class Token(ShortLived):
    """A bearer token (RFC 6750)."""

    access_token: SecretStr


class Grant(Token):
    """What a person granted by OAuth: the access token, and the refresh token that gets the next one.

    `scopes` are those granted, `None` when the provider does not tell. `details` holds what else the token answer told and the
    provider's declaration keeps; nothing secret.
    """

    refresh_token: SecretStr | None = None
    scopes: tuple[str, ...] | None = None
    obtained_at: datetime | None = None
    details: dict[str, str] = Field(default_factory=dict)


class OAuthApp(Credential):
    """The app by which Tieline is known at a provider: an OAuth client, a GitHub App, or an operator's cloud principal.

    Which fields are needed is said by each kind of auth. `private_key` is PEM. `app_id` and `slug` are a GitHub App's.
    """

    client_id: str = Field(min_length=1, max_length=500)
    client_secret: SecretStr | None = Field(default=None, max_length=5_000)
    private_key: SecretStr | None = Field(default=None, max_length=20_000)
    key_id: str | None = Field(default=None, max_length=500)
    app_id: str | None = Field(default=None, max_length=100)
    slug: str | None = Field(default=None, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")


def malformed_fields(credential: BaseModel) -> list[str]:
    """Names of the fields whose value lacks the form that its provider's keys have."""
    wrong = []
    for name, definition in type(credential).model_fields.items():
        extra = definition.json_schema_extra
        pattern = extra.get("pattern") if isinstance(extra, dict) else None
        lines = isinstance(extra, dict) and extra.get("multiline")
        value = getattr(credential, name)
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(plain, str):
            continue
        shown = plain.replace("\n", "").replace("\r", "").replace("\t", "") if lines else plain
        if not shown.isprintable() or (pattern and not re.fullmatch(str(pattern), plain)):
            wrong.append(name)
    return wrong
