"""How a client says who it is at a token endpoint (RFC 6749, section 2.3; RFC 7523)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote_plus

from pydantic import SecretStr

from tieline.errors import Invalid
from tieline.sdk.auth.assertion import client_assertion
from tieline.sdk.auth.credential import OAuthApp
from tieline.sdk.auth.kinds import AuthContext

ClientAuth = Literal["basic", "body", "private_key_jwt", "federated", "none"]
"""`basic` and `body` send the secret; `private_key_jwt` signs; `federated` shows Tieline's own identity token; `none` is PKCE's."""

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FIELDS: Mapping[ClientAuth, frozenset[str]] = {
    "basic": frozenset({"client_id", "client_secret"}),
    "body": frozenset({"client_id", "client_secret"}),
    "private_key_jwt": frozenset({"client_id", "private_key"}),
    "federated": frozenset({"client_id"}),
    "none": frozenset({"client_id"}),
}
"""The fields of `OAuthApp` that each way needs."""


@dataclass(frozen=True)
class ClientProof:
    """What goes along with a request, and the secrets in it."""

    fields: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


async def prove_client(
    ctx: AuthContext, app: OAuthApp, how: ClientAuth, *, audience: str, federation: str = ""
) -> ClientProof:
    """The client's proof; raises `Invalid` if the app lacks what this way needs.

    `audience` is whom an assertion is for, `federation` the audience of the identity token.
    """
    if how == "none":
        return ClientProof({"client_id": app.client_id})
    if how == "federated":
        return _asserted(app, await ctx.identity_token(federation))
    if how == "private_key_jwt":
        key = _plain(ctx, app.private_key, "private key")
        return _asserted(app, client_assertion(app.client_id, key, audience, ctx.clock.now(), key_id=app.key_id))
    secret = _plain(ctx, app.client_secret, "client secret")
    if how == "body":
        return ClientProof({"client_id": app.client_id, "client_secret": secret}, secrets=(secret,))
    # Both are form-encoded before they are joined (RFC 6749, section 2.3.1), which ids with a colon depend on.
    packed = base64.b64encode(f"{quote_plus(app.client_id)}:{quote_plus(secret)}".encode()).decode()
    return ClientProof({}, {"authorization": f"Basic {packed}"}, (secret, packed))


def _asserted(app: OAuthApp, assertion: str) -> ClientProof:
    fields = {"client_id": app.client_id, "client_assertion_type": _ASSERTION, "client_assertion": assertion}
    return ClientProof(fields, secrets=(assertion,))


def _plain(ctx: AuthContext, value: SecretStr | None, name: str) -> str:
    if value is None or not value.get_secret_value():
        raise Invalid(f"The OAuth app for {ctx.provider} has no {name}", advice=f"Set the app's {name}.")
    return value.get_secret_value()
