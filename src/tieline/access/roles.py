"""Roles, from the least to the most: each may do what those before it may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tieline.errors import NotAllowed

Role = Literal["auditor", "member", "admin", "owner", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
"""auditor reads; member also starts runs and mutes findings; admin also connects, disconnects, invites and makes keys; owner also
says who is owner; operator also makes organizations and sees the engine, for all of them."""


@dataclass(frozen=True)
class Caller:
    """Who is asking: an API key or a member of an organization."""

    org_id: str
    actor: str
    role: Role

    def must_be(self, role: Role) -> None:
        """Raises `NotAllowed` unless the caller's role reaches so far."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise NotAllowed(f"This needs the role {role}; yours is {self.role}")
