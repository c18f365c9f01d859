"""A way to connect a provider to an address without the platform around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from tests.providers.readings import Connect, Connected

from tieline.clock import SystemClock
from tieline.sdk import Provider
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget


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
