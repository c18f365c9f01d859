"""Discord's permissions: a bit each, written as a decimal number in text because there are more than JSON's numbers hold."""

from __future__ import annotations

from typing import Any

ADMINISTRATOR = 1 << 3

_ELEVATED = {
    "administrator": ADMINISTRATOR,
    "kick members": 1 << 1,
    "ban members": 1 << 2,
    "manage channels": 1 << 4,
    "manage server": 1 << 5,
    "manage messages": 1 << 13,
    "manage roles": 1 << 28,
    "manage webhooks": 1 << 29,
    "manage expressions": 1 << 30,
    "manage threads": 1 << 34,
}
"""Those for which a moderator needs a second factor where the server requires one (Discord: Permissions)."""


def permissions_of(role: dict[str, Any]) -> int:
    """A role's permissions as a number whose bits they are."""
    return int(role["permissions"])


def describe(role: dict[str, Any]) -> str:
    """The elevated permissions of a role in words."""
    bits = permissions_of(role)
    named = [name for name, bit in _ELEVATED.items() if bits & bit]
    return f"May: {', '.join(named)}" if named else "No elevated permissions"
