"""Which organization a connection reads, and the proof that its credential sees all of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from tieline.sdk import Context, Forbidden, Identified, Installation, Invalid, Options

_MEANS = {
    "read:org": ("members:read", "Organization → Members: Read-only"),
    "repo": ("administration:read", "Repository → Administration: Read-only"),
}
"""What a GitHub App calls the same as a token's scope, and how its settings page words it."""


class GithubOptions(Options):
    """Which organization, and where its GitHub is."""

    organization: str | None = Field(
        default=None,
        title="Organization",
        description="Its name in addresses: the acme of github.com/acme. An installed app knows it by itself.",
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?$",
    )
    base_url: Annotated[str, AfterValidator(lambda url: url.rstrip("/"))] | None = Field(
        default=None,
        title="API address",
        description="Only for a token on GitHub Enterprise Server: https://github.acme.example/api/v3",
        max_length=500,
    )


async def identify(ctx: Context[GithubOptions]) -> Identified:
    """The organization, provided that the credential sees more of it than its public face.

    Raises `Forbidden` for who is no member of it, and `Invalid` if it is not told which organization. Fine-grained tokens do not
    tell their permissions.
    """
    if isinstance(ctx.credential, Installation):
        return await _identify_installation(ctx, ctx.credential)
    path = path_of(ctx)
    user = await ctx.request("GET", "/user")
    organization = await ctx.get(path, missing=_not_visible(ctx))
    membership = await ctx.get(f"{path}/memberships/{user.json['login']}", missing=_not_visible(ctx))
    if membership["state"] != "active":
        raise _not_visible(ctx)
    scopes = _scopes(user.headers.get("x-oauth-scopes"))
    return Identified(id=str(organization["id"]), name=organization["login"], scopes=scopes)


def name_of(ctx: Context[GithubOptions]) -> str:
    """The name of the connection's organization: the one that the app is installed on, else the option's."""
    if isinstance(ctx.credential, Installation):
        return ctx.credential.account
    if ctx.options.organization is None:
        raise Invalid(
            "organization: a token must be told which organization to read",
            advice="Give its name in addresses: the acme of github.com/acme.",
        )
    return ctx.options.organization


def path_of(ctx: Context[GithubOptions]) -> str:
    """The path of the connection's organization."""
    return f"/orgs/{name_of(ctx)}"


async def _identify_installation(ctx: Context[GithubOptions], installed: Installation) -> Identified:
    if ctx.options.base_url is not None:
        raise Invalid(
            "base_url: an app is installed where the operator's settings say, and read there",
            advice="Leave the API address empty; on an Enterprise Server the operator sets TIELINE_HOST_GITHUB_….",
        )
    if (ctx.options.organization or installed.account).lower() != installed.account.lower():
        raise Invalid(
            f"organization: the app is installed on {installed.account}",
            advice="Leave the organization empty, or install the app on the one that you mean.",
        )
    organization = await ctx.get(path_of(ctx), missing=_not_an_organization(installed))
    if str(organization["id"]) != installed.account_id:  # it was renamed, and its name is another's now
        raise _not_an_organization(installed)
    granted = frozenset((await ctx.fresh()).scopes or ())
    lacking = {scope: words for scope, (name, words) in _MEANS.items() if name not in granted}
    return Identified(
        id=str(organization["id"]),
        name=organization["login"],
        scopes=granted | (_MEANS.keys() - lacking.keys()),
        remarks=tuple(f"The app lacks the permission {words}; an owner must accept it." for words in lacking.values()),
    )


def _not_an_organization(installed: Installation) -> Forbidden:
    return Forbidden(
        f"{installed.account} is not an organization that the app is installed on",
        advice="The app must be installed on an organization, not on a person. If it was renamed, connect it again.",
    )


def _not_visible(ctx: Context[Any]) -> Forbidden:
    return Forbidden(
        f"GitHub does not show the organization {name_of(ctx)} to this token",
        scope="read:org",
        advice="Check the organization's name. The token must be a member's, with read:org (classic) or made for this "
        "organization (fine-grained); if the organization uses single sign-on, authorise the token for it.",
    )


def _scopes(header: str | None) -> frozenset[str] | None:
    """A classic token's scopes with those that they include; `None` for other tokens, which GitHub sends no header for."""
    if header is None:
        return None
    granted = {scope.strip() for scope in header.split(",")} - {""}
    if granted & {"admin:org", "write:org"}:
        granted.add("read:org")
    return frozenset(granted)
