"""Re-wrapping: what is sealed under former keys comes under the current one, while everything goes on.

Only the data key is encrypted anew; the secret itself is neither opened nor touched. The rows themselves are the state of the work:
it may be cut off anywhere, begun again, and done by several at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tieline import faults
from tieline.errors import Conflict, VaultError
from tieline.flows.parts import Parts
from tieline.ids import to_uuid
from tieline.store.sealed import SealedRow, SealedTable, count_by_key, exchange, list_under, sealed_tables
from tieline.vault import Place, key_id_of, load_or_create, retire

RESTS_FOR = timedelta(minutes=10)
"""How long after a rotation the former key cannot be retired."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rewrapped:
    """How far the work is: of `total` values under former keys, `done` are under the current one, `left` are not yet.

    Of those left, `failed` could not be done: they are damaged, or their key is missing or refused.
    """

    total: int
    done: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        """How many are still under former keys."""
        return max(self.total - self.done, 0)


@dataclass(frozen=True)
class KeyUsage:
    """A key-encryption key: where it lives, whether it seals now, and how many stored values need it."""

    id: str
    lives_in: str
    current: bool
    in_use: int


async def rewrap(
    parts: Parts, *, batch: int = 500, told: Callable[[Rewrapped], None] | None = None, at_most: int | None = None
) -> Rewrapped:
    """Bring stored values under the current key, `at_most` so many of them; `told` hears after each batch how far it is.

    Raises `VaultError` if the current key cannot be used; values under a former key that cannot be opened are counted as failed.
    """
    current = await parts.vault.current_key()
    former = await _former(parts, current)
    state = Rewrapped(sum(former.values()))
    for each in sealed_tables():
        for key_id in former:
            after: str | None = None
            while at_most is None or state.done < at_most:
                async with parts.db.system() as work:
                    rows = await list_under(work, each, key_id, after=after, limit=batch)
                if not rows:
                    break
                done, failed = await _rewrap_batch(parts, each, rows)
                faults.passing("rewrap.batch")
                state = Rewrapped(state.total, state.done + done, state.failed + failed)
                after = rows[-1].id
                if told:
                    told(state)
                if failed == len(rows):  # so will the others: the key is missing, or its service away
                    break
    if state.failed:
        _log.warning("%d sealed values could not be brought under the current key", state.failed)
    return state


async def list_keys(parts: Parts) -> list[KeyUsage]:
    """The keys that there are or that stored values need, the current one first; none is current if it cannot be used now."""
    async with parts.db.system() as work:
        used = await count_by_key(work)
    try:
        current = await parts.vault.current_key()
    except VaultError:
        current = ""
    here = parts.vault.local_keys
    names = sorted({*used, *here, current} - {""}, key=lambda name: (name != current, name))
    return [KeyUsage(name, _where(name, here), name == current, used[name]) for name in names]


async def retire_key(parts: Parts, path: Path, key_id: str) -> None:
    """Remove a key from the key ring file, for good; raises what `check_retirable` does."""
    await check_retirable(parts, path, key_id)
    retire(path, key_id)


async def check_retirable(parts: Parts, path: Path, key_id: str) -> None:
    """Raise `Conflict` while anything needs a key or may be about to, and `KeyRingError` if it is current or not in the file.

    What was sealed a moment before a rotation may not be stored yet, so a key rests for a while after it was last current.
    """
    if count := (await key_usage(parts)).get(key_id, 0):
        raise Conflict(f"{count} stored values still need {key_id}", advice="Run: tieline keys re-seal")
    ready_at = _made_at(parts.vault.local_keys[-1]) + RESTS_FOR
    if ready_at > parts.clock.now():
        raise Conflict(
            f"{key_id} was current until a moment ago, and may be sealing something yet",
            advice=f"Try again after {ready_at:%H:%M:%S} UTC.",
        )
    load_or_create(path, may_create=False).minus(key_id)


async def key_usage(parts: Parts) -> dict[str, int]:
    """How many stored values need each key, by the key's name; a key that none needs is not there."""
    async with parts.db.system() as work:
        return dict(await count_by_key(work))


async def _former(parts: Parts, current: str) -> dict[str, int]:
    return {key_id: count for key_id, count in sorted((await key_usage(parts)).items()) if key_id != current}


async def _rewrap_batch(parts: Parts, each: SealedTable, rows: list[SealedRow]) -> tuple[int, int]:
    """How many of these were brought under the current key, and how many could not be; the others changed meanwhile."""
    outcomes = await parts.vault.rewrap_many([(row.sealed.sealed, place_of(row)) for row in rows])
    anew = []
    for row, outcome in zip(rows, outcomes, strict=True):
        if not isinstance(outcome, VaultError):
            sealed = outcome or row.sealed.sealed
            anew.append((row, sealed, key_id_of(sealed)))
    if not anew:
        return 0, len(rows)
    async with parts.db.system() as work:
        return await exchange(work, each, anew), len(rows) - len(anew)


def place_of(row: SealedRow) -> Place:
    """The place that a sealed value is bound to."""
    return Place(row.org_id, row.owner_id, row.slot, row.version, row.serial)


def _made_at(key_id: str) -> datetime:
    """When a key was made, which its id says; long ago if its id is of another form."""
    try:
        return datetime.fromtimestamp((to_uuid(key_id, "kek").int >> 80) / 1000, UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _where(name: str, here: list[str]) -> str:
    """Where a key lives: in the key ring file, in a key service, or nowhere that is known."""
    if name in here:
        return "key ring"
    scheme, colon, _ = name.partition(":")
    return scheme if colon else "missing"
