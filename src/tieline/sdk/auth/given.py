"""The kinds of auth whose credential a person gives as it is: keys, tokens, passwords, and fields of a provider's own."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from pydantic import Field, SecretStr, create_model

from tieline.sdk.auth.credential import Credential


@dataclass(frozen=True)
class ApiKey:
    """One key in a header, after an optional prefix (`SSWS `), or in a query parameter."""

    header: str | None = None
    query: str | None = None
    prefix: str = ""
    field: str = "api_key"
    pattern: str | None = None
    example: str | None = None
    help: str = ""
    kind: str = "api_key"
    slot: str = "api_key"

    @property
    def credential(self) -> type[Credential]:
        """A model with the one secret field."""
        return _single(self.field, self.pattern, self.example, self.help)

    def sign(self, request: httpx2.Request, credential: Any) -> None:
        """Put the key in its header or query parameter."""
        value = self.prefix + getattr(credential, self.field).get_secret_value()
        if self.header:
            request.headers[self.header] = value
        if self.query:
            request.url = request.url.copy_set_param(self.query, value)


def PersonalToken(  # noqa: N802  reads as the kind of auth that it is
    *,
    field: str = "token",
    pattern: str | None = None,
    example: str | None = None,
    help: str = "",
    slot: str = "token",
    prefix: str = "Bearer ",
) -> ApiKey:
    """A token that a person made for themselves, sent as a bearer token (RFC 6750)."""
    return ApiKey(
        header="Authorization",
        prefix=prefix,
        field=field,
        pattern=pattern,
        example=example,
        help=help,
        kind="token",
        slot=slot,
    )


@dataclass(frozen=True)
class Basic:
    """User name and password (RFC 7617)."""

    help: str = ""
    kind: str = "basic"
    slot: str = "basic"

    @property
    def credential(self) -> type[Credential]:
        """A model of `username` and `password`."""
        return _Basic

    def sign(self, request: httpx2.Request, credential: Any) -> None:
        """Put both in the Authorization header."""
        request.headers["Authorization"] = f"Basic {_pack(credential)}"


class _Basic(Credential):
    username: str = Field(min_length=1, max_length=500, title="User name")
    password: SecretStr = Field(min_length=1, max_length=5_000, title="Password")

    def secrets(self) -> list[str]:
        return [*super().secrets(), _pack(self)]


def _pack(credential: _Basic) -> str:
    """Both, as they stand in the header."""
    pair = f"{credential.username}:{credential.password.get_secret_value()}"
    return base64.b64encode(pair.encode()).decode()


def _unsigned(_request: httpx2.Request, _credential: Any) -> None:
    """A vendor's SDK signs its own requests."""


@dataclass(frozen=True)
class Custom:
    """Several fields, declared as a `Credential` model, for APIs with a way of their own."""

    credential: type[Credential]
    apply: Callable[[httpx2.Request, Any], None] = field(default=_unsigned, repr=False)
    help: str = ""
    kind: str = "custom"
    slot: str = "custom"

    def sign(self, request: httpx2.Request, credential: Any) -> None:
        """Hand the request to the declared function."""
        self.apply(request, credential)


def _single(name: str, pattern: str | None, example: str | None, help: str) -> type[Credential]:
    extra: dict[str, Any] = {"pattern": pattern} if pattern else {}
    definition = Field(
        min_length=1,
        max_length=20_000,
        title=name.replace("_", " ").capitalize(),
        description=help or None,
        examples=[example] if example else None,
        json_schema_extra=extra,
    )
    return create_model("SingleSecret", __base__=Credential, **{name: (SecretStr, definition)})  # type: ignore[call-overload, no-any-return]  # pydantic types no computed field names
