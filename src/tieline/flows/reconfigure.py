"""Reconfigure: change a connection's owner, and its name, options or overrides, which take effect with its next runs.

A run that is under way goes on by what was saved when it was last taken up; one that waits starts over, since what it read so far was read
in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieline.errors import Conflict
from tieline.flows.audit import record
from tieline.flows.connect import checked_name, read_options, refuse_other_account
from tieline.flows.context import moved_addresses
from tieline.flows.credentials import open_credential
from tieline.flows.overrides import check_overrides
from tieline.flows.owners import find_owner
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.flows.states import live
from tieline.flows.verify import verify
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
    owner: str | None = None,
    standing: Mapping[str, Any] | None = None,
) -> Connection:
    """Change a connection's name, options, overrides or owner (a member's id, or empty for nobody); what is `None` stays.

    New options must open the same account. `standing` are the overrides that the new ones were made from: raises `Conflict` if they are
    others by now.

    An option that leads to another address is refused: whoever may change it would be sent the stored credential.
    """
    async with parts.db.work(org_id) as work:
        connection = await live(work, connection_id)
    changes: dict[str, Any] = {"name": name} if checked_name(name) else {}
    if options is not None:
        provider = parts.catalog.provider(connection.provider)
        changes["options"] = await _verified_options(parts, provider, connection, options)
    if overrides is not None:
        changes["overrides"] = check_overrides(parts.catalog, parts.catalog.provider(connection.provider), overrides)
    async with parts.db.work(org_id) as work:
        locked = await live(work, connection_id, lock=True)
        if standing is not None and locked.overrides != standing:
            raise Conflict("Its mappings were changed meanwhile", advice="Look at them as they are now, then decide.")
        if owner is not None:
            found = await find_owner(work, owner)
            changes["owner_id"] = found.id if found else None
        if changes:
            await store.update_connection(work, connection_id, now=parts.clock.now(), **changes)
        told = {"owner": changes["owner_id"]} if owner is not None else {}
        changed = sorted(name.removesuffix("_id") for name in changes)
        await record(work, parts, "connection.changed", connection_id, changed=changed, **told)
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
