"""Linear: a workspace's people, teams and single sign-on.

Written to Linear's GraphQL API; every query asks for what the API's published schema has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.linear.queries import MEMBERSHIPS, PATH, TEAMS, USERS, WORKSPACE, ask, identify
from tieline.sdk import (
    LINEAR,
    Account,
    ApiKey,
    Asset,
    Context,
    GraphQL,
    Group,
    Membership,
    OAuth2,
    Policy,
    Provider,
    Record,
)

linear: Provider[Any] = Provider(
    slug="linear",
    name="Linear",
    category="project_management",
    description="People with their role, teams and who is in them, single sign-on.",
    docs_url="https://linear.app/developers/graphql",
    base_url="{api}",
    hosts={"web": "https://linear.app", "api": "https://api.linear.app"},
    auth=[
        OAuth2(
            authorize_url="{web}/oauth/authorize",
            token_url="{api}/oauth/token",  # noqa: S106  an address
            revoke_url="{api}/oauth/revoke",
            scopes=("read",),
            scope_separator=",",
            client_auth="body",
            authorize_params={"prompt": "consent"},  # or Linear takes the workspace of the last time, unasked
            help="Sign in as an administrator, and choose the workspace: others see public teams and their own only.",
        ),
        ApiKey(
            header="Authorization",
            pattern=r"lin_[A-Za-z0-9_]+",
            example="lin_api_…",
            help="Linear → Settings → Security & access → Personal API keys → New API key, with the permission Read, as an "
            "administrator.",
        ),
    ],
    identity=identify,
    rate=LINEAR,
    app_url="https://linear.app/settings/api/applications/new",
    app_help="Settings → API → OAuth applications → New: add the callback URL shown here, and switch Public on if other "
    "workspaces than your own are to be connected.",
    remains="A personal API key that was made for Tieline: Settings → Security & access → Personal API keys → Revoke.",
)


@linear.sync(
    (
        Asset.map(
            variant="workspace",
            external_id="payload.id",
            name="payload.name",
            type="'workspace'",
            url="'https://linear.app/' + payload.urlKey",
            created_at="payload.createdAt",
        ),
        Policy.map(
            variant="saml",
            external_id="'saml:' + payload.id",
            name="'Single sign-on by SAML for ' + payload.name",
            type="'access'",
            status="payload.samlEnabled ? 'active' : 'inactive'",
        ),
        Policy.map(
            variant="scim",
            external_id="'scim:' + payload.id",
            name="'Provisioning by SCIM for ' + payload.name",
            type="'other'",
            status="payload.scimEnabled ? 'active' : 'inactive'",
        ),
    ),
    every="6h",
    needs=["read"],
)
async def workspace(ctx: Context[Any]) -> AsyncIterator[Record]:
    """The workspace, and whether people and accounts come from an identity provider."""
    organization = (await ask(ctx, WORKSPACE))["organization"]
    for variant in ("workspace", "saml", "scim"):
        yield Record(organization, variant)


linear.listing(
    "users",
    PATH,
    pages=GraphQL(USERS, "users", size_variable="size"),
    every="6h",
    needs=["read"],
    into=Account.map(
        external_id="payload.id",
        email="payload.email",
        username="payload.displayName",
        display_name="payload.name",
        type="payload.app ? 'service' : payload.guest ? 'guest' : 'person'",
        status="payload.active ? 'active' : has(payload.disableReason)"
        " && payload.disableReason.lowerAscii().contains('invite') ? 'invited' : 'suspended'",
        admin="payload.admin || payload.owner",
        last_login_at="payload.lastSeen",
        created_at="payload.createdAt",
        url="payload.url",
    ),
)

linear.listing(
    "teams",
    PATH,
    pages=GraphQL(TEAMS, "teams", size_variable="size"),
    every="6h",
    needs=["read"],
    into=Group.map(
        external_id="payload.id",
        name="payload.name",
        description="payload.description",
        type="'team'",
        created_at="payload.createdAt",
    ),
)

linear.listing(
    "team_memberships",
    PATH,
    pages=GraphQL(MEMBERSHIPS, "teamMemberships", size_variable="size"),
    every="6h",
    needs=["read"],
    into=Membership.map(
        external_id="payload.team.id + ':' + payload.user.id",
        group="payload.team.id",
        account="payload.user.id",
        role="payload.owner ? 'owner' : 'member'",
        added_at="payload.createdAt",
    ),
)
