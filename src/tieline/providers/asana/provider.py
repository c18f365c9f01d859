"""Asana: a workspace's people, teams and who is in them.

Written to Asana's REST API 1.0; an organization is a workspace with domains of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.asana.workspace import PAGES, AsanaOptions, find_workspace, identify, read_standings
from tieline.sdk import (
    Account,
    Asset,
    Context,
    Group,
    Membership,
    NotOffered,
    OAuth2,
    PersonalToken,
    Provider,
    Record,
)

asana: Provider[AsanaOptions] = Provider(
    slug="asana",
    name="Asana",
    category="project_management",
    description="People with their standing in the workspace, teams and who is in them.",
    docs_url="https://developers.asana.com/docs/overview",
    base_url="{api}",
    hosts={"web": "https://app.asana.com", "api": "https://app.asana.com/api/1.0"},
    auth=[
        OAuth2(
            authorize_url="{web}/-/oauth_authorize",
            token_url="{web}/-/oauth_token",  # noqa: S106  an address
            revoke_url="{web}/-/oauth_revoke",
            scopes=("workspaces:read", "users:read", "teams:read", "team_memberships:read"),
            client_auth="body",
            help="Sign in as an administrator of the workspace: others see public teams and their own only.",
        ),
        PersonalToken(
            help="app.asana.com/0/my-apps → Create new token, as an administrator; or, on Enterprise plans, Admin console → "
            "Apps → Service accounts.",
        ),
    ],
    options=AsanaOptions,
    identity=identify,
    app_url="https://app.asana.com/0/my-apps",
    app_help="Create new app. Under OAuth add the redirect URL shown here and the permission scopes workspaces:read, users:read, "
    "teams:read and team_memberships:read; under Manage distribution choose who may use it.",
    remains="A personal access token that was made for Tieline: app.asana.com/0/my-apps → the token → Revoke. A service account "
    "stays until a super admin deletes it in the admin console.",
)


@asana.sync(
    Asset.map(
        external_id="payload.gid",
        name="payload.name",
        type="has(payload.is_organization) && payload.is_organization ? 'organization' : 'workspace'",
    ),
    every="1d",
    needs=["workspaces:read"],
)
async def workspace(ctx: Context[AsanaOptions]) -> AsyncIterator[dict[str, Any]]:
    """The workspace or organization."""
    yield await find_workspace(ctx)


@asana.sync(
    Account.map(
        external_id="payload.gid",
        email="payload.email",
        display_name="payload.name",
        type="payload.standing.is_guest ? 'guest' : 'person'",
        status="payload.standing.is_active ? 'active' : 'inactive'",
        admin="payload.standing.is_admin",
    ),
    every="6h",
    needs=["workspaces:read", "users:read"],
)
async def users(ctx: Context[AsanaOptions]) -> AsyncIterator[dict[str, Any]]:
    """People in the workspace, guests too."""
    workspace = (await find_workspace(ctx))["gid"]
    standings: dict[str, dict[str, Any]] | None = None
    about = {"workspace": workspace, "opt_fields": "name,email"}
    async for user in ctx.pages("/users", pages=PAGES, items="data", params=about):
        if standings is None:  # read in here, because a list opened before this one would be the one that is resumed
            standings = await read_standings(ctx, workspace)
        yield user | {"standing": standings.get(user["gid"])}


@asana.sync(
    (
        Group.map(
            variant="team",
            external_id="payload.gid",
            name="payload.name",
            description="payload.description",
            type="'team'",
            url="payload.permalink_url",
        ),
        Membership.map(
            variant="membership",
            external_id="payload.team + ':' + payload.user.gid",
            group="payload.team",
            account="payload.user.gid",
            role="payload.is_admin ? 'admin' : payload.is_guest ? 'guest' : 'member'",
        ),
    ),
    every="6h",
    needs=["workspaces:read", "teams:read", "team_memberships:read"],
)
async def teams(ctx: Context[AsanaOptions]) -> AsyncIterator[Record]:
    """Teams that the account can see, and who is in them."""
    workspace = await find_workspace(ctx)
    if workspace.get("is_organization") is False:
        raise NotOffered("Only organizations have teams in Asana; this is a workspace")
    about = {"opt_fields": "name,description,permalink_url,visibility"}
    within = {"opt_fields": "user,is_admin,is_guest,is_limited_access"}
    async for team in ctx.pages(f"/workspaces/{workspace['gid']}/teams", pages=PAGES, items="data", params=about):
        yield Record(team, "team")
        path = f"/teams/{team['gid']}/team_memberships"
        async for place in ctx.pages(path, pages=PAGES, items="data", params=within, missing=()):
            yield Record(place | {"team": team["gid"]}, "membership")
