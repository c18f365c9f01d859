"""Pauses: a person stops all runs of a connection, and lets them go on."""

from __future__ import annotations

from tieline.errors import Conflict
from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.flows.states import RUNNABLE, live, move_connection
from tieline.flows.sync import queue_runs
from tieline.stages.announce import announce_connection
from tieline.store import connections as store
from tieline.store import schedules
from tieline.store.connections import Connection
from tieline.store.db import Work


async def pause(parts: Parts, org_id: str, connection_id: str) -> Connection:
    """Stop all runs of a connection until it is resumed."""
    async with parts.db.work(org_id) as work:
        return await pause_within(work, parts, connection_id)


async def pause_within(
    work: Work, parts: Parts, connection_id: str, *, message: str = "Paused by a person"
) -> Connection:
    """The same within a transaction; `message` tells why."""
    now = parts.clock.now()
    connection = await live(work, connection_id, lock=True)
    if connection.status != "paused":
        await move_connection(work, connection, "paused", now=now, message=message)
        await store.update_connection(work, connection_id, now=now, paused_from=connection.status)
        await schedules.set_enabled(work, connection_id, False, reason="paused", now=now)
        await announce_connection(work, connection, "paused", now=now)
    await record(work, parts, "connection.paused", connection_id)
    return await store.get_connection(work, connection_id)


async def resume(parts: Parts, org_id: str, connection_id: str) -> Connection:
    """Let a paused connection run again at once; one whose credential was dead before the pause is still that."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id, lock=True)
        if connection.status != "paused":
            raise Conflict(f"The connection is {connection.status}, not paused")
        before = connection.paused_from or "active"
        to = before if before not in RUNNABLE else "degraded" if connection.missing_scopes else "active"
        await move_connection(work, connection, to, now=now)
        await store.update_connection(work, connection_id, now=now, paused_from=None)
        if to in RUNNABLE:
            due = await schedules.set_enabled(work, connection_id, True, now=now)
            await queue_runs(work, connection, due, cause="resume", now=now)
        await announce_connection(work, connection, "resumed", now=now)
        await record(work, parts, "connection.resumed", connection_id)
        return await store.get_connection(work, connection_id)
