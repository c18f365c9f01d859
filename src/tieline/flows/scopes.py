"""Scopes: what a credential was granted, held against what the operations need."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from tieline.flows.states import move_connection
from tieline.sdk.provider import Provider
from tieline.store.connections import Connection, get_connection, update_connection
from tieline.store.db import Work


def missing_scopes(provider: Provider[Any], granted: Collection[str] | None) -> list[str]:
    """Permissions that some operation needs and the credential is known to lack; none if that cannot be known.

    A need may name alternatives, since a vendor's kinds of credential may name one permission differently: `read:org|members:read`.
    """
    if granted is None:
        return []
    needs = {need for operation in provider.operations for need in operation.needs}
    return sorted(need for need in needs if not set(need.split("|")) & set(granted))


async def note_scopes(
    work: Work, provider: Provider[Any], connection: Connection, granted: Collection[str], *, now: datetime
) -> None:
    """Store what is granted from now on; a connection that lost or gained something becomes degraded or active."""
    current = await get_connection(work, connection.id, lock=True)
    if current.scopes == sorted(granted):
        return
    missing = missing_scopes(provider, granted)
    await update_connection(work, connection.id, now=now, scopes=sorted(granted), missing_scopes=missing)
    if current.status in ("active", "degraded"):
        await move_connection(work, current, "degraded" if missing else "active", now=now)
