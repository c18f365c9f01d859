"""Reconfigure: change a connection's name, options or overrides, which take effect with its next runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieline.catalog.compile import compile_operation
from tieline.errors import Conflict, DeclarationError, Invalid
from tieline.flows.audit import record
from tieline.flows.connect import checked_name, read_options, refuse_other_account
from tieline.flows.context import moved_addresses
from tieline.flows.credentials import open_credential
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.flows.states import live
from tieline.flows.verify import verify
from tieline.sdk.cel import CelError
from tieline.sdk.provider import Provider
from tieline.store import connections as store
from tieline.store.connections import Connection


async def reconfigure(
    parts: Parts,
    org_id: str,
    connection_id: str,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Connection:
    """Change a connection's name, options or overrides; new options must open the same account.

    An option that leads to another address is refused: whoever may change it would be sent the stored credential.
    """
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id)
    provider = parts.catalog.provider(connection.provider)
    changes: dict[str, Any] = {"name": name} if checked_name(name) else {}
    if options is not None:
        changes["options"] = await _verified_options(parts, provider, connection, options)
    if overrides is not None:
        changes["overrides"] = check_overrides(parts, provider, overrides)
    async with parts.db.work(org_id) as work:
        await live(work, connection_id, lock=True)
        if changes:
            await store.update_connection(work, connection_id, now=parts.clock.now(), **changes)
        await record(work, parts, "connection.changed", connection_id, changed=sorted(changes))
        return await store.get_connection(work, connection_id)


async def _verified_options(
    parts: Parts, provider: Provider[Any], connection: Connection, options: Mapping[str, Any]
) -> dict[str, Any]:
    chosen = read_options(provider, options)
    standing = parse_options(provider, connection.options)
    if moved := moved_addresses(parts, provider, provider.mode(connection.auth), standing, chosen):
        problems = [{"field": f"options.{name}", "problem": "leads to another address"} for name in sorted(moved)]
        raise Conflict(
            f"{', '.join(sorted(moved))}: the stored credential is not sent to another address",
            advice="Give the credential anew with these options: `tieline connections rotate --option`.",
            fields=problems,
        )
    async with parts.db.work(connection.org_id) as work:
        held = await open_credential(work, parts, provider, connection)
    verified = await verify(parts, connection.org_id, provider, chosen, held, connection=connection)
    refuse_other_account(connection, verified)
    return chosen.model_dump(mode="json")


def check_overrides(parts: Parts, provider: Provider[Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """An organization's own filters and fields, by operation, compiled to see that they work; raises `Invalid`."""
    checked = {}
    for operation_id, own in overrides.items():
        operation = parts.catalog.operation(provider.slug, operation_id)
        if not isinstance(own, Mapping) or set(own) - {"filter", "fields"}:
            raise Invalid(f"overrides.{operation_id}: give `filter`, `fields` or both")
        for mapping in operation.into:
            try:
                faults = mapping.adjusted(filter=own.get("filter"), fields=own.get("fields")).faults()
            except (TypeError, AttributeError):
                raise Invalid(f"overrides.{operation_id}: `filter` is text, `fields` maps names to text") from None
            if faults:
                raise Invalid(f"overrides.{operation_id}: {faults[0]}", advice="See the CEL reference in the docs.")
        try:
            compile_operation(parts.catalog, provider.slug, operation, own)
        except (CelError, DeclarationError) as error:
            raise Invalid(f"overrides.{operation_id}: {error}") from None
        checked[operation_id] = dict(own)
    return checked
