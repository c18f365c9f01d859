"""What the API's tests share besides fixtures."""

from __future__ import annotations

from dataclasses import dataclass, field

from tieline.access.roles import Role

SANDBOX_TOKEN = "lks_for_api_tests_only"
ROLES: tuple[Role, ...] = ("auditor", "member", "admin", "operator")


@dataclass(frozen=True)
class Scene:
    """The furnished organization: its keys by role and the id of a row of each noun, by path parameter."""

    org_id: str
    other_org_id: str
    keys: dict[str, str] = field(repr=False)
    ids: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
