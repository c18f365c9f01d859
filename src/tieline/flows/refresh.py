"""Refresh: exchange a stored grant for the next one, once whoever asks, and lose no answer.

The credential's row is locked while the provider is asked, so that no other process uses the same refresh token. Locks are taken in
one order everywhere: connection, credential, audit log; hence what a refresh says of the connection is noted after it is stored.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tieline import faults
from tieline.errors import ProviderError, RateLimited, Unauthorised, Unavailable
from tieline.flows.audit import record
from tieline.flows.credentials import Held, open_row, reseal
from tieline.flows.parts import Parts
from tieline.flows.scopes import note_scopes
from tieline.sdk.auth import AuthContext, Credential, Grant, Refreshes
from tieline.sdk.provider import Provider
from tieline.store import credentials as store
from tieline.store.connections import Connection
from tieline.store.credentials import SealedCredential
from tieline.store.db import Work
from tieline.vault import key_id_of

COOL_DOWN = timedelta(seconds=30)
"""How long nobody tries a refresh again after one that failed for the provider's reasons."""
SAVING = timedelta(minutes=1)
"""How long a process may take to store an answer, and others leave the former refresh token alone."""
_MOMENTS = (0.2, 0.5, 1.0)
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refresh:
    """What is refreshed: the grant of one connection, by one way."""

    parts: Parts
    provider: Provider[Any]
    connection: Connection
    auth: Refreshes
    context: AuthContext


class _CoolingDown(Unavailable):
    """The provider was not asked, since it could not answer a moment ago."""


async def refresh_stored(refresh: Refresh, held: Held) -> Held:
    """Refresh a stored grant, or take over what another process has put there meanwhile.

    That a refresh begins is noted before the provider is asked: if the process dies between the answer and the commit, the
    next one knows that the refresh token it tries may have been used, and says so if the provider refuses it.
    """
    row = held.row
    assert row is not None  # noqa: S101  only stored grants come here
    interrupted = await _begin(refresh, row)
    faults.passing("refresh.begun")
    grant: Grant | None = None  # what the provider answered: until it is stored, nobody else has it
    try:
        async with refresh.parts.db.work(row.org_id) as work:
            current = await _lock(work, refresh, row)
            if not _is_same(current, row):
                return await open_row(refresh.parts, held.auth, current)
            grant = await _ask(refresh, held, current)
            faults.passing("refresh.answered")
            stored = Held(held.auth, grant, await _store(work, refresh, current, grant))
    except ProviderError as error:
        await _note_failure(refresh, row, error, interrupted)
        raise _explained(refresh, error, interrupted) from None
    except Exception as error:
        if grant is None:
            raise
        _log.warning("A refreshed grant could not be stored yet", extra={"reason": type(error).__name__})
        stored = await _store_at_last(refresh, held, row, grant)
    await _note_scopes(refresh, stored.credential)
    return stored


async def _begin(refresh: Refresh, row: SealedCredential) -> datetime | None:
    """Note that a refresh begins; when an earlier one began that never ended. Raises `Unavailable` while that may still end.

    One that has only just begun elsewhere is given a moment to take its lock, for which all others then wait.
    """
    for pause in (*_MOMENTS, None):
        now = refresh.parts.clock.now()
        async with refresh.parts.db.work(row.org_id) as work:
            earlier = await store.begin_refresh(work, row.id, serial=row.serial, now=now, unless_after=now - SAVING)
        if earlier is None or earlier <= now - SAVING:
            return earlier
        if pause:
            await asyncio.sleep(pause)
    raise Unavailable(f"{refresh.provider.name}'s token is being refreshed", retry_at=now + SAVING)


async def _lock(work: Work, refresh: Refresh, row: SealedCredential) -> SealedCredential:
    current = await store.get_credential(work, row.connection_id, row.slot, lock=True)
    if current is None:
        raise Unauthorised(f"{refresh.connection.name} has no credential any more")
    return current


def _is_same(current: SealedCredential, row: SealedCredential) -> bool:
    return (current.id, current.serial) == (row.id, row.serial)


async def _ask(refresh: Refresh, held: Held, current: SealedCredential) -> Grant:
    if current.refresh_after and current.refresh_after > refresh.parts.clock.now():
        message = f"{refresh.provider.name} could not refresh the token a moment ago"
        raise _CoolingDown(message, retry_at=current.refresh_after)
    if not isinstance(held.credential, Grant):
        raise TypeError("only grants are refreshed")
    return await refresh.auth.refresh(refresh.context, held.credential)


async def _store(work: Work, refresh: Refresh, current: SealedCredential, grant: Grant) -> SealedCredential:
    sealed, now = await reseal(refresh.parts, current, grant), refresh.parts.clock.now()
    key_id, serial = key_id_of(sealed.sealed), current.serial + 1
    await store.save_refreshed(work, current, sealed, key_id, now=now)
    await record(work, refresh.parts, "token.refreshed", current.connection_id, slot=current.slot, serial=serial)
    return replace(
        current,
        sealed=sealed,
        key_id=key_id,
        serial=serial,
        refreshed_at=now,
        refresh_begun_at=None,
        refresh_after=None,
    )


async def _store_at_last(refresh: Refresh, held: Held, row: SealedCredential, grant: Grant) -> Held:
    """Try again to store an answer: the provider gives it only once. Raises what kept it from being stored to the end.

    What has been put in force meanwhile stands, and is what is used from then on.
    """
    for pause in _PAUSES:
        await asyncio.sleep(pause)
        try:
            async with refresh.parts.db.work(row.org_id) as work:
                current = await _lock(work, refresh, row)
                if not _is_same(current, row):
                    return await open_row(refresh.parts, held.auth, current)
                return Held(held.auth, grant, await _store(work, refresh, current, grant))
        except Exception:
            if pause == _PAUSES[-1]:
                _log.error("A refreshed grant was lost: it could not be stored")
                raise
    raise AssertionError("there is a last pause")


async def _note_failure(
    refresh: Refresh, row: SealedCredential, error: ProviderError, interrupted: datetime | None
) -> None:
    wait = isinstance(error, Unavailable | RateLimited)
    after = error.details.get("retry_at") or (refresh.parts.clock.now() + COOL_DOWN if wait else None)
    told = {"reason": error.slug, "interrupted": interrupted is not None}
    async with refresh.parts.db.work(row.org_id) as work:
        await store.note_failed_refresh(work, row.id, serial=row.serial, after=after)
        if not isinstance(error, _CoolingDown):
            await record(work, refresh.parts, "token.refresh_failed", row.connection_id, **told)


def _explained(refresh: Refresh, error: ProviderError, interrupted: datetime | None) -> ProviderError:
    if interrupted is None or not isinstance(error, Unauthorised):
        return error
    name = refresh.provider.name
    message = f"{name} refused the refresh token: an earlier refresh was cut short before it could be saved"
    return Unauthorised(message, **error.details)


async def _note_scopes(refresh: Refresh, grant: Credential) -> None:
    if not isinstance(grant, Grant) or grant.scopes is None:
        return
    connection, now = refresh.connection, refresh.parts.clock.now()
    async with refresh.parts.db.work(connection.org_id) as work:
        await note_scopes(work, refresh.provider, connection, grant.scopes, now=now)
