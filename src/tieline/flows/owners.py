"""Owners: the member who looks after a connection, and what becomes of it when they leave."""

from __future__ import annotations

from tieline.access.actor import current_actor
from tieline.errors import Invalid, NotFound
from tieline.store.db import Work
from tieline.store.members import Member, get_member


async def present_actor(work: Work) -> str | None:
    """Whoever acts now, if that is a member of this organization: they own what they connect."""
    actor = current_actor()
    if not actor.startswith("mem_"):
        return None
    try:
        return (await get_member(work, actor)).id
    except NotFound:
        return None


async def find_owner(work: Work, member_id: str) -> Member | None:
    """Who is to be the owner; an empty id is nobody. Raises `Invalid` for somebody who is no member."""
    if not member_id:
        return None
    try:
        member = await get_member(work, member_id)
    except NotFound:
        member = None
    if member is None or member.status == "removed":
        problem = {"field": "owner", "problem": "is no member of this organization"}
        raise Invalid("An owner must be a member", advice="Invite them first, or leave it to nobody.", fields=[problem])
    return member
