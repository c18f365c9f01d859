"""Discord: a server's members, roles and security settings, read by a bot.

Written to Discord's HTTP API v10. Discord calls a server a guild.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tieline.providers.discord.permissions import ADMINISTRATOR, describe, permissions_of
from tieline.providers.discord.server import MEMBERS_INTENT, DiscordOptions, identify, path_of
from tieline.sdk import (
    Account,
    Asset,
    Context,
    Cursor,
    Group,
    Membership,
    PersonalToken,
    Policy,
    Provider,
    RateHeaders,
    Record,
)

discord: Provider[DiscordOptions] = Provider(
    slug="discord",
    name="Discord",
    category="communication",
    description="Members, roles with what they permit, and the server's security settings.",
    docs_url="https://docs.discord.com/developers/reference",
    base_url="{api}",
    hosts={"api": "https://discord.com/api/v10"},
    auth=PersonalToken(
        field="bot_token",
        prefix="Bot ",
        help="discord.com/developers/applications → New Application → Bot: Reset Token, and switch on Server Members Intent. "
        "Invite it with OAuth2 → URL Generator → scope bot, no permissions.",
    ),
    options=DiscordOptions,
    identity=identify,
    app_url="https://discord.com/developers/applications",
    remains="Remove the bot from the server: Server settings → Integrations → the bot → Remove. If it serves nothing else, reset "
    "its token or delete the application in the developer portal.",
    rate=RateHeaders("x-ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-reset-after", "delta"),
)


_CHANGING = (
    "emojis", "stickers", "roles", "icon", "splash", "banner", "discovery_splash", "home_header", "features",
    "approximate_member_count", "approximate_presence_count", "premium_subscription_count", "premium_tier",
    "incidents_data", "latest_onboarding_question_id",
)  # fmt: skip


@discord.sync(
    (
        Asset.map(variant="server", drop=_CHANGING, external_id="payload.id", name="payload.name", type="'server'"),
        Policy.map(
            variant="two_factor",
            drop=_CHANGING,
            external_id="'two-factor:' + payload.id",
            name="'Two-factor authentication for moderation on ' + payload.name",
            type="'mfa'",
            status="payload.mfa_level == 1 ? 'active' : 'inactive'",
            mfa_required="payload.mfa_level == 1",
        ),
        Policy.map(
            variant="verification",
            drop=_CHANGING,
            external_id="'verification:' + payload.id",
            name="'Verification level of ' + payload.name + ': '"
            " + ['none', 'low', 'medium', 'high', 'highest'][payload.verification_level]",
            type="'access'",
            status="payload.verification_level > 0 ? 'active' : 'inactive'",
        ),
    ),
    every="6h",
)
async def server(ctx: Context[DiscordOptions]) -> AsyncIterator[Record]:
    """The server, and what it asks of those who join or moderate."""
    guild = await ctx.get(path_of(ctx))
    for variant in ("server", "two_factor", "verification"):
        yield Record(guild, variant)


@discord.sync(
    Group.map(
        drop=("color", "colors", "position", "icon", "unicode_emoji", "hoist", "mentionable"),
        external_id="payload.id",
        name="payload.name",
        description="payload.may",
        type="payload.everyone ? 'builtin' : 'role'",
    ),
    every="6h",
)
async def roles(ctx: Context[DiscordOptions]) -> AsyncIterator[dict[str, Any]]:
    """Roles, with the permissions for which Discord asks moderators for a second factor."""
    for role in await ctx.get(f"{path_of(ctx)}/roles"):
        yield role | {"may": describe(role), "everyone": role["id"] == ctx.options.guild_id}


@discord.sync(
    (
        Account.map(
            variant="account",
            drop=(
                "avatar", "banner", "roles", "premium_since", "mute", "deaf", "flags", "collectibles",
                "avatar_decoration_data", "user.avatar", "user.banner", "user.accent_color", "user.primary_guild",
                "user.avatar_decoration_data", "user.collectibles", "user.clan", "user.public_flags", "user.flags",
            ),
            external_id="payload.user.id",
            username="payload.user.username",
            display_name="has(payload.nick) ? payload.nick : has(payload.user.global_name) ? payload.user.global_name"
            " : payload.user.username",
            type="has(payload.user.bot) && payload.user.bot ? 'service' : 'person'",
            status="'active'",
            admin="payload.admin",
            created_at="payload.joined_at",
        ),
        Membership.map(
            variant="membership",
            external_id="payload.role + ':' + payload.account",
            group="payload.role",
            account="payload.account",
            automatic="payload.automatic",
        ),
    ),
    every="6h",
    needs=[MEMBERS_INTENT],
)  # fmt: skip
async def members(ctx: Context[DiscordOptions]) -> AsyncIterator[Record]:
    """Members with their roles; the owner, and whoever has a role with the permission, is an administrator."""
    guild = await ctx.get(path_of(ctx))
    permissions = {role["id"]: permissions_of(role) for role in guild["roles"]}
    everyone = permissions.get(guild["id"], 0)
    pages = Cursor("after", last="user.id", size_param="limit", size=1_000)
    async for member in ctx.pages(f"{path_of(ctx)}/members", pages=pages):
        account, held = member["user"]["id"], member["roles"]
        granted = [everyone, *(permissions.get(role, 0) for role in held)]
        admin = account == guild["owner_id"] or any(one & ADMINISTRATOR for one in granted)
        yield Record(member | {"admin": admin}, "account")
        for role in (guild["id"], *held):
            automatic = role == guild["id"]
            yield Record({"role": role, "account": account, "automatic": automatic}, "membership")


@discord.check(Policy, severity="high", controls=["soc2:CC6.1", "iso27001:A.8.5"], when=lambda it: it.type == "mfa")
def moderators_need_a_second_factor(policy: Policy) -> bool | None:
    """The Discord server asks moderators for a second factor.

    Server settings → Safety Setup → Permissions → Require 2FA for moderator actions; only the owner can switch it on. Tell
    moderators first: without a second factor they can no longer ban, kick or delete messages.
    """
    return policy.mfa_required
