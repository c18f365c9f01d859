"""Which workspace a connection reads, and what its credential may do there."""

from __future__ import annotations

from pydantic import Field

from tieline.sdk import Context, Forbidden, Identified, Options

_CALLED = {
    "account": {"read:user:bitbucket", "read:workspace:bitbucket"},
    "repository": {"read:repository:bitbucket"},
    "repository:admin": {"admin:repository:bitbucket"},
}
"""OAuth's names of permissions, and what an API token calls the same:
https://support.atlassian.com/bitbucket-cloud/docs/api-token-permissions/"""


class BitbucketOptions(Options):
    """Which workspace."""

    workspace: str = Field(
        title="Workspace",
        description="Its name in addresses: the acme of bitbucket.org/acme.",
        pattern=r"^[a-z0-9_][a-z0-9_-]*$",
        max_length=100,
    )


async def identify(ctx: Context[BitbucketOptions]) -> Identified:
    """The workspace, provided that its members may be read: to outsiders Bitbucket shows its public face.

    Raises `Forbidden` for anybody else.
    """
    not_visible = Forbidden(
        f"Bitbucket does not show the workspace {ctx.options.workspace} to this credential",
        scope="account",
        advice="Check the workspace's name. The credential must be a member's, best an administrator's, or an access token "
        "of this very workspace.",
    )
    answer = await ctx.request("GET", path_of(ctx), missing=not_visible)
    await ctx.get(f"{path_of(ctx)}/permissions", params={"pagelen": "1"}, missing=not_visible)
    workspace = answer.json
    return Identified(
        id=workspace["uuid"], name=workspace["slug"], scopes=_scopes(answer.headers.get("x-oauth-scopes"))
    )


def path_of(ctx: Context[BitbucketOptions]) -> str:
    """The path of the connection's workspace."""
    return f"/workspaces/{ctx.options.workspace}"


def _scopes(header: str | None) -> frozenset[str] | None:
    """What the answer's header tells of the credential, with OAuth's name of each beside an API token's."""
    if header is None:
        return None
    granted = {scope.strip() for scope in header.split(",")} - {""}
    return frozenset(granted | {name for name, called in _CALLED.items() if called <= granted})
