"""Flights: the refreshes and mintings of one process, so that its tasks wait for one another and share what they get."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from tieline.sdk.auth import ShortLived

_MINTED_KEPT = 1_000
_SIDE_BY_SIDE = 6
"""Refreshes at a time; each holds a database connection while the provider answers, so there must be fewer than connections."""
_OF_ONE_ORGANIZATION = 2


@dataclass
class Flights:
    """A lock for each credential for as long as somebody waits for it, and what was minted from it, in memory alone."""

    locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SIDE_BY_SIDE))
    org_slots: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)
    minted: OrderedDict[str, ShortLived] = field(default_factory=OrderedDict, repr=False)

    def lock(self, key: str) -> asyncio.Lock:
        """The lock of one credential."""
        return self.locks.setdefault(key, asyncio.Lock())

    @asynccontextmanager
    async def turn(self, org_id: str) -> AsyncIterator[None]:
        """A turn to refresh: one organization whose provider is slow keeps none of the others waiting."""
        async with self.org_slots.setdefault(org_id, asyncio.Semaphore(_OF_ONE_ORGANIZATION)), self.slots:
            yield

    def keep(self, key: str, token: ShortLived) -> None:
        """Keep what was minted; the least recently minted goes first."""
        self.minted[key] = token
        self.minted.move_to_end(key)
        while len(self.minted) > _MINTED_KEPT:
            self.minted.popitem(last=False)
