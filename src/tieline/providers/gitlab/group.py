"""Which group a connection reads, and the proof that its credential belongs to one of the group's members."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator, Field

from tieline.sdk import Context, Forbidden, Grant, Identified, Options

_INCLUDED = {"api": ("read_api", "read_user")}
"""What a scope grants besides itself: https://docs.gitlab.com/user/profile/personal_access_tokens/#personal-access-token-scopes"""


class GitlabOptions(Options):
    """Which group, and where its GitLab is."""

    group: str = Field(
        title="Group",
        description="Its path, the acme/platform of gitlab.com/acme/platform, or its number. Take the topmost group.",
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-/]*$",
        max_length=500,
    )
    base_url: Annotated[str, AfterValidator(lambda url: url.rstrip("/"))] | None = Field(
        default=None,
        title="Address",
        description="Only for a GitLab of your own: https://gitlab.acme.example",
        max_length=500,
    )


async def identify(ctx: Context[GitlabOptions]) -> Identified:
    """The group, provided that the credential's user is one of its members: to others GitLab shows its public face.

    Raises `Forbidden` for anybody else.
    """
    user = await ctx.get("/user")
    group = await ctx.get(path_of(ctx), params={"with_projects": "false"}, missing=_not_visible(ctx))
    if not user.get("is_admin"):  # an administrator of the whole instance sees all, a member of the group or not
        await ctx.get(f"{path_of(ctx)}/members/all/{user['id']}", missing=_not_visible(ctx))
    token = await _token(ctx)
    return Identified(
        id=str(group["id"]),
        name=group["full_path"],
        scopes=_scopes(token.get("scopes")),
        expires_at=_midnight(token.get("expires_at")),
        remarks=_remarks(group, user),
    )


def path_of(ctx: Context[GitlabOptions]) -> str:
    """The path of the connection's group."""
    return f"/groups/{quote(ctx.options.group.strip('/'), safe='')}"


async def _token(ctx: Context[GitlabOptions]) -> dict[str, Any]:
    """What is known of the token; before GitLab 15.5, nothing of one that a person made."""
    granted = await ctx.fresh()
    if isinstance(granted, Grant):
        return {"scopes": granted.scopes}
    answer = await ctx.request("GET", "/personal_access_tokens/self", accept=(400, 401, 403, 404))
    found: dict[str, Any] = answer.json if answer.status == 200 else {}
    return found


def _scopes(granted: Iterable[str] | None) -> frozenset[str] | None:
    """The scopes with those that they include."""
    if granted is None:
        return None
    told = frozenset(granted)
    return told.union(*(_INCLUDED.get(scope, ()) for scope in told))


def _midnight(date: str | None) -> datetime | None:
    """The moment at which a token ends: 00:00 UTC of its date."""
    return datetime.combine(datetime.fromisoformat(date), time(), UTC) if date else None


def _remarks(group: dict[str, Any], user: dict[str, Any]) -> tuple[str, ...]:
    found = []
    if group.get("parent_id"):
        found.append(
            "This is a subgroup: members' second factors and e-mail addresses are told for topmost groups only."
        )
    if "require_two_factor_authentication" not in group and not user.get("is_admin"):
        found.append("Only an Owner of the group is told its settings.")
    return tuple(found)


def _not_visible(ctx: Context[GitlabOptions]) -> Forbidden:
    return Forbidden(
        f"GitLab does not show the group {ctx.options.group} to this credential",
        scope="read_api",
        advice="Check the group's path. The credential must be a member's, best an Owner's, or a group access token with the "
        "role Owner and the scope read_api.",
    )
