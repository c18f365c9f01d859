"""Anthropic: an organization's people, workspaces and API keys with an admin key, its models with an API key.

Written to the Admin API and the Models API of version 2023-06-01; each takes only its own sort of key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.sdk import (
    AccessKey,
    Account,
    ApiKey,
    Asset,
    Context,
    Cursor,
    Group,
    Identified,
    Identity,
    Membership,
    NotOffered,
    Options,
    Provider,
    Record,
)

_MODELS = "/v1/models"
_ADMIN = "/v1/organizations"
_PAGES = Cursor("after_id", at="last_id", more="has_more", size_param="limit", size=100)


async def identify(ctx: Context[Options]) -> Identified:
    """The organization: every answer tells its id in a header, only the Admin API its name."""
    if _is_admin(ctx):
        return await Identity(f"{_ADMIN}/me", id="id", name="name")(ctx)
    answer = await ctx.request("GET", _MODELS, params={"limit": 1})
    _PAGES.read(answer, "data")  # or somebody else answered
    organization_id = answer.headers.get("anthropic-organization-id") or "anthropic"
    remark = "This key reads models only. An admin key reads people, workspaces and API keys."
    return Identified(id=organization_id, name=organization_id, remarks=(remark,))


anthropic: Provider[Options] = Provider(
    slug="anthropic",
    name="Anthropic",
    category="ai",
    description="People, workspaces, API keys and models of an organization.",
    docs_url="https://platform.claude.com/docs/en/api",
    base_url="{api}",
    hosts={"api": "https://api.anthropic.com"},
    auth=[
        ApiKey(
            header="x-api-key",
            pattern=r"sk-ant-(?!admin)[A-Za-z0-9_-]+",
            example="sk-ant-api03-…",
            help="Claude Console → Settings → API keys → Create key. It reads models only.",
        ),
        ApiKey(
            header="x-api-key",
            field="admin_key",
            pattern=r"sk-ant-admin[A-Za-z0-9_-]+",
            example="sk-ant-admin01-…",
            help="Claude Console → Settings → Admin keys → Create admin key, as an administrator of the organization.",
            slot="admin_key",
        ),
    ],
    identity=identify,
    headers={"anthropic-version": "2023-06-01"},
    remains="Delete the key in the Claude Console, if nothing else uses it.",
)


@anthropic.sync(
    (
        Account.map(
            variant="user",
            external_id="payload.id",
            email="payload.email",
            display_name="payload.name",
            status="'active'",  # whoever is removed is no longer listed
            admin="payload.role in ['admin', 'owner', 'primary_owner']",
            created_at="payload.added_at",
        ),
        Account.map(
            variant="invite",
            filter="payload.status == 'pending'",
            external_id="payload.id",
            email="payload.email",
            status="'invited'",
            admin="payload.role in ['admin', 'owner', 'primary_owner']",
            created_at="payload.invited_at",
        ),
    ),
    every="6h",
)
async def users(ctx: Context[Options]) -> AsyncIterator[Record]:
    """Members of the organization, and those who are invited."""
    _need_admin(ctx)
    async for user in ctx.pages(f"{_ADMIN}/users", pages=_PAGES, items="data"):
        yield Record(user, "user")
    async for invite in ctx.pages(f"{_ADMIN}/invites", pages=_PAGES, items="data"):
        yield Record(invite, "invite")


@anthropic.sync(
    (
        Group.map(
            variant="workspace",
            external_id="payload.id",
            name="payload.name",
            type="'team'",
            created_at="payload.created_at",
        ),
        Membership.map(
            variant="member",
            external_id="payload.workspace_id + ':' + payload.user_id",
            group="payload.workspace_id",
            account="payload.user_id",
            role="payload.workspace_role",
        ),
    ),
    every="6h",
)
async def workspaces(ctx: Context[Options]) -> AsyncIterator[Record]:
    """Workspaces and who is in them; the default workspace, which has all members, is not listed."""
    _need_admin(ctx)
    async for workspace in ctx.pages(f"{_ADMIN}/workspaces", pages=_PAGES, items="data"):
        yield Record(workspace, "workspace")
        path = f"{_ADMIN}/workspaces/{workspace['id']}/members"
        async for member in ctx.pages(path, pages=_PAGES, items="data", missing=()):
            yield Record(member, "member")


@anthropic.sync(
    AccessKey.map(
        external_id="payload.id",
        account="payload.created_by.type == 'user' ? payload.created_by.id : null",
        name="payload.name",
        active="payload.status == 'active'",
        created_at="payload.created_at",
        expires_at="payload.expires_at",
    ),
    every="6h",
)
async def api_keys(ctx: Context[Options]) -> AsyncIterator[dict[str, Any]]:
    """API keys with who made them; when they were last used is not told."""
    _need_admin(ctx)
    async for key in ctx.pages(f"{_ADMIN}/api_keys", pages=_PAGES, items="data"):
        yield key


@anthropic.sync(
    Asset.map(
        external_id="payload.id",
        name="payload.display_name",
        type="'model'",
        # Where the date is not known, the API says the beginning of 1970.
        created_at="payload.created_at.startsWith('1970-01-01') ? null : payload.created_at",
    ),
    every="1d",
)
async def models(ctx: Context[Options]) -> AsyncIterator[dict[str, Any]]:
    """Models that the key reaches."""
    if _is_admin(ctx):
        raise NotOffered("Anthropic tells its models to an API key, not to an admin key")
    async for model in ctx.pages(_MODELS, pages=_PAGES, items="data"):
        yield model


def _is_admin(ctx: Context[Options]) -> bool:
    return hasattr(ctx.credential, "admin_key")


def _need_admin(ctx: Context[Options]) -> None:
    """Anthropic would answer as if the key itself were bad; raises `NotOffered` in its place."""
    if not _is_admin(ctx):
        raise NotOffered(
            "Anthropic tells this to an admin key only",
            advice="Reconnect with an admin key (sk-ant-admin…) to read it.",
        )
