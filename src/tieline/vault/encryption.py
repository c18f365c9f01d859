"""Key encryption: what the vault asks of whoever keeps its keys, be it a file on this machine or a key service far away.

Everything comes in batches, since a key service is asked over a network. Each item has an outcome of its own: one that
cannot be done does not stop the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeVar

Reason = Literal["damaged", "missing", "denied", "disabled", "throttled", "away", "unexpected"]
T = TypeVar("T")


class KeyFailure(Exception):
    """Why one item could not be done, in a word of ours: a key service's own words may repeat what it was given.

    `damaged`: the ciphertext, its key or its binding is not that of `wrap`. `missing`: nobody here has that key. The others say how
    a key service stands: it denies us the key, has disabled it, wants us to be slower, is away, or answers what it should not.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.slug: str = reason


@dataclass(frozen=True)
class DataKey:
    """A data key in plain, and what its encryption is to be bound to."""

    key: bytes = field(repr=False)
    aad: bytes


class Wrapped(NamedTuple):
    """An encrypted data key and the name of the key that it was encrypted under."""

    key_id: str
    text: bytes


@dataclass(frozen=True)
class Bound:
    """An encrypted data key and what it must have been bound to."""

    wrapped: Wrapped
    aad: bytes


class KeyEncryption(Protocol):
    """Encrypts data keys under named keys, bound to their `aad` and to the key's own name."""

    @property
    def ids(self) -> list[str]:
        """The names of the keys that are held on this machine, the oldest first."""
        ...

    async def current(self) -> str:
        """The name of the key that `wrap` uses now; raises `KeyFailure` if it cannot be used."""
        ...

    async def wrap(self, data_keys: Sequence[DataKey]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys under the current key; one outcome for each, in order."""
        ...

    async def unwrap(self, several: Sequence[Bound]) -> list[bytes | KeyFailure]:
        """Decrypt data keys; one outcome for each, in order."""
        ...

    async def rewrap(self, several: Sequence[Bound]) -> list[Wrapped | KeyFailure]:
        """Encrypt data keys anew under the current key, bound as before; one outcome for each, in order."""
        ...


class KeyRing(KeyEncryption, Protocol):
    """All that the vault needs: key encryption, and a key for fingerprints."""

    @property
    def fingerprint_key(self) -> bytes:
        """32 bytes, used for fingerprints of secrets and nothing else."""
        ...


async def carry_over(several: Sequence[Bound], *, old: KeyEncryption, new: KeyEncryption) -> list[Wrapped | KeyFailure]:
    """Encrypt data keys anew that another keeper must decrypt first; they are in plain here for that moment."""
    opened = await old.unwrap(several)
    plain = [DataKey(key, one.aad) for one, key in zip(several, opened, strict=True) if isinstance(key, bytes)]
    wrapped = iter(await new.wrap(plain) if plain else [])
    return [key if isinstance(key, KeyFailure) else next(wrapped) for key in opened]


def only(outcomes: Sequence[T | KeyFailure]) -> T:
    """The outcome of a batch of one; raises the `KeyFailure` that it is."""
    (outcome,) = outcomes
    if isinstance(outcome, KeyFailure):
        raise outcome
    return outcome
