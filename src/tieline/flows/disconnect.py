"""Disconnect: the provider is told to forget the credential, it is destroyed here, everything stops, and history stays.

If the provider cannot be told now, it is tried again for a day; nothing else waits for that.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tieline import faults
from tieline.errors import NotFound, ProviderError, TielineError, VaultError
from tieline.flows.apart import do_apart
from tieline.flows.audit import record
from tieline.flows.context import auth_context
from tieline.flows.credentials import Held, open_row, place_of
from tieline.flows.endings import close_waiting
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.flows.states import live, move_connection
from tieline.ids import new_id
from tieline.sdk.auth import Grant, Revokes
from tieline.sdk.provider import Provider
from tieline.stages.announce import announce_connection
from tieline.store import connections as store
from tieline.store import credentials, revocations, schedules
from tieline.store.connections import Connection
from tieline.store.credentials import SealedCredential
from tieline.store.revocations import Revocation

GIVE_UP_AFTER = timedelta(days=1)
_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(hours=2)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Disconnected:
    """A connection that is no more: how many credentials were revoked, how many will be tried again, what is left to do."""

    connection: Connection
    revoked: int
    to_revoke: int
    remains: str


async def disconnect(parts: Parts, org_id: str, connection_id: str) -> Disconnected:
    """Stop at once, then revoke what can be revoked; entities, findings and evidence stay as history."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id, lock=True)
        provider = _provider(parts, connection)
        held = await credentials.list_credentials(work, connection_id, lock=True)  # a refresh under way ends first
        kept = [row for row in held if _is_revocable(provider, row)]
        for row in kept:
            await revocations.save_revocation(work, _to_revoke(connection, row, now))
        await credentials.destroy_credentials(work, connection_id)
        await schedules.set_enabled(work, connection_id, False, reason="disconnected", now=now)
        for schedule in await schedules.list_schedules(work, connection_id):
            await close_waiting(work, schedule, "The connection was disconnected", now=now)
        await move_connection(work, connection, "disconnected", now=now, message="disconnected by a person")
        await store.update_connection(work, connection_id, now=now, disconnected_at=now, expires_at=None)
        await announce_connection(work, connection, "disconnected", now=now)
        await record(work, parts, "connection.disconnected", connection_id, to_revoke=len(kept))
    faults.passing("disconnect.committed")
    revoked = await _revoke_all(parts, org_id, connection_id)
    async with parts.db.work(org_id) as work:
        gone = await store.get_connection(work, connection_id)
        left = await revocations.count_revocations(work, connection_id)
    return Disconnected(gone, revoked, left, provider.remains if provider else "")


async def retry_revocations(parts: Parts) -> int:
    """Try again what could not be revoked, over all organizations; how many were."""
    async with parts.db.system() as work:
        due = await revocations.list_due(work, now=parts.clock.now())
    return sum([await do_apart(revoke(parts, org_id, revocation_id)) for org_id, revocation_id in due])


async def revoke(parts: Parts, org_id: str, revocation_id: str) -> bool:
    """Tell the provider to forget one credential, then destroy it; whether the provider was told."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        taken = await revocations.take_revocation(work, revocation_id, now=now, again_at=now + _FIRST_WAIT)
        if taken:
            again_at = now + min(_FIRST_WAIT * 2**taken.tries, _LONGEST_WAIT) * random.uniform(0.8, 1)  # noqa: S311
            await revocations.put_off(work, revocation_id, due_at=again_at)
    if taken is None:
        return False
    told, reason = await _tell(parts, taken)
    faults.passing("disconnect.revoked")
    async with parts.db.work(org_id) as work:
        if told is None and now < taken.give_up_at:
            await record(work, parts, "credential.revocation_failed", taken.connection_id, reason=reason)
            return False
        await revocations.destroy_revocation(work, revocation_id)
        done = "credential.revoked" if told else "credential.not_revoked"
        await record(
            work,
            parts,
            done,
            taken.connection_id,
            slot=taken.slot,
            version=taken.version,
            serial=taken.serial,
            reason=reason,
        )
    return bool(told)


async def _revoke_all(parts: Parts, org_id: str, connection_id: str) -> int:
    async with parts.db.work(org_id) as work:
        waiting = await revocations.list_of(work, connection_id)
    return sum([await revoke(parts, org_id, one) for one in waiting])


async def _tell(parts: Parts, taken: Revocation) -> tuple[bool | None, str | None]:
    """Whether the provider forgets the credential: True, False if it cannot be told, `None` if it should be tried again."""
    try:
        provider = parts.catalog.provider(taken.provider)
        auth = provider.mode(taken.slot)
        held = await open_row(parts, auth, _as_row(taken, parts.clock.now()))
        options = parse_options(provider, taken.options)
        return await _ask(parts, taken.org_id, provider, options, held), None
    except (ProviderError, VaultError) as error:
        return (False if error.slug == "credential-rejected" else None), error.slug  # dead already: nothing to revoke
    except TielineError as error:  # the provider or the OAuth app is gone, or the options no longer fit
        _log.info("A credential cannot be revoked any more", extra={"reason": error.slug})
        return False, error.slug


async def _ask(parts: Parts, org_id: str, provider: Provider[Any], options: Any, held: Held) -> bool:
    details = held.credential.details if isinstance(held.credential, Grant) else {}
    context = await auth_context(parts, org_id, provider, held.auth, options, details)
    return await held.auth.revoke(context, held.credential) if isinstance(held.auth, Revokes) else False


def _provider(parts: Parts, connection: Connection) -> Provider[Any] | None:
    try:
        return parts.catalog.provider(connection.provider)
    except NotFound:  # it was installed once
        return None


def _is_revocable(provider: Provider[Any] | None, row: SealedCredential) -> bool:
    return any(auth.slot == row.slot and isinstance(auth, Revokes) for auth in (provider.modes if provider else ()))


def _to_revoke(connection: Connection, row: SealedCredential, now: datetime) -> Revocation:
    place = place_of(row)
    return Revocation(
        id=new_id("rev"),
        org_id=connection.org_id,
        connection_id=connection.id,
        provider=connection.provider,
        options=connection.options,
        slot=place.slot,
        version=place.version,
        serial=place.serial,
        sealed=row.sealed,
        key_id=row.key_id,
        due_at=now,
        give_up_at=now + GIVE_UP_AFTER,
    )


def _as_row(taken: Revocation, now: datetime) -> SealedCredential:
    return SealedCredential(
        id=taken.id,
        org_id=taken.org_id,
        connection_id=taken.connection_id,
        slot=taken.slot,
        version=taken.version,
        serial=taken.serial,
        sealed=taken.sealed,
        key_id=taken.key_id,
        fingerprint="",
        created_at=now,
    )
