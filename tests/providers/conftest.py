"""A way to connect a provider to an address without the platform around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from tests.providers.readings import Connect, Connected

from tieline.clock import SystemClock
from tieline.sdk import ApiKey, Auth, Credential, OAuthApp, Provider
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import AuthContext, Mints, make_send
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget


@pytest.fixture
def connect() -> Connect:
    """Connect a provider: `connect(provider, secret, transport=…, **options)` gives a `Connected`, inside `async with`.

    The secret is that of the way that takes one, or a whole credential for the way called `slot`. `app` and `hosts` are the
    operator's.
    """

    @asynccontextmanager
    async def connected(
        provider: Provider[Any],
        secret: str | Credential,
        *,
        slot: str | None = None,
        app: OAuthApp | None = None,
        hosts: Mapping[str, str] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        **options: str,
    ) -> AsyncIterator[Connected]:
        chosen, clock, policy = provider.options(**options), SystemClock(), AddressPolicy.parse("127.0.0.1")
        auth = provider.mode(slot) if slot else _way_by_secret(provider)
        credential = _credential(auth, secret) if isinstance(secret, str) else secret
        given = {name: str(value) for name, value in chosen.model_dump().items() if value is not None}
        context = AuthContext(
            provider=provider.name,
            places={**provider.hosts, **(hosts or {}), **given},
            clock=clock,
            send=make_send(policy, clock, provider.name, transport=transport),
            identity_token=_no_identity_token,
            external_id="tieline-test",
            app=app,
        )
        signing = await auth.mint(context, credential) if isinstance(auth, Mints) else credential
        async with Http(
            base_url=context.url(provider.base_url),
            provider=provider.name,
            policy=policy,
            budget=LocalBudget(clock),
            clock=clock,
            sign=lambda request: auth.sign(request, signing),
            secrets=[*credential.secrets(), *signing.secrets()],
            headers=provider.headers,
            rate=provider.rate,
            transport=transport,
        ) as http:
            yield Connected(provider, chosen, credential, http, signing)

    return connected


def _way_by_secret(provider: Provider[Any]) -> Auth:
    return next(auth for auth in provider.modes if isinstance(auth, ApiKey))


def _credential(auth: Auth, secret: str) -> Credential:
    (field,) = auth.credential.model_fields
    return auth.credential(**{field: secret})


async def _no_identity_token(_audience: str) -> str:
    raise AssertionError("no test here asks for one")
