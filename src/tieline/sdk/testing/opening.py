"""Opening a provider without the platform: its client, its credential and its context, over whatever transport is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2

from tieline.clock import Clock
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import AuthContext, Grant, Mints, OAuthApp, make_send
from tieline.sdk.context import Checkpoint, Context
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget
from tieline.sdk.provider import Provider

ContextMaker = Callable[[Checkpoint | None, Any], Context[Any]]
EXTERNAL_ID = "tieline-example"


class Ticking(Clock, Protocol):
    """A clock by which one can also sleep."""

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        ...


@dataclass(frozen=True)
class Way:
    """What a provider is opened with."""

    provider: Provider[Any]
    slot: str | None
    options: Any
    credential: Any = field(repr=False)
    app: OAuthApp | None = field(repr=False)
    clock: Ticking
    policy: AddressPolicy

    @property
    def places(self) -> dict[str, str]:
        """The values of placeholders: the vendor's hosts, what the token answer told, then the options."""
        given = {name: str(value) for name, value in self.options.model_dump(mode="json").items() if value is not None}
        details = self.credential.details if isinstance(self.credential, Grant) else {}
        return {**self.provider.hosts, **details, **given}

    def tools(self, transport: httpx2.AsyncBaseTransport | None) -> AuthContext:
        """What its kind of auth works with."""
        return AuthContext(
            provider=self.provider.name,
            places=self.places,
            clock=self.clock,
            send=make_send(self.policy, self.clock, self.provider.name, transport=transport),
            identity_token=_identity_token,
            external_id=EXTERNAL_ID,
            app=self.app,
        )

    async def mint(self, transport: httpx2.AsyncBaseTransport | None) -> Any:
        """What signs the requests: the credential, or what it is exchanged for."""
        auth = self.provider.mode(self.slot)
        return await auth.mint(self.tools(transport), self.credential) if isinstance(auth, Mints) else self.credential

    @asynccontextmanager
    async def open(self, signer: Any, transport: httpx2.AsyncBaseTransport | None) -> AsyncIterator[ContextMaker]:
        """Open it; gives what makes a context for one reading."""
        provider, places, tools = self.provider, self.places, self.tools(transport)

        async def fresh() -> Any:
            return signer

        async with Http(
            base_url=tools.url(provider.base_url),
            provider=provider.name,
            policy=self.policy,
            budget=LocalBudget(self.clock, sleep=self.clock.sleep),
            clock=self.clock,
            sign=lambda request: provider.mode(self.slot).sign(request, signer),
            secrets=[*self.credential.secrets(), *signer.secrets()],
            headers=provider.headers,
            origins=[tools.url(one) for one in provider.origins],
            rate=provider.rate,
            transport=transport,
            sleep=self.clock.sleep,
        ) as http:
            yield lambda start, turned: Context(
                options=self.options,
                credential=self.credential,
                fresh=fresh,
                hosts={name: places[name] for name in provider.hosts},
                http=http,
                policy=self.policy,
                clock=self.clock,
                start=start,
                turned=turned,
            )


async def _identity_token(audience: str) -> str:
    return f"identity-token-for-{audience}"
