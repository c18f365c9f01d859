"""Single sign-on: sign in at an OpenID Connect provider, by the authorization code flow with PKCE and a nonce (OIDC Core 3.1).

Where its endpoints are is read from the issuer (OIDC Discovery 4) and kept for an hour. Who came back is taken from the ID token
alone, and only an address that the provider has verified counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn

from pydantic import SecretStr

from tieline.clock import Clock
from tieline.errors import NotAllowed, Unexpected
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.answers import judge
from tieline.sdk.auth import AuthContext, OAuthApp, make_send
from tieline.sdk.auth.callback import check_callback, read_code
from tieline.sdk.auth.client_auth import ClientAuth
from tieline.sdk.auth.id_token import verify_id_token
from tieline.sdk.auth.kinds import Back
from tieline.sdk.auth.oauth2 import with_query
from tieline.sdk.auth.token_endpoint import TokenEndpoint

NAME = "Single sign-on"
_KEPT_FOR = timedelta(hours=1)
_SCOPE = "openid email profile"


@dataclass(frozen=True)
class Endpoints:
    """What the issuer publishes of itself."""

    authorize_url: str
    token_url: str
    keys_url: str
    names_itself: bool
    by_body: bool


@dataclass(frozen=True)
class Person:
    """Who signed in: a verified address, case-folded nowhere yet, and a name."""

    email: str
    name: str


@dataclass
class Sso:
    """An OpenID provider that members may sign in at."""

    issuer: str
    client_id: str
    client_secret: SecretStr | None
    policy: AddressPolicy
    clock: Clock
    _known: tuple[datetime, Endpoints] | None = field(default=None, repr=False)

    async def authorize_url(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Where the person goes; raises a `ProviderError` if the issuer does not say."""
        endpoints = await self._find()
        params = {
            "response_type": "code",
            "scope": _SCOPE,
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return with_query(endpoints.authorize_url, params)

    async def receive(self, back: Back) -> Person:
        """Who came back; raises `Invalid` in words, `NotAllowed` without a verified address, or a `ProviderError`."""
        endpoints, context = await self._find(), self._context()
        check_callback(context, back, issuer=self.issuer if endpoints.names_itself else None)
        fields = {
            "grant_type": "authorization_code",
            "code": read_code(context, back),
            "redirect_uri": back.redirect_uri,
            "code_verifier": back.verifier,
        }
        how: ClientAuth = "none" if self.client_secret is None else "body" if endpoints.by_body else "basic"
        app = OAuthApp(client_id=self.client_id, client_secret=self.client_secret)
        told = await TokenEndpoint(endpoints.token_url, client_auth=how).tell(context, app, fields)
        claims = await verify_id_token(
            context,
            told.get("id_token"),
            keys_url=endpoints.keys_url,
            issuer=self.issuer,
            client_id=self.client_id,
            nonce=back.nonce,
        )
        return _person(claims)

    async def _find(self) -> Endpoints:
        now = self.clock.now()
        if self._known is None or now - self._known[0] > _KEPT_FOR:
            self._known = now, await self._discover()
        return self._known[1]

    async def _discover(self) -> Endpoints:
        answer = await self._context().send("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if failed := judge(answer):
            raise failed
        told: Any = answer.json
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if not isinstance(told, dict) or told.get("issuer") != self.issuer or not all(told.get(one) for one in names):
            raise Unexpected(f"{NAME}: the issuer does not describe itself as OpenID Connect Discovery asks")
        methods = told.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return Endpoints(
            authorize_url=str(told["authorization_endpoint"]),
            token_url=str(told["token_endpoint"]),
            keys_url=str(told["jwks_uri"]),
            names_itself=told.get("authorization_response_iss_parameter_supported") is True,
            by_body="client_secret_basic" not in methods,
        )

    def _context(self) -> AuthContext:
        send = make_send(self.policy, self.clock, NAME)
        return AuthContext(provider=NAME, places={}, clock=self.clock, send=send, identity_token=_no_identity)


def _person(claims: dict[str, Any]) -> Person:
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        raise NotAllowed(
            "Your account there has no verified e-mail address", advice="Have it verified there, or use a sign-in link."
        )
    name = claims.get("name")
    return Person(email, name if isinstance(name, str) else "")


async def _no_identity(_audience: str) -> NoReturn:
    raise Unexpected(f"{NAME} asks for an identity token that Tieline does not give for this")
