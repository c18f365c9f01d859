"""Scopes: what a credential was granted, held against what the operations need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tieline.catalog import Catalog
from tieline.flows.states import move_connection
from tieline.sdk.checks import Check
from tieline.sdk.provider import Operation, Provider
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


@dataclass(frozen=True)
class Need:
    """A permission, or the alternatives to it, and what goes without it: operations that read, checks that judge by them alone."""

    scopes: tuple[str, ...]
    operations: tuple[Operation, ...]
    checks: tuple[Check, ...]

    @property
    def name(self) -> str:
        """The need as the provider's declaration writes it."""
        return "|".join(self.scopes)


def read_needs(catalog: Catalog, provider: Provider[Any]) -> list[Need]:
    """Every permission that some operation of a provider needs, by name."""
    return [_need(catalog, provider, one) for one in sorted({need for op in provider.operations for need in op.needs})]


def _need(catalog: Catalog, provider: Provider[Any], need: str) -> Need:
    lost = tuple(one for one in provider.operations if need in one.needs)
    left = {kind for one in provider.operations if one not in lost for kind in one.kinds}
    kinds = sorted({kind for one in lost for kind in one.kinds} - left)
    checks = {one.id: one for kind in kinds for one in catalog.checks_for(provider.slug, kind)}
    return Need(tuple(need.split("|")), lost, tuple(sorted(checks.values(), key=lambda one: one.title)))


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
