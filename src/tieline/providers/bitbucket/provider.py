"""Bitbucket Cloud: a workspace with its members and repositories.

Written to Bitbucket's REST API 2.0. Bitbucket Data Center has another API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.bitbucket.protection import PAGES, with_protection
from tieline.providers.bitbucket.workspace import BitbucketOptions, identify, path_of
from tieline.sdk import (
    Account,
    Asset,
    Basic,
    Context,
    Group,
    Membership,
    OAuth2,
    PersonalToken,
    Provider,
    Record,
    Repository,
)

bitbucket: Provider[BitbucketOptions] = Provider(
    slug="bitbucket",
    name="Bitbucket",
    category="code",
    description="Workspace members, repositories and the protection of their main branches.",
    docs_url="https://developer.atlassian.com/cloud/bitbucket/rest/",
    base_url="{api}/2.0",
    hosts={"api": "https://api.bitbucket.org", "web": "https://bitbucket.org"},
    auth=[
        OAuth2(
            authorize_url="{web}/site/oauth2/authorize",
            token_url="{web}/site/oauth2/access_token",  # noqa: S106  an address
            scopes=("account", "repository", "repository:admin"),
            client_auth="basic",
            scope_at="scopes",
            lifetime=7_200,
            help="Sign in as an administrator of the workspace.",
        ),
        PersonalToken(
            slot="workspace_token",
            field="workspace_token",
            pattern=r"\S{20,}",
            help="Workspace settings → Security → Access tokens → Create, with the permissions Account: Read and "
            "Repositories: Read and Admin. Needs the Premium plan.",
        ),
        Basic(
            slot="api_token",
            help="User name: your Atlassian e-mail address. Password: an API token from id.atlassian.com → Security → API "
            "tokens → Create API token with scopes → Bitbucket, with read:user, read:workspace, read:repository and "
            "admin:repository.",
        ),
    ],
    options=BitbucketOptions,
    identity=identify,
    app_url="https://bitbucket.org/account/workspaces/",
    app_help="Workspace settings → OAuth consumers → Add consumer: the callback URL shown here, marked as a private consumer, "
    "with the permissions Account: Read, Repositories: Read and Admin.",
    remains="Bitbucket cannot be told by an app to forget a grant: Personal settings → App authorizations → Revoke. An access "
    "token that was made for Tieline is revoked where it was made.",
)


@bitbucket.sync(
    (
        Asset.map(
            variant="workspace",
            drop=("updated_on",),
            external_id="payload.uuid",
            name="payload.name",
            type="'organization'",
            url="payload.links.html.href",
            public="!payload.is_private",
            created_at="payload.created_on",
        ),
        Group.map(
            variant="members",
            drop=("updated_on",),
            external_id="payload.uuid",
            name="payload.slug",
            type="'builtin'",
            url="payload.links.html.href",
            created_at="payload.created_on",
        ),
        Account.map(
            variant="account",
            drop=("last_accessed", "workspace"),
            external_id="payload.user.uuid",
            username="payload.user.nickname",
            display_name="payload.user.display_name",
            type="has(payload.user.type) && payload.user.type in ['app_user', 'team'] ? 'service' : 'person'",
            status="has(payload.user.account_status) && payload.user.account_status in ['inactive', 'closed']"
            " ? 'inactive' : 'active'",
            admin="payload.permission == 'owner'",
            mfa="payload.user.has_2fa_enabled",
            created_at="payload.user.created_on",
            url="payload.user.links.html.href",
        ),
        Membership.map(
            variant="membership",
            drop=("last_accessed",),
            external_id="payload.workspace.uuid + ':' + payload.user.uuid",
            group="payload.workspace.uuid",
            account="payload.user.uuid",
            role="payload.permission",
            added_at="payload.added_on",
        ),
    ),
    every="6h",
    needs=["account"],
)
async def members(ctx: Context[BitbucketOptions]) -> AsyncIterator[Record]:
    """The workspace and its members, each with a permission: owner, collaborator or member."""
    workspace = await ctx.get(path_of(ctx))
    yield Record(workspace, "workspace")
    yield Record(workspace, "members")
    async for place in ctx.pages(f"{path_of(ctx)}/permissions", pages=PAGES, items="values"):
        yield Record(place, "account")
        yield Record(place | {"workspace": {"uuid": workspace["uuid"]}}, "membership")


@bitbucket.sync(
    Repository.map(
        drop=("updated_on", "size", "links.avatar", "links.clone", "owner", "workspace", "project"),
        external_id="payload.uuid",
        name="payload.full_name",
        description="payload.description != '' ? dyn(payload.description) : dyn(null)",
        url="payload.links.html.href",
        visibility="payload.is_private ? 'private' : 'public'",
        archived="false",  # Bitbucket has no archived repositories
        fork="has(payload.parent)",
        default_branch="payload.mainbranch.name",
        default_branch_protected="payload.protected",
        required_reviews="payload.required_reviews",
        force_push_allowed="payload.force_push",
        created_at="payload.created_on",
    ),
    every="6h",
    needs=["repository", "repository:admin"],
)
async def repositories(ctx: Context[BitbucketOptions]) -> AsyncIterator[dict[str, Any]]:
    """The workspace's repositories, each with what restricts its main branch."""
    listed = ctx.pages(f"/repositories/{ctx.options.workspace}", pages=PAGES, items="values")
    async for repository in listed.join(lambda one: with_protection(ctx, one)):
        yield repository
