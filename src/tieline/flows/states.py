"""The states of a connection, and which may follow which."""

from __future__ import annotations

import logging
from datetime import datetime

from tieline.errors import Conflict
from tieline.store.connections import Connection, get_connection, update_connection
from tieline.store.db import Work

_log = logging.getLogger(__name__)

TRANSITIONS: dict[str, frozenset[str]] = {
    "active": frozenset({"degraded", "error", "expired", "needs_reconnect", "paused", "suspended", "disconnected"}),
    "degraded": frozenset({"active", "error", "expired", "needs_reconnect", "paused", "suspended", "disconnected"}),
    "error": frozenset({"active", "degraded", "expired", "needs_reconnect", "paused", "suspended", "disconnected"}),
    "expired": frozenset({"active", "degraded", "needs_reconnect", "paused", "suspended", "disconnected"}),
    "needs_reconnect": frozenset({"active", "degraded", "expired", "paused", "suspended", "disconnected"}),
    "paused": frozenset({"active", "degraded", "expired", "needs_reconnect", "suspended", "disconnected"}),
    "suspended": frozenset({"active", "degraded", "expired", "needs_reconnect", "paused", "disconnected"}),
    "disconnected": frozenset(),
}
RUNNABLE = frozenset({"active", "degraded", "error"})
"""States in which runs may start; in `error` the provider is tried again on schedule."""

HEALTH: dict[str, frozenset[str]] = {
    "works": frozenset({"active"}),
    "needs_person": frozenset({"degraded", "expired", "needs_reconnect", "suspended"}),
    "tries_again": frozenset({"error"}),
    "stopped": frozenset({"paused"}),
    "gone": frozenset({"disconnected"}),
}
"""What the states come to for whoever looks after connections: who has to do something, if anybody."""


def health_of(status: str) -> str:
    """The health that a state comes to."""
    return next(health for health, statuses in HEALTH.items() if status in statuses)


async def live(work: Work, connection_id: str, *, lock: bool = False) -> Connection:
    """A connection that is not disconnected, locked if asked; raises `NotFound` or `Conflict`."""
    connection = await get_connection(work, connection_id, lock=lock)
    if connection.status == "disconnected":
        raise Conflict("The connection is disconnected", advice="Connect the account again.")
    return connection


async def move_connection(
    work: Work, connection: Connection, to: str, *, now: datetime, slug: str | None = None, message: str | None = None
) -> None:
    """Put a connection into a state, with the reason; raises `Conflict` if the present state does not lead there."""
    if to != connection.status and to not in TRANSITIONS[connection.status]:
        raise Conflict(f"A connection that is {connection.status} cannot become {to}")
    await update_connection(work, connection.id, now=now, status=to, status_slug=slug, status_message=message)
    about = {"connection_id": connection.id, "status": to} | ({"error": slug, "reason": message} if slug else {})
    _log.log(logging.WARNING if slug else logging.INFO, "The connection changed its state", extra=about)
