"""Organizations: made together with the first entry of their audit log."""

from __future__ import annotations

from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.store import organizations as store
from tieline.store.db import within
from tieline.store.organizations import Organization


async def create_organization(parts: Parts, *, slug: str, name: str) -> Organization:
    """Make an organization; raises `Conflict` if its slug is taken."""
    async with parts.db.system() as work:
        made = await store.create_organization(work, slug=slug, name=name, now=parts.clock.now())
        own = await within(work, made.id)
        await record(own, parts, "organization.created", made.id, slug=slug, name=name)
    return made
