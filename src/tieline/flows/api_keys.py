"""API keys: made and revoked, each with an entry in the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from tieline.access.api_keys import NewKey, create_key
from tieline.access.roles import Caller, Role
from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.store import api_keys as store
from tieline.store.api_keys import ApiKeyRow


async def create_api_key(
    parts: Parts, org_id: str, pepper: bytes, *, name: str, role: Role, expires_at: datetime | None = None
) -> NewKey:
    """Make a key for an organization; raises `Invalid` for an unknown role or an expiry in the past."""
    async with parts.db.work(org_id) as work:
        made = await create_key(work, pepper, name=name, role=role, now=parts.clock.now(), expires_at=expires_at)
        about = {"name": name, "role": role, "prefix": made.row.prefix, "expires_at": expires_at}
        await record(work, parts, "api_key.created", made.row.id, **about)
    return made


async def revoke_api_key(parts: Parts, org_id: str, key_id: str, *, caller: Caller | None = None) -> ApiKeyRow:
    """Make a key useless at once; a second time changes nothing. Raises `NotFound`, `NotAllowed` if it reaches further than the caller."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        revoked = await store.revoke_api_key(work, key_id, now=now)
        if caller:
            caller.must_be(cast("Role", revoked.role))
        if revoked.revoked_at == now:
            about = {"name": revoked.name, "role": revoked.role, "prefix": revoked.prefix}
            await record(work, parts, "api_key.revoked", key_id, **about)
    return revoked
