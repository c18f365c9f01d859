"""Flights: the refreshes and mintings of one process, so that its tasks wait for one another and share what they get."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from tieline.sdk.auth import ShortLived

_MINTED_KEPT = 1_000


@dataclass
class Flights:
    """A lock for each credential, and what was minted from it, in memory alone."""

    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    minted: OrderedDict[str, ShortLived] = field(default_factory=OrderedDict, repr=False)

    def lock(self, key: str) -> asyncio.Lock:
        """The lock of one credential."""
        return self.locks.setdefault(key, asyncio.Lock())

    def keep(self, key: str, token: ShortLived) -> None:
        """Keep what was minted; the least recently minted goes first."""
        self.minted[key] = token
        self.minted.move_to_end(key)
        while len(self.minted) > _MINTED_KEPT:
            self.locks.pop(self.minted.popitem(last=False)[0], None)
