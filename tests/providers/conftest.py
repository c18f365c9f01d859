"""The emulated services, and a way to connect a provider to an address without the platform around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from tests.emulators.emulate import Emulated, MissingCounterpartError, start_emulate
from tests.providers.readings import Connect, Connected

from tieline.clock import SystemClock
from tieline.sdk import Provider
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget

USERS = 250


@pytest.fixture(scope="session")
def emulated_for_all() -> Iterator[Emulated]:
    try:
        with start_emulate(USERS) as running:
            yield running
    except MissingCounterpartError as error:
        pytest.skip(str(error))


@pytest.fixture
def emulated(emulated_for_all: Emulated) -> Emulated:
    """GitHub and Okta, fresh from their seed."""
    emulated_for_all.reset()
    return emulated_for_all


@pytest.fixture
def connect() -> Connect:
    """Connect a provider: `connect(provider, secret, transport=…, **options)` gives a `Connected`, inside `async with`."""

    @asynccontextmanager
    async def connected(
        provider: Provider[Any], secret: str, *, transport: httpx2.AsyncBaseTransport | None = None, **options: str
    ) -> AsyncIterator[Connected]:
        chosen = provider.options(**options)
        (slot,) = provider.auth.credential.model_fields
        credential = provider.auth.credential(**{slot: secret})
        async with Http(
            base_url=provider.base_url.format(**chosen.model_dump()),
            provider=provider.name,
            policy=AddressPolicy.parse("127.0.0.1"),
            budget=LocalBudget(SystemClock()),
            clock=SystemClock(),
            sign=lambda request: provider.auth.sign(request, credential),
            secrets=credential.secrets(),
            headers=provider.headers,
            rate=provider.rate,
            transport=transport,
        ) as http:
            yield Connected(provider, chosen, credential, http)

    return connected
