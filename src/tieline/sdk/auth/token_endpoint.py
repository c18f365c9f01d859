"""The one place that asks a token endpoint for tokens, and a revocation endpoint to forget them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tieline.errors import Invalid
from tieline.sdk.answers import Answer
from tieline.sdk.auth.client_auth import ClientAuth, prove_client
from tieline.sdk.auth.credential import Grant, OAuthApp
from tieline.sdk.auth.kinds import AuthContext
from tieline.sdk.auth.token_answer import Reading, read_answer, read_error, read_grant, read_status

_OPEN = frozenset({"grant_type", "scope", "redirect_uri", "client_id", "audience", "resource", "token_type_hint"})


@dataclass(frozen=True)
class TokenEndpoint:
    """A token endpoint: where it is, how a client shows who it is there, and how its answers are read.

    `url` is a template; `more` are its placeholders besides those of the context. `federation` is the audience of the identity
    token when `client_auth` is `federated`. `as_json` sends JSON in place of a form.
    """

    url: str
    client_auth: ClientAuth = "basic"
    headers: Mapping[str, str] = field(default_factory=dict)
    as_json: bool = False
    federation: str = ""
    reading: Reading = field(default_factory=Reading)
    more: Mapping[str, str] = field(default_factory=dict)

    async def grant(self, ctx: AuthContext, app: OAuthApp | None, fields: Mapping[str, str]) -> Grant:
        """Ask for tokens; raises the `ProviderError` that the answer means, if it is not a good one.

        `fields` are those of the grant type; without an app no client is told of.
        """
        return read_grant(await self._ask(ctx, app, fields, self.url), self.reading)

    async def tell(self, ctx: AuthContext, app: OAuthApp | None, fields: Mapping[str, str]) -> dict[str, Any]:
        """Like `grant`, for whoever needs the answer itself, which holds secrets."""
        return read_answer(await self._ask(ctx, app, fields, self.url), self.reading)

    async def revoke(self, ctx: AuthContext, app: OAuthApp, url: str, fields: Mapping[str, str]) -> bool:
        """Ask to forget a token (RFC 7009); False if this kind of token cannot be revoked."""
        answer = await self._ask(ctx, app, fields, url)
        code = read_error(answer, self.reading)
        if code == "unsupported_token_type":
            return False
        if code != "invalid_token":  # which says that it is forgotten already
            read_status(answer, self.reading)
        return True

    async def _ask(self, ctx: AuthContext, app: OAuthApp | None, fields: Mapping[str, str], template: str) -> Answer:
        url = ctx.url(template, **self.more)
        sent, headers, secrets = dict(fields), dict(self.headers), _secrets(fields)
        if app is not None:
            proof = await prove_client(ctx, app, self.client_auth, audience=url, federation=self.federation)
            sent, headers, secrets = {**sent, **proof.fields}, {**headers, **proof.headers}, secrets + proof.secrets
        if self.as_json:
            return await ctx.send("POST", url, json=sent, headers=headers, secrets=secrets)
        return await ctx.send("POST", url, form=sent, headers=headers, secrets=secrets)


def fill(params: Mapping[str, str], places: Mapping[str, str]) -> dict[str, str]:
    """Parameters with their placeholders filled in; they are quoted when they are sent."""
    try:
        return {name: value.format_map(places) for name, value in params.items()}
    except KeyError as error:
        raise Invalid(f"The option {error.args[0]!r} is needed to connect") from None


def _secrets(fields: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(value for name, value in fields.items() if name not in _OPEN and len(value) >= 8)
