"""Administrator roles: who holds one, and which of them make an administrator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tieline.sdk import Context, Forbidden, NextLink

PRIVILEGED = frozenset({
    "62e90394-69f5-4237-9190-012177145e10",  # Global Administrator
    "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3",  # Application Administrator
    "c4e39bd9-1100-46d3-8c65-fb160da0071f",  # Authentication Administrator
    "b0f54661-2d74-4c50-afa3-1ec803f12efe",  # Billing Administrator
    "158c047a-c907-4556-b7ef-446551a6b5f7",  # Cloud Application Administrator
    "b1be1c3e-b65d-4f19-8427-f6fa0d97feb9",  # Conditional Access Administrator
    "29232cdf-9323-42fd-ade2-1d097af3e4de",  # Exchange Administrator
    "729827e3-9c14-49f7-bb1b-9608f156bbb8",  # Helpdesk Administrator
    "966707d0-3269-4727-9be2-8c3a10f19b9d",  # Password Administrator
    "7be44c8a-adaf-4e2a-84d6-ab2649e08a13",  # Privileged Authentication Administrator
    "e8611ab8-c189-46e8-94e1-60213ab1f814",  # Privileged Role Administrator
    "194ae4cb-b126-40b2-bd5b-6091b380977d",  # Security Administrator
    "f28a1f50-f6e7-4571-818b-6a12f2af6b6c",  # SharePoint Administrator
    "fe930be7-5e62-47db-91af-98c3a49a38b1",  # User Administrator
})  # fmt: skip
"""The role templates of which Microsoft says that they must sign in with a second factor:
https://learn.microsoft.com/entra/identity/conditional-access/policy-old-require-mfa-admin"""

PAGES = NextLink()
USER = "#microsoft.graph.user"


@dataclass(frozen=True)
class Roles:
    """Who holds a privileged role at present; `None` if the app may not know."""

    holders: frozenset[str] | None

    def is_administrator(self, person: str) -> bool | None:
        """Whether the person holds one; a role that is to be activated first is not held."""
        return None if self.holders is None else person in self.holders


async def read_roles(ctx: Context[Any]) -> Roles:
    """The holders of all privileged roles."""
    found: set[str] = set()
    try:
        async for role in ctx.pages("/directoryRoles", pages=PAGES, items="value"):
            if role["roleTemplateId"] in PRIVILEGED:
                found.update([one["id"] for one in await read_holders(ctx, role)])
    except Forbidden:
        return Roles(None)
    return Roles(frozenset(found))


async def read_holders(ctx: Context[Any], role: dict[str, Any]) -> list[dict[str, Any]]:
    """The people who hold a role, not the apps."""
    listed = ctx.pages(f"/directoryRoles/{role['id']}/members", pages=PAGES, items="value", missing=())
    return [one async for one in listed if one.get("@odata.type", USER) == USER]
