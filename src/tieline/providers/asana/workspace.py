"""Which workspace a connection reads, and what people are in it, which Asana lists apart from the people."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tieline.sdk import Context, Cursor, Forbidden, Identified, Invalid, Options

PAGES = Cursor("offset", at="next_page.offset", size_param="limit")
_ABOUT = {"opt_fields": "name,is_organization,email_domains"}
_STANDING = {"opt_fields": "user,is_active,is_admin,is_guest"}
_UNTOLD = (
    "Who is an administrator, a guest or deactivated is not told to an app with single scopes: give the app full "
    "permissions, or use a personal access token."
)


class AsanaOptions(Options):
    """Which workspace."""

    workspace: str | None = Field(
        default=None,
        title="Workspace ID",
        description="The number of the workspace or organization; needed only if the account is in several.",
        pattern=r"^[0-9]{1,25}$",
    )


async def identify(ctx: Context[AsanaOptions]) -> Identified:
    """The workspace; a remark if the credential does not reach what people are in it."""
    await ctx.get("/users/me")
    workspace = await find_workspace(ctx)
    remarks = () if await _may_read_standings(ctx, workspace["gid"]) else (_UNTOLD,)
    return Identified(id=workspace["gid"], name=workspace["name"], remarks=remarks)


async def find_workspace(ctx: Context[AsanaOptions]) -> dict[str, Any]:
    """The chosen workspace, or the only one; raises `Invalid` naming those there are if it cannot be told."""
    if chosen := ctx.options.workspace:
        absent = Invalid("The Asana account is not in that workspace", advice="Check the option workspace.")
        found: dict[str, Any] = (await ctx.get(f"/workspaces/{chosen}", params=_ABOUT, missing=absent))["data"]
        return found
    several = (await ctx.get("/workspaces", params={"limit": PAGES.size, **_ABOUT}))["data"]
    if len(several) == 1:
        return several[0]  # type: ignore[no-any-return]  # JSON
    named = ", ".join(f"{one['gid']} ({one['name']})" for one in several[:10])
    advice = f"Set the option workspace to one of: {named}." if named else "Add it to one."
    raise Invalid(f"The Asana account is in {len(several) or 'no'} workspaces", advice=advice)


async def read_standings(ctx: Context[AsanaOptions], workspace: str) -> dict[str, dict[str, Any]]:
    """What each person is in the workspace, by their id; nothing if the credential does not reach it."""
    if not await _may_read_standings(ctx, workspace):
        return {}
    listed = ctx.pages(_standings(workspace), pages=PAGES, items="data", params=_STANDING)
    return {one["user"]["gid"]: one async for one in listed}


async def _may_read_standings(ctx: Context[AsanaOptions], workspace: str) -> bool:
    """Whether the credential reaches workspace memberships, for which Asana has no scope short of full permissions."""
    try:
        await ctx.get(_standings(workspace), params={"limit": 1})
    except Forbidden:
        return False
    return True


def _standings(workspace: str) -> str:
    return f"/workspaces/{workspace}/workspace_memberships"
