"""The client credentials grant: an app of the customer's own asks for itself, without a person (RFC 6749, section 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field, SecretStr

from tieline.sdk.auth.bearer import Bearer
from tieline.sdk.auth.client_auth import ClientAuth
from tieline.sdk.auth.credential import Credential, Grant, OAuthApp
from tieline.sdk.auth.kinds import AuthContext
from tieline.sdk.auth.token_answer import APP_REFUSED, DEAD, Reading
from tieline.sdk.auth.token_endpoint import TokenEndpoint, fill


class ClientSecret(Credential):
    """An app's id and secret."""

    client_id: str = Field(min_length=1, max_length=500, title="Client ID")
    client_secret: SecretStr = Field(min_length=1, max_length=5_000, title="Client secret")


class ClientKey(Credential):
    """An app's id and the private key whose public half the provider knows."""

    client_id: str = Field(min_length=1, max_length=500, title="Client ID")
    private_key: SecretStr = Field(
        min_length=1,
        max_length=20_000,
        title="Private key",
        description="In PEM, with the certificate if the provider was given one",
        json_schema_extra={"multiline": True},
    )
    key_id: str | None = Field(None, max_length=500, title="Key ID", description="If the provider gave the key one")


@dataclass(frozen=True, kw_only=True)
class ClientCredentials(Bearer):
    """An app that the customer made at the provider; its id and secret, or key (`private_key_jwt`), are given by a person."""

    token_url: str
    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    client_auth: ClientAuth = "basic"
    token_params: Mapping[str, str] = field(default_factory=dict)
    token_headers: Mapping[str, str] = field(default_factory=dict)
    token_json: bool = False
    lifetime: int | None = None
    slot: str = "client_credentials"
    kind: str = "client_credentials"

    @property
    def credential(self) -> type[Credential]:
        """`client_id` with `client_secret`, or with `private_key` and `key_id`."""
        return ClientKey if self.client_auth == "private_key_jwt" else ClientSecret

    async def mint(self, ctx: AuthContext, credential: Credential) -> Grant:
        """A token; raises `Unauthorised` if the app is refused, as it is what the customer gave."""
        params = dict(self.token_params)
        if self.scopes:
            params["scope"] = self.scope_separator.join(self.scopes)
        fields = {"grant_type": "client_credentials", **fill(params, ctx.places)}
        endpoint = TokenEndpoint(
            self.token_url,
            client_auth=self.client_auth,
            headers=self.token_headers,
            as_json=self.token_json,
            reading=Reading(lifetime=self.lifetime, dead=DEAD | APP_REFUSED, app_refused=frozenset()),
        )
        return await endpoint.grant(ctx, OAuthApp.model_validate(dict(credential)), fields)
