"""The rate limit: so many requests per token in a fixed window of seconds, told in headers as providers do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Allowance:
    """What a token has left: `remaining` below zero means that this request is over the limit."""

    limit: int
    remaining: int
    resets_at: float

    @property
    def exceeded(self) -> bool:
        """Whether this request is one too many."""
        return self.remaining < 0

    def headers(self, now: float) -> dict[str, str]:
        """The X-RateLimit headers (reset in epoch seconds), with Retry-After when exceeded."""
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.remaining)),
            "X-RateLimit-Reset": str(math.ceil(self.resets_at)),
        }
        return headers | ({"Retry-After": str(max(1, math.ceil(self.resets_at - now)))} if self.exceeded else {})


class RateLimit:
    """Counts each token's requests; a window begins with the first request after the last one ended."""

    def __init__(self, limit: int, window: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._window = window
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, token: str) -> Allowance:
        """Count one request of the token."""
        now = self._clock()
        ends, used = self._windows.get(token, (0.0, 0))
        if now >= ends:
            ends, used = now + self._window, 0
        self._windows[token] = (ends, used + 1)
        return Allowance(self._limit, self._limit - used - 1, ends)
