"""Slack: a workspace's members, user groups and public channels, read with a bot token.

Written to Slack's Web API and its OAuth v2.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.slack.answers import call, listed
from tieline.providers.slack.token import identify, revoke
from tieline.sdk import (
    Account,
    Asset,
    Context,
    Group,
    Membership,
    OAuth2,
    PersonalToken,
    Provider,
    Record,
)

SCOPES = ("channels:read", "team:read", "usergroups:read", "users:read", "users:read.email")


slack: Provider[Any] = Provider(
    slug="slack",
    name="Slack",
    category="communication",
    description="Members with role and second factor, user groups and public channels.",
    docs_url="https://docs.slack.dev/apis/web-api/",
    base_url="{api}",
    hosts={"web": "https://slack.com", "api": "https://slack.com/api"},
    auth=[
        OAuth2(
            authorize_url="{web}/oauth/v2/authorize",
            token_url="{api}/oauth.v2.access",  # noqa: S106  an address
            revoke_by=revoke,
            scopes=SCOPES,
            scope_separator=",",
            pkce=False,  # Slack takes PKCE only from apps that were made public clients, which cannot be undone
            keep={"team_id": "team.id"},
            ok_field="ok",
            help="Sign in as somebody who may install apps in the workspace.",
        ),
        PersonalToken(
            field="bot_token",
            pattern=r"xox[bp]-[A-Za-z0-9-]+",
            example="xoxb-…",
            help="api.slack.com/apps → your app → OAuth & Permissions → Bot User OAuth Token, with the bot token scopes "
            + ", ".join(SCOPES)
            + ". Leave token rotation off.",
        ),
    ],
    identity=identify,
    app_url="https://api.slack.com/apps",
    app_help="Create New App → From scratch. Under OAuth & Permissions add the redirect URL shown here and the bot token scopes "
    + ", ".join(SCOPES)
    + ". For other workspaces than your own switch on Manage Distribution. Client ID and secret are under Basic Information.",
    remains="The app stays installed without a working token. A workspace admin removes it: Tools & settings → Manage apps → "
    "the app → Remove app. A bot token that was given by hand is revoked under OAuth & Permissions of its app.",
)

_CHANGING = (
    "updated", "color", "presence", "profile.status_text", "profile.status_text_canonical", "profile.status_emoji",
    "profile.status_emoji_display_info", "profile.status_expiration", "profile.huddle_state",
    "profile.huddle_state_expiration_ts", "profile.avatar_hash", "profile.image_24", "profile.image_32",
    "profile.image_48", "profile.image_72", "profile.image_192", "profile.image_512", "profile.image_1024",
    "profile.image_original",
)  # fmt: skip
"""What people change from day to day, or what is nobody's business: moods, pictures."""


def _true(path: str) -> str:
    """Whether a flag is set; Slack leaves many out where they do not apply."""
    return f"(has({path}) && {path})"


def _unless_empty(path: str) -> str:
    """A text, which Slack writes as empty where there is none."""
    return f"{path} != '' ? dyn({path}) : dyn(null)"


@slack.sync(
    Account.map(
        drop=_CHANGING,
        external_id="payload.id",
        email="payload.profile.email",
        username="payload.name",
        display_name="has(payload.profile.real_name) ? payload.profile.real_name : payload.real_name",
        given_name=_unless_empty("payload.profile.first_name"),
        family_name=_unless_empty("payload.profile.last_name"),
        title=_unless_empty("payload.profile.title"),
        type=f"{_true('payload.is_bot')} || payload.id == 'USLACKBOT' ? 'service'"
        f" : {_true('payload.is_restricted')} || {_true('payload.is_stranger')} ? 'guest' : 'person'",
        status=f"payload.deleted ? 'inactive' : {_true('payload.is_invited_user')} ? 'invited' : 'active'",
        admin=f"payload.is_admin || {_true('payload.is_owner')}",
        mfa="payload.has_2fa",
    ),
    every="6h",
    needs=["users:read", "users:read.email"],
)
async def members(ctx: Context[Any]) -> AsyncIterator[dict[str, Any]]:
    """Members, guests and bots, deactivated ones too."""
    async for member in listed(ctx, "users.list", "members"):
        yield member


@slack.sync(
    (
        Group.map(
            variant="group",
            drop=("date_update", "updated_by", "users", "prefs"),
            external_id="payload.id",
            name="payload.name",
            description=_unless_empty("payload.description"),
            type="has(payload.auto_type) ? 'builtin' : 'team'",
            member_count="int(payload.user_count)",
            created_at="timestamp(payload.date_create)",
        ),
        Membership.map(
            variant="membership",
            external_id="payload.group + ':' + payload.account",
            group="payload.group",
            account="payload.account",
            automatic="payload.automatic",
        ),
    ),
    every="6h",
    needs=["usergroups:read"],
)
async def user_groups(ctx: Context[Any]) -> AsyncIterator[Record]:
    """User groups and who is in them; Slack tells both at once."""
    answer = await call(ctx, "usergroups.list", include_users="true")
    for group in answer.json["usergroups"]:
        yield Record(group, "group")
        automatic = bool(group.get("auto_type"))
        for account in group.get("users", ()):
            yield Record({"group": group["id"], "account": account, "automatic": automatic}, "membership")


@slack.sync(
    Group.map(
        drop=("updated", "topic", "previous_names", "is_member", "unlinked", "properties"),
        external_id="payload.id",
        name="'#' + payload.name",
        description=_unless_empty("payload.purpose.value"),
        type="payload.is_general ? dyn('builtin') : dyn(null)",
        member_count="payload.num_members",
        created_at="timestamp(payload.created)",
    ),
    every="1d",
    needs=["channels:read"],
)
async def channels(ctx: Context[Any]) -> AsyncIterator[dict[str, Any]]:
    """Public channels that are not archived, with the number of their members."""
    async for channel in listed(ctx, "conversations.list", "channels", types="public_channel", exclude_archived="true"):
        yield channel


@slack.sync(
    Asset.map(
        drop=("icon", "avatar_base_url"),
        external_id="payload.id",
        name="payload.name",
        type="'workspace'",
        url="'https://' + payload.domain + '.slack.com'",
    ),
    every="1d",
    needs=["team:read"],
)
async def workspace(ctx: Context[Any]) -> AsyncIterator[dict[str, Any]]:
    """The workspace."""
    yield (await call(ctx, "team.info")).json["team"]
