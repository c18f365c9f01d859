"""Standing: whether whoever began something may still do it, now that somebody else is to finish it."""

from __future__ import annotations

from datetime import datetime

from tieline.access.roles import ROLES, Role
from tieline.errors import NotAllowed
from tieline.store.api_keys import get_api_key
from tieline.store.db import Work
from tieline.store.members import get_member


async def must_still_be(work: Work, actor: str, role: Role, *, now: datetime) -> None:
    """Raises `NotAllowed` unless the key still works, or the member is still one, with a role that reaches so far.

    Whoever has the command line, or is Tieline itself, may do everything.
    """
    if actor.startswith("key_"):
        key = await get_api_key(work, actor)
        stands, held = key.is_live(now), key.role
    elif actor.startswith("mem_"):
        member = await get_member(work, actor)
        stands, held = member.status == "active", member.role
    else:
        return
    if not stands or ROLES.index(held) < ROLES.index(role):
        raise NotAllowed("Whoever asked for this may not do so any more", advice="Ask an administrator to begin again.")


async def name_of(work: Work, actor: str) -> str:
    """An actor in words for a person: whose key it is, by its name, or who, by name and address."""
    if actor.startswith("key_"):
        return f"the API key “{(await get_api_key(work, actor)).name}”"
    if actor.startswith("mem_"):
        member = await get_member(work, actor)
        return f"{member.name} ({member.email})" if member.name else member.email
    kind, _, account = actor.partition(":")
    return f"{account}, at Tieline's command line" if kind == "cli" else "Tieline itself"
