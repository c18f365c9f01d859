"""Expiry: people are warned before a credential ends, and a connection whose credential has ended stops and says so."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from tieline.errors import NotFound
from tieline.flows.apart import do_apart
from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.flows.states import TRANSITIONS, move_connection
from tieline.stages.announce import announce_connection
from tieline.store import credentials, schedules
from tieline.store.connections import Connection, get_connection, update_connection
from tieline.store.credentials import SealedCredential
from tieline.store.db import Work

WARN_AT_DAYS = (14, 7, 1)


async def mind_expiry(parts: Parts) -> int:
    """Warn of each credential that ends soon, once at 14, 7 and 1 days, and stop those that have ended; how many moved."""
    async with parts.db.system() as work:
        ending = await credentials.list_ending(work, before=parts.clock.now() + timedelta(days=WARN_AT_DAYS[0]))
    return sum([await do_apart(_mind(parts, *one)) for one in ending])


def due_warning(expires_at: datetime, now: datetime, warned_days: int | None) -> int | None:
    """The warning that is due, as its number of days, or `None`; of several that were missed only the nearest."""
    left = expires_at - now
    due = [days for days in WARN_AT_DAYS if left <= timedelta(days=days)]
    return min(due) if due and (warned_days is None or min(due) < warned_days) else None


async def _mind(parts: Parts, org_id: str, connection_id: str, slot: str) -> bool:
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        try:
            connection = await get_connection(work, connection_id, lock=True)
        except NotFound:
            return False
        row = await credentials.get_credential(work, connection_id, slot)
        if row is None or row.expires_at is None or slot != connection.auth:
            return False
        if row.expires_at <= now:
            return await _expire(work, parts, connection, now)
        return await _warn(work, parts, connection, row, row.expires_at)


async def _expire(work: Work, parts: Parts, connection: Connection, now: datetime) -> bool:
    if connection.status == "paused" and connection.paused_from != "expired":
        await update_connection(work, connection.id, now=now, paused_from="expired")
    elif connection.status in ("paused", "expired") or "expired" not in TRANSITIONS[connection.status]:
        return False
    else:
        about = {"slug": "credential-expired", "message": "The credential has passed its date"}
        await move_connection(work, connection, "expired", now=now, **about)
        await schedules.set_enabled(work, connection.id, False, reason="credential-expired", now=now)
    await announce_connection(work, connection, "expired", now=now)
    await record(work, parts, "credential.expired", connection.id)
    return True


async def _warn(work: Work, parts: Parts, connection: Connection, row: SealedCredential, expires_at: datetime) -> bool:
    now = parts.clock.now()
    days = due_warning(expires_at, now, row.warned_days)
    if days is None:
        return False
    left = math.ceil((expires_at - now) / timedelta(days=1))
    await credentials.note_warning(work, row.id, days)
    await announce_connection(work, connection, "expiring", now=now, days=left, expires_at=expires_at.isoformat())
    await record(work, parts, "credential.expiring", connection.id, days=left)
    return True
