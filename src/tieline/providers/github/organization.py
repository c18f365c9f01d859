"""Which organization a connection reads, and the proof that its token sees all of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from tieline.sdk import Context, Forbidden, Identified, Options


class GithubOptions(Options):
    """Which organization, and where its GitHub is."""

    organization: str = Field(
        title="Organization",
        description="Its name in addresses: the acme of github.com/acme.",
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?$",
    )
    base_url: Annotated[str, AfterValidator(lambda url: url.rstrip("/"))] = Field(
        default="https://api.github.com",
        title="API address",
        description="Change it for GitHub Enterprise Server only: https://github.acme.example/api/v3",
        max_length=500,
    )


async def identify(ctx: Context[GithubOptions]) -> Identified:
    """The organization, provided that the token's owner is one of its members: to others GitHub shows its public face.

    Raises `Forbidden` for anybody else. Fine-grained tokens do not tell their permissions.
    """
    path = path_of(ctx)
    user = await ctx.request("GET", "/user")
    organization = await ctx.get(path, missing=_not_visible(ctx))
    membership = await ctx.get(f"{path}/memberships/{user.json['login']}", missing=_not_visible(ctx))
    if membership["state"] != "active":
        raise _not_visible(ctx)
    scopes = _scopes(user.headers.get("x-oauth-scopes"))
    return Identified(id=str(organization["id"]), name=organization["login"], scopes=scopes)


def path_of(ctx: Context[GithubOptions]) -> str:
    """The path of the connection's organization."""
    return f"/orgs/{ctx.options.organization}"


def _not_visible(ctx: Context[GithubOptions]) -> Forbidden:
    return Forbidden(
        f"GitHub does not show the organization {ctx.options.organization} to this token",
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
