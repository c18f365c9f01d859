"""Which tenant a connection reads, and what its app may read there."""

from __future__ import annotations

import base64
import json
from typing import Any

from pydantic import Field

from tieline.sdk import Context, Forbidden, Identified, NotOffered, Options, Token

_UNLICENSED = ("Authentication_RequestFromNonPremiumTenantOrB2CTenant", "AadPremiumLicenseRequired")
_INCLUDED = {
    "Directory.Read.All": (
        "User.Read.All",
        "Group.Read.All",
        "GroupMember.Read.All",
        "Organization.Read.All",
        "RoleManagement.Read.Directory",
    ),
    "Group.Read.All": ("GroupMember.Read.All",),
    "RoleManagement.Read.All": ("RoleManagement.Read.Directory",),
}
"""What a permission allows besides itself: https://learn.microsoft.com/graph/permissions-reference"""


class EntraOptions(Options):
    """Which tenant, for an app of one's own."""

    tenant: str | None = Field(
        default=None,
        title="Tenant",
        description="The directory's ID, or one of its domains; not needed where an administrator gives consent.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$",
        max_length=253,
    )


async def identify(ctx: Context[EntraOptions]) -> Identified:
    """The tenant, by the id that it keeps, and the permissions that its administrators consented to."""
    found = await ctx.get("/organization", params={"$select": "id,displayName"})
    organization = found["value"][0]
    name = organization.get("displayName") or organization["id"]
    return Identified(id=organization["id"], name=name, scopes=await _permissions(ctx))


async def is_offered(ctx: Context[Any], path: str, **params: str) -> bool:
    """Whether the tenant's licence covers what is at a path; raises `Forbidden` if only a permission is missing."""
    answer = await ctx.request("GET", path, params=params, accept=(403,))
    told = answer.json
    if answer.status == 200:
        return True
    error = told.get("error", {})
    if error.get("code") in _UNLICENSED or "licen" in str(error.get("message", "")).lower():
        return False
    raise answer.fail(Forbidden, f"does not allow {answer.asked} to this app")


async def must_be_offered(ctx: Context[Any], path: str, **params: str) -> None:
    """Raise `NotOffered` if the tenant's licence does not cover what is at a path."""
    if not await is_offered(ctx, path, **params):
        raise NotOffered("Microsoft Entra ID offers this with a P1 or P2 licence only")


async def _permissions(ctx: Context[Any]) -> frozenset[str] | None:
    """What the access token itself says that it allows; `None` if it is not one that can be read.

    Graph alone may rely on that, and refuses what is not allowed whatever is read here: it serves to tell people what is missing.
    """
    granted = await ctx.fresh()
    if not isinstance(granted, Token):
        return None
    try:
        payload = granted.access_token.get_secret_value().split(".")[1]
        roles = frozenset(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["roles"])
    except (ValueError, LookupError, TypeError):
        return None
    return roles.union(*(_INCLUDED.get(role, ()) for role in roles))
