"""The authorization code grant: a person grants access at the provider and comes back with a code (RFC 6749, 7636, 9207)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tieline.errors import Unauthorised
from tieline.sdk.auth.bearer import Bearer
from tieline.sdk.auth.callback import check_callback, read_code
from tieline.sdk.auth.client_auth import FIELDS, ClientAuth
from tieline.sdk.auth.credential import Credential, Grant
from tieline.sdk.auth.kinds import Ask, AuthContext, Back
from tieline.sdk.auth.token_answer import Reading
from tieline.sdk.auth.token_endpoint import TokenEndpoint, fill


@dataclass(frozen=True, kw_only=True)
class OAuth2(Bearer):
    """The authorization code grant, with PKCE (S256) unless a provider breaks.

    URLs are templates, and so are scopes and the values of `authorize_params` and `token_params`. `refresh_url` is for providers that refresh
    elsewhere; `revoke_url` is that of RFC 7009, `revoke_by` a way of the provider's own. `issuer` is what `iss` must be in every
    callback, for servers that send it (RFC 9207). `token_at`, `scope_at` and the values of `keep` are dotted names in the token
    answer; `keep` makes details of them. `ok_field` is the field that is false in a 200 that is an error. `lifetime` is assumed,
    in seconds, of tokens whose end is not told.
    """

    authorize_url: str
    token_url: str
    scopes: tuple[str, ...] = ()
    refresh_url: str | None = None
    revoke_url: str | None = None
    revoke_by: Callable[[AuthContext, Grant], Awaitable[bool]] | None = field(default=None, repr=False)
    scope_separator: str = " "
    client_auth: ClientAuth = "basic"
    pkce: bool = True
    authorize_params: Mapping[str, str] = field(default_factory=dict)
    token_params: Mapping[str, str] = field(default_factory=dict)
    token_headers: Mapping[str, str] = field(default_factory=dict)
    token_json: bool = False
    keep: Mapping[str, str] = field(default_factory=dict)
    token_at: str = "access_token"  # noqa: S105  a name
    scope_at: str = "scope"
    issuer: str | None = None
    ok_field: str | None = None
    lifetime: int | None = None
    slot: str = "oauth2"
    kind: str = "oauth2"

    @property
    def credential(self) -> type[Credential]:
        """A grant."""
        return Grant

    @property
    def app_fields(self) -> frozenset[str]:
        """The fields of the OAuth app that its way to show who it is needs."""
        return FIELDS[self.client_auth]

    def authorize(self, ctx: AuthContext, ask: Ask) -> str:
        """The URL that the person goes to."""
        scope = {"scope": self.scope_separator.join(self.scopes)} if self.scopes else {}
        params = fill({**self.authorize_params, **scope}, ctx.places)
        params |= {
            "response_type": "code",
            "client_id": ctx.need_app().client_id,
            "redirect_uri": ask.redirect_uri,
            "state": ask.state,
        }
        if self.pkce:
            params |= {"code_challenge": ask.challenge, "code_challenge_method": "S256"}
        return with_query(ctx.url(self.authorize_url), params)

    async def receive(self, ctx: AuthContext, back: Back) -> Grant:
        """The grant for the code; who answered is checked before anything is sent."""
        check_callback(ctx, back, issuer=ctx.url(self.issuer) if self.issuer else None)
        fields = {"grant_type": "authorization_code", "code": read_code(ctx, back), "redirect_uri": back.redirect_uri}
        if self.pkce:
            fields["code_verifier"] = back.verifier
        return await self._endpoint().grant(ctx, ctx.need_app(), fill(self.token_params, ctx.places) | fields)

    async def refresh(self, ctx: AuthContext, grant: Grant) -> Grant:
        """The next grant; what its answer leaves out stays as it was (RFC 6749, section 6)."""
        if grant.refresh_token is None:
            raise Unauthorised(f"{ctx.provider} gave no refresh token, and the access token has ended")
        fields = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token.get_secret_value()}
        endpoint = self._endpoint(self.refresh_url)
        fresh = await endpoint.grant(ctx, ctx.need_app(), fill(self.token_params, ctx.places) | fields)
        return fresh.model_copy(
            update={
                "refresh_token": fresh.refresh_token or grant.refresh_token,
                "scopes": grant.scopes if fresh.scopes is None else fresh.scopes,
                "details": {**grant.details, **fresh.details},
            }
        )

    async def revoke(self, ctx: AuthContext, credential: Grant) -> bool:
        """Revoke the refresh token, then the access token (RFC 7009); False if the provider cannot be told."""
        if self.revoke_by is not None:
            return await self.revoke_by(ctx, credential)
        if self.revoke_url is None:
            return False
        told = []
        for hint in ("refresh_token", "access_token"):
            if token := getattr(credential, hint):
                fields = {"token": token.get_secret_value(), "token_type_hint": hint}
                told.append(await self._endpoint().revoke(ctx, ctx.need_app(), self.revoke_url, fields))
        return any(told)

    def _endpoint(self, url: str | None = None) -> TokenEndpoint:
        return TokenEndpoint(
            url or self.token_url,
            client_auth=self.client_auth,
            headers=self.token_headers,
            as_json=self.token_json,
            reading=Reading(
                token_at=self.token_at,
                scope_at=self.scope_at,
                keep=self.keep,
                ok_field=self.ok_field,
                lifetime=self.lifetime,
            ),
        )


def with_query(url: str, params: Mapping[str, str]) -> str:
    """The URL with these parameters besides those that it has."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(params)}"
