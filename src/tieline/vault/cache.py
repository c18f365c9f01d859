"""A short memory of data keys, so that reading goes on for a while when a key service is away.

It holds a data key for at most five minutes and a thousand uses, and a limited number of them; nothing that it has not itself
wrapped or seen unwrapped under the very same name, ciphertext and binding is ever answered from it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

from tieline.vault.encryption import Bound, DataKey, KeyEncryption, KeyFailure, Wrapped

SECONDS: Final = 300.0
USES: Final = 1000
ENTRIES: Final = 10_000


class KeyService(KeyEncryption, Protocol):
    """A key service: its keys stay with it."""

    def owns(self, key_id: str) -> bool:
        """Whether it is asked for a key of this name."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass
class _Kept:
    key: bytes = field(repr=False)
    until: float
    uses: int


class CachedService:
    """A key service with a memory of data keys."""

    def __init__(
        self, service: KeyService, *, now: Callable[[], float] = time.monotonic, entries: int = ENTRIES
    ) -> None:
        self._service = service
        self._now = now
        self._entries = entries
        self._kept: OrderedDict[Bound, _Kept] = OrderedDict()

    @property
    def ids(self) -> list[str]:
        """The names of the keys that are on this machine: none."""
        return self._service.ids

    def owns(self, key_id: str) -> bool:
        """Whether the service is asked for a key of this name."""
        return self._service.owns(key_id)

    async def current(self) -> str:
        """The name of the service's current key; always asked for."""
        return await self._service.current()

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        """Have the service encrypt data keys, and remember them."""
        outcomes = await self._service.wrap(data_keys)
        for one, wrapped in zip(data_keys, outcomes, strict=True):
            if isinstance(wrapped, Wrapped):
                self._keep(Bound(wrapped, one.aad), one.key)
        return outcomes

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        """Data keys from memory, the others from the service."""
        found = {one: self._recall(one) for one in several}
        wanted = [one for one, key in found.items() if key is None]
        asked = dict(zip(wanted, await self._service.unwrap(wanted) if wanted else [], strict=True))
        for one, key in asked.items():
            if isinstance(key, bytes):
                self._keep(one, key)
        return [key if key is not None else asked[one] for one, key in ((one, found[one]) for one in several)]

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        """Have the service encrypt data keys anew; nothing is remembered."""
        return await self._service.rewrap(several)

    async def close(self) -> None:
        """Forget all, and close the service."""
        self._kept.clear()
        await self._service.close()

    def _keep(self, one: Bound, key: bytes) -> None:
        self._kept[one] = _Kept(key, self._now() + SECONDS, USES)
        self._kept.move_to_end(one)
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)

    def _recall(self, one: Bound) -> bytes | None:
        kept = self._kept.get(one)
        if kept is None:
            return None
        if kept.uses == 0 or self._now() >= kept.until:
            del self._kept[one]
            return None
        kept.uses -= 1
        return kept.key

    def __repr__(self) -> str:
        return f"CachedService({type(self._service).__name__}, {len(self._kept)} data keys)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("data keys cannot be pickled or copied")
