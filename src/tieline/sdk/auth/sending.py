"""Requests outside of a provider's API, to a token endpoint say: one try each, bounded in time and size, nothing followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from tieline.clock import Clock
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.answers import Answer
from tieline.sdk.auth.kinds import Send
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget

DEADLINE = 15.0  # seconds; whoever holds a row's lock while it refreshes holds it no longer than this
MOST_BYTES = 1024 * 1024

_EVERY_STATUS = range(100, 600)


def make_send(
    policy: AddressPolicy,
    clock: Clock,
    provider: str,
    *,
    slug: str = "",
    transport: httpx2.AsyncBaseTransport | None = None,
) -> Send:
    """The `Send` of an `AuthContext`; `provider` is its name, for messages, and `slug` that in metrics.

    It raises `Invalid` for an address that may not be called, `Unavailable` if no answer comes in time, and `Unexpected` for an
    answer that is too large. `transport` takes the network's place, to replay recorded answers.
    """

    async def send(
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
    ) -> Answer:
        client = Http(
            base_url=_origin(url),
            provider=provider,
            policy=policy,
            budget=LocalBudget(clock),
            clock=clock,
            secrets=secrets,
            deadline=DEADLINE,
            patience=DEADLINE,
            max_bytes=MOST_BYTES,
            max_tries=1,
            follow=False,
            transport=transport,
            slug=slug,
        )
        async with client as http:
            return await http.request(method, url, form=form, json=json, headers=headers, accept=_EVERY_STATUS)

    return send


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
