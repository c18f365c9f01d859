"""Asking a key service over HTTP: one deadline over all tries, few tries, and of a refusal nothing but its kind.

The operator names the service, so it may be at a private address; nothing of this process's surroundings, proxies or `.netrc`,
decides where a request goes.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from tieline.vault.encryption import KeyFailure, Reason

PATIENCE = 10.0  # seconds for one request with all its tries
_TRIES = 3
_PASSING = frozenset({429, 500, 502, 504})
_REASONS: Mapping[int, Reason] = {401: "denied", 403: "denied", 404: "missing", 429: "throttled"}


@dataclass(frozen=True)
class Answer:
    """What the service said: its status and JSON, `{}` if it was none."""

    status: int
    content: Mapping[str, Any]

    @property
    def failure(self) -> KeyFailure:
        """What a refusal means when nothing more is known of it."""
        return KeyFailure(_REASONS.get(self.status, "away" if self.status >= 500 else "unexpected"))


class Rest:
    """A client of one service."""

    def __init__(self, *, patience: float = PATIENCE, connections: int = 32) -> None:
        self._patience = patience
        self._client = httpx2.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            verify=ssl.create_default_context(),
            timeout=patience,
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    async def ask(self, method: str, url: str, **given: Any) -> Answer:
        """The answer, be it a refusal; raises `KeyFailure` if there is none in time."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._try(method, url, given)
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL):
            raise KeyFailure("away") from None

    async def _try(self, method: str, url: str, given: dict[str, Any]) -> Answer:
        for number in range(_TRIES):
            last = number == _TRIES - 1
            try:
                answer = await self._client.request(method, url, **given)
            except httpx2.TransportError:
                if last:
                    raise
            else:
                if last or answer.status_code not in _PASSING:
                    return Answer(answer.status_code, _json(answer))
            await asyncio.sleep(0.1 * 2**number * random.uniform(0.5, 1.5))  # noqa: S311  jitter is no secret
        raise AssertionError("the last try returns or raises")

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()


def _json(answer: httpx2.Response) -> Mapping[str, Any]:
    try:
        content = answer.json()
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
