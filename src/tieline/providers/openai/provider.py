"""OpenAI: an organization's people, projects and API keys with an admin key, its models with an API key.

Written to the Administration API and the Models API, each of which takes only its own sort of key.
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
    Identified,
    NotOffered,
    Options,
    Provider,
    Record,
)

_MODELS = "/models"
_ADMIN = "/organization"
_PAGES = Cursor("after", at="last_id", more="has_more", size_param="limit", size=100)


async def identify(ctx: Context[Options]) -> Identified:
    """The organization, which answers name in a header; one that stands behind a proxy may lack it."""
    admin = _is_admin(ctx)
    answer = await ctx.request("GET", f"{_ADMIN}/projects?limit=1" if admin else _MODELS)
    _PAGES.read(answer, "data")  # or somebody else answered
    organization = answer.headers.get("openai-organization")
    remark = "This key reads models only. An admin key reads people, projects and API keys."
    return Identified(id=organization or "openai", name=organization or "OpenAI", remarks=() if admin else (remark,))


openai: Provider[Options] = Provider(
    slug="openai",
    name="OpenAI",
    category="ai",
    description="People, projects, API keys and models of an organization.",
    docs_url="https://developers.openai.com/api/reference",
    base_url="{api}/v1",
    hosts={"api": "https://api.openai.com"},
    auth=[
        ApiKey(
            header="Authorization",
            prefix="Bearer ",
            pattern=r"sk-(?!admin-|ant-)[A-Za-z0-9_-]+",
            example="sk-proj-…",
            help="OpenAI platform → Settings → API keys → Create new secret key; read access to Models is enough. It reads "
            "models only.",
        ),
        ApiKey(
            header="Authorization",
            prefix="Bearer ",
            field="admin_key",
            pattern=r"sk-admin-[A-Za-z0-9_-]+",
            example="sk-admin-…",
            help="OpenAI platform → Settings → Organization → Admin keys → Create new admin key, as an owner; read only.",
            slot="admin_key",
        ),
    ],
    identity=identify,
    remains="Delete the key at the OpenAI platform, if nothing else uses it.",
)


@openai.sync(
    (
        Account.map(
            variant="user",
            drop=("api_key_last_used_at",),
            external_id="payload.id",
            email="payload.email",
            display_name="payload.name",
            type="has(payload.is_service_account) && payload.is_service_account ? 'service' : 'person'",
            status="has(payload.user) && has(payload.user.banned) && payload.user.banned ? 'suspended' : 'active'",
            admin="payload.role == 'owner'",
            created_at="timestamp(payload.added_at)",
        ),
        Account.map(
            variant="invite",
            filter="payload.status == 'pending'",
            external_id="payload.id",
            email="payload.email",
            status="'invited'",
            admin="payload.role == 'owner'",
            created_at="timestamp(payload.created_at)",
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


@openai.sync(
    (
        Asset.map(
            variant="project",
            external_id="payload.id",
            name="has(payload.name) ? payload.name : payload.id",
            type="'project'",
            status="payload.status",
            created_at="timestamp(payload.created_at)",
        ),
        Account.map(
            variant="service_account",
            external_id="payload.id",
            username="payload.name",
            display_name="payload.name",
            type="'service'",
            status="'active'",
            created_at="timestamp(payload.created_at)",
        ),
    ),
    every="6h",
)
async def projects(ctx: Context[Options]) -> AsyncIterator[Record]:
    """Projects, archived ones too, and the service accounts of the active ones."""
    _need_admin(ctx)
    async for project in ctx.pages(
        f"{_ADMIN}/projects", pages=_PAGES, items="data", params={"include_archived": "true"}
    ):
        yield Record(project, "project")
        if project.get("status") != "archived":
            path = f"{_ADMIN}/projects/{project['id']}/service_accounts"
            async for account in ctx.pages(path, pages=_PAGES, items="data", missing=()):
                yield Record(account, "service_account")


@openai.sync(
    (
        AccessKey.map(
            variant="project",
            external_id="payload.id",
            account="payload.owner.type == 'service_account' ? payload.owner.service_account.id : payload.owner.user.id",
            name="has(payload.name) ? payload.name : payload.redacted_value",
            active="payload.owner_project_access == 'active'",
            created_at="timestamp(payload.created_at)",
            last_used_at="timestamp(payload.last_used_at)",
        ),
        AccessKey.map(
            variant="admin",
            external_id="payload.id",
            account="payload.owner.id",
            name="has(payload.name) ? payload.name : payload.redacted_value",
            active="true",  # one that is revoked is no longer listed
            created_at="timestamp(payload.created_at)",
            last_used_at="timestamp(payload.last_used_at)",
            expires_at="timestamp(payload.expires_at)",
        ),
    ),
    every="6h",
)
async def api_keys(ctx: Context[Options]) -> AsyncIterator[Record]:
    """API keys of active projects, and admin keys, with when they were last used."""
    _need_admin(ctx)
    async for project in ctx.pages(f"{_ADMIN}/projects", pages=_PAGES, items="data"):
        path = f"{_ADMIN}/projects/{project['id']}/api_keys"
        asked = {"owner_project_access": "any"}
        async for key in ctx.pages(path, pages=_PAGES, items="data", params=asked, missing=()):
            yield Record(key, "project")
    async for key in ctx.pages(f"{_ADMIN}/admin_api_keys", pages=_PAGES, items="data"):
        yield Record(key, "admin")


@openai.sync(
    Asset.map(
        external_id="payload.id",
        name="payload.id",
        type="'model'",
        status="has(payload.shutdown_date) ? 'deprecated' : 'available'",
        created_at="timestamp(payload.created)",
    ),
    every="1d",
)
async def models(ctx: Context[Options]) -> AsyncIterator[dict[str, Any]]:
    """Models that the key reaches."""
    if _is_admin(ctx):
        raise NotOffered("OpenAI tells its models to an API key, not to an admin key")
    async for model in ctx.pages(_MODELS, items="data"):
        yield model


def _is_admin(ctx: Context[Options]) -> bool:
    return hasattr(ctx.credential, "admin_key")


def _need_admin(ctx: Context[Options]) -> None:
    """OpenAI would answer as if the key itself were bad; raises `NotOffered` in its place."""
    if not _is_admin(ctx):
        raise NotOffered(
            "OpenAI tells this to an admin key only", advice="Reconnect with an admin key (sk-admin-…) to read it."
        )
