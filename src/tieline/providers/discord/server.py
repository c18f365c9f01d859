"""Which server a connection reads, and whether the bot may see its members."""

from __future__ import annotations

from pydantic import Field

from tieline.sdk import Context, Forbidden, Identified, Options

MEMBERS_INTENT = "GUILD_MEMBERS"


class DiscordOptions(Options):
    """Which server."""

    guild_id: str = Field(
        title="Server ID",
        description="User settings → Advanced → Developer Mode; then right-click the server → Copy Server ID.",
        pattern=r"^[0-9]{15,20}$",
    )


async def identify(ctx: Context[DiscordOptions]) -> Identified:
    """The server, provided that the bot is on it; `GUILD_MEMBERS` is among the scopes if the bot may list members."""
    await ctx.get("/users/@me")  # a token that is dead is told from a server that the bot is not on
    absent = Forbidden("The bot is not on this Discord server", advice="Invite the bot, and check the server's id.")
    guild = await ctx.get(path_of(ctx), missing=absent)
    try:
        await ctx.get(f"{path_of(ctx)}/members", params={"limit": 1})
    except Forbidden:
        remark = "The bot may not list members: switch on the Server Members Intent."
        return Identified(guild["id"], guild["name"], frozenset(), remarks=(remark,))
    return Identified(guild["id"], guild["name"], frozenset({MEMBERS_INTENT}))


def path_of(ctx: Context[DiscordOptions]) -> str:
    """The path of the connection's server."""
    return f"/guilds/{ctx.options.guild_id}"
