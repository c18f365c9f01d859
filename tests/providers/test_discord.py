"""Discord, on answers of the form that Discord documents: what a bot may see, and who is an administrator."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.providers.readings import Answers, Connect, mapped

from tieline.providers.discord.provider import discord
from tieline.sdk import Account, Forbidden

GUILD = "100000000000000001"
ADMIN_ROLE, PLAIN_ROLE = "200000000000000001", "200000000000000002"


def a_server(*, everyone: int = 0, intent: bool = True, invited: bool = True) -> Answers:
    roles = [
        {"id": GUILD, "name": "@everyone", "permissions": str(everyone)},
        {"id": ADMIN_ROLE, "name": "Admin", "permissions": str(1 << 3 | 1 << 50)},
        {"id": PLAIN_ROLE, "name": "Plain", "permissions": "1024"},
    ]
    guild = {"id": GUILD, "name": "Example", "owner_id": "1", "roles": roles, "mfa_level": 0, "verification_level": 4}
    members = [
        {"user": {"id": id, "username": id}, "roles": held, "joined_at": "2025-01-01T00:00:00+00:00"}
        for id, held in (("1", []), ("2", [ADMIN_ROLE]), ("3", [PLAIN_ROLE]))
    ]

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        assert request.headers["authorization"] == "Bot example-token"
        path = request.url.path.removeprefix("/api/v10")
        if path == "/users/@me":
            return 200, {"id": "9", "username": "bot"}, {}
        if not invited:
            return 404, {"code": 10004, "message": "Unknown Guild"}, {}
        if path.endswith("/members"):
            page = [] if "after" in request.url.params else members
            return (200, page, {}) if intent else (403, {"code": 50001, "message": "Missing Access"}, {})
        return 200, roles if path.endswith("/roles") else guild, {}

    return Answers(answer)


@pytest.mark.parametrize(
    ("everyone", "admins"), [(0, {"1": True, "2": True, "3": False}), (1 << 3, {"1": True, "2": True, "3": True})]
)
async def test_owners_and_holders_of_an_administrators_role_are_administrators(
    connect: Connect, everyone: int, admins: dict[str, bool]
) -> None:
    async with connect(discord, "example-token", transport=a_server(everyone=everyone), guild_id=GUILD) as connected:
        reading = await connected.read("members")
    assert reading.flaws == []
    assert {id: account.admin for id, account in reading.of(Account).items()} == admins


async def test_a_bot_without_the_members_intent_is_told_what_to_switch_on(connect: Connect) -> None:
    async with connect(discord, "example-token", transport=a_server(intent=False), guild_id=GUILD) as connected:
        identified = await connected.identify()
    assert identified.scopes == frozenset()
    assert "Server Members Intent" in identified.remarks[0]


async def test_a_bot_that_was_not_invited_opens_nothing(connect: Connect) -> None:
    async with connect(discord, "example-token", transport=a_server(invited=False), guild_id=GUILD) as connected:
        with pytest.raises(Forbidden, match="not on this Discord server"):
            await connected.identify()


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (1 << 3, "May: administrator"),
        (1 << 1 | 1 << 28 | 1 << 10, "May: kick members, manage roles"),
        (1 << 10 | 1 << 52, "No elevated permissions"),
    ],
)
async def test_a_role_says_what_it_permits(connect: Connect, bits: int, words: str) -> None:
    listed = Answers(lambda _: (200, [{"id": "5", "name": "Role", "permissions": str(bits)}], {}))
    async with connect(discord, "example-token", transport=listed, guild_id=GUILD) as connected:
        (role,) = (await connected.read("roles")).entities["group"].values()
    assert role.description == words


def test_the_two_factor_policy_says_what_the_server_asks_of_moderators() -> None:
    (check,) = discord.checks
    for level, outcome in ((0, "fail"), (1, "pass")):
        told = {"id": GUILD, "name": "Example", "mfa_level": level}
        policy = mapped(discord, "server", told, variant="two_factor")
        assert check.answer(policy, now=None, related={}) == outcome  # type: ignore[arg-type]  # it reads no clock
