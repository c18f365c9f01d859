"""What a kind of auth is, and what some kinds can do besides: send a person to the provider, mint tokens, refresh, revoke.

Every kind names its *slot*, a model of what the slot holds, and how a request is signed. The platform asks with `isinstance` what
else a kind can do, and one connect flow drives them all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

import httpx2

from tieline.clock import Clock
from tieline.errors import Invalid
from tieline.sdk.answers import Answer
from tieline.sdk.auth.credential import Credential, Grant, OAuthApp, ShortLived


class Send(Protocol):
    """One request outside of the provider's API, to a token endpoint say: every status is an answer, 15 s are the most.

    Addresses are checked as everywhere. A failure to reach the other side raises `Unavailable`.
    """

    def __call__(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
    ) -> Awaitable[Answer]:
        """Send it; `secrets` are the plain values in it, which no error may show."""
        ...


@dataclass(frozen=True)
class AuthContext:
    """What a kind of auth works with.

    `provider` is the provider's name, for messages; `places` are the connection's options and the provider's hosts, for the
    placeholders of URLs; `app` is the organization's or the operator's OAuth app. `external_id` is the organization's own at
    this provider, made by Tieline. `identity_token(audience)` gives a signed token that says who asks, for keyless federation.
    """

    provider: str
    places: Mapping[str, str]
    clock: Clock
    send: Send = field(repr=False)
    identity_token: Callable[[str], Awaitable[str]] = field(repr=False)
    external_id: str = ""
    app: OAuthApp | None = field(default=None, repr=False)

    def url(self, template: str, **more: str) -> str:
        """A URL with its placeholders filled in: a leading one as it is, any other quoted."""
        return fill(template, {**self.places, **more})

    def need_app(self) -> OAuthApp:
        """The app; raises `Invalid` if neither the organization nor the operator has set one up."""
        if self.app is None:
            raise Invalid(
                f"There is no OAuth app for {self.provider}",
                advice="Register one: `tieline oauth-apps set` says how; or set the TIELINE_OAUTH_… variables.",
            )
        return self.app


def fill(template: str, places: Mapping[str, str]) -> str:
    """A URL template with its placeholders filled in: a leading one as it is, any other quoted.

    Raises `Invalid` if a placeholder has no value.
    """
    filled = {
        name: value.rstrip("/") if template.startswith("{" + name + "}") else quote(value, safe="")
        for name, value in places.items()
    }
    try:
        return template.format_map(filled)
    except KeyError as missing:
        raise Invalid(f"The option {missing} is missing", advice="Give it: its address depends on it.") from None


@runtime_checkable
class Auth(Protocol):
    """A way to authenticate."""

    @property
    def kind(self) -> str:
        """Its stable name: `api_key`, `token`, `oauth2`, `app_install`, …."""
        ...

    @property
    def slot(self) -> str:
        """The slot that it fills; its name among the provider's ways."""
        ...

    @property
    def credential(self) -> type[Credential]:
        """The model of what the slot holds: also the form that a person fills in, unless they go to the provider."""
        ...

    @property
    def help(self) -> str:
        """Where a person finds or makes the credential."""
        ...

    def sign(self, request: httpx2.Request, credential: Any) -> None:
        """Put the credential, or what was minted from it, on a request."""
        ...


@dataclass(frozen=True)
class Ask:
    """What a person is sent to the provider with. `memo` is empty at first, and what `Further` said on a second round.

    `challenge` is the S256 code challenge (RFC 7636), `nonce` is for ID tokens; both belong to this round alone.
    """

    redirect_uri: str
    state: str = field(repr=False)
    challenge: str
    nonce: str = field(repr=False)
    memo: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Back:
    """What a person came back with: the callback's query without `state`, and the secrets of the round."""

    query: Mapping[str, str] = field(repr=False)
    redirect_uri: str
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    memo: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Further:
    """One more round is needed: the person is sent to the provider again, with this memo."""

    memo: Mapping[str, str]


@runtime_checkable
class Redirects(Protocol):
    """A kind for which a person goes to the provider and comes back."""

    @property
    def app_fields(self) -> frozenset[str]:
        """The fields of `OAuthApp` that it needs."""
        ...

    def authorize(self, ctx: AuthContext, ask: Ask) -> str:
        """The URL that the person goes to."""
        ...

    async def receive(self, ctx: AuthContext, back: Back) -> Credential | Further:
        """The credential from what the person came back with.

        Raises `Invalid` in words for the person, `Unauthorised`, or another `ProviderError`.
        """
        ...


@runtime_checkable
class Mints(Protocol):
    """A kind whose credential is exchanged for something short-lived, which signs the requests."""

    async def mint(self, ctx: AuthContext, credential: Any) -> ShortLived:
        """Make one; raises `Unauthorised` if the credential is dead, or another `ProviderError`."""
        ...


@runtime_checkable
class Refreshes(Protocol):
    """A kind whose grant is renewed in its place."""

    async def refresh(self, ctx: AuthContext, grant: Grant) -> Grant:
        """The next grant; keeps the refresh token if the answer has none. Raises `Unauthorised` if the grant is dead."""
        ...


@runtime_checkable
class Revokes(Protocol):
    """A kind whose credential the provider can be told to forget."""

    async def revoke(self, ctx: AuthContext, credential: Any) -> bool:
        """Revoke it; False if this provider cannot be told. Raises a `ProviderError` if it should be tried again."""
        ...
