"""The states of a connection, and which may follow which."""

from __future__ import annotations

from datetime import datetime

from tieline.errors import Conflict
from tieline.store.connections import Connection, update_connection
from tieline.store.db import Work

TRANSITIONS: dict[str, frozenset[str]] = {
    "pending": frozenset({"validating", "disconnected"}),
    "validating": frozenset({"active", "degraded", "error", "disconnected"}),
    "active": frozenset({"degraded", "error", "expired", "needs_reconnect", "paused", "suspended", "disconnected"}),
    "degraded": frozenset({"active", "error", "expired", "needs_reconnect", "paused", "suspended", "disconnected"}),
    "error": frozenset({"active", "degraded", "expired", "needs_reconnect", "paused", "suspended", "disconnected"}),
    "expired": frozenset({"active", "degraded", "needs_reconnect", "paused", "disconnected"}),
    "needs_reconnect": frozenset({"active", "degraded", "paused", "disconnected"}),
    "paused": frozenset({"active", "degraded", "error", "needs_reconnect", "disconnected"}),
    "suspended": frozenset({"active", "degraded", "needs_reconnect", "paused", "disconnected"}),
    "disconnected": frozenset(),
}
RUNNABLE = frozenset({"active", "degraded", "error"})
"""States in which runs may start; in `error` the provider is tried again on schedule."""


async def move_connection(
    work: Work, connection: Connection, to: str, *, now: datetime, slug: str | None = None, message: str | None = None
) -> None:
    """Put a connection into a state, with the reason; raises `Conflict` if the present state does not lead there."""
    if to != connection.status and to not in TRANSITIONS[connection.status]:
        raise Conflict(f"A connection that is {connection.status} cannot become {to}")
    await update_connection(work, connection.id, now=now, status=to, status_slug=slug, status_message=message)
