"""All keys behind one interface: the key ring's file and the key services, each asked for what bears its name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from tieline.vault.cache import KeyService
from tieline.vault.encryption import Bound, DataKey, KeyEncryption, KeyFailure, KeyRing, Wrapped, carry_over

T = TypeVar("T")


class ComposedKeys:
    """Wraps under the current service, or the key ring if there is none; unwraps what any of them has wrapped.

    Only services that the operator has named are ever asked, whatever the name of a key says.
    """

    def __init__(
        self, ring: KeyRing, services: Sequence[KeyService] = (), *, current: KeyService | None = None
    ) -> None:
        self._ring = ring
        self._services = services
        self._current: KeyEncryption = current or ring

    @property
    def ids(self) -> list[str]:
        """The names of the keys in the key ring."""
        return self._ring.ids

    @property
    def fingerprint_key(self) -> bytes:
        """The key ring's key for fingerprints."""
        return self._ring.fingerprint_key

    def knows(self, key_id: str) -> bool:
        """Whether there is someone to ask for a key of this name."""
        return key_id in self._ring.ids or any(one.owns(key_id) for one in self._services)

    async def current(self) -> str:
        """The name of the key that seals now."""
        return await self._current.current()

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys under the current key."""
        return await self._current.wrap(data_keys)

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        """Decrypt data keys, each by whoever has its key."""
        return await self._share_out(several, lambda keeper, own: keeper.unwrap(own))

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys anew: inside the current service what is its own, and through here what comes from another."""

        def anew(keeper: KeyEncryption, own: Sequence[Bound]) -> Coroutine[Any, Any, list[Wrapped | KeyFailure]]:
            return keeper.rewrap(own) if keeper is self._current else carry_over(own, old=keeper, new=self._current)

        return await self._share_out(several, anew)

    async def close(self) -> None:
        """Close the services."""
        for one in self._services:
            await one.close()

    async def _share_out(
        self,
        several: Sequence[Bound],
        ask: Callable[[KeyEncryption, Sequence[Bound]], Coroutine[Any, Any, list[T | KeyFailure]]],
    ) -> list[T | KeyFailure]:
        """Each one's outcome, from its own keeper."""
        shares: dict[KeyEncryption, list[int]] = {}
        for number, one in enumerate(several):
            shares.setdefault(self._keeper(one.wrapped.key_id), []).append(number)
        outcomes: dict[int, T | KeyFailure] = {}
        for keeper, numbers in shares.items():
            outcomes |= dict(zip(numbers, await ask(keeper, [several[number] for number in numbers]), strict=True))
        return [outcomes[number] for number in range(len(several))]

    def _keeper(self, key_id: str) -> KeyEncryption:
        return next((one for one in self._services if one.owns(key_id)), self._ring)
