"""Slack, on answers of the form that Slack documents: errors come with status 200, and a revocation of its own."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from tests.providers.readings import Answers, Connect, mapped

from tieline.clock import SystemClock
from tieline.providers.slack.provider import slack
from tieline.providers.slack.token import revoke
from tieline.sdk import (
    Forbidden,
    Grant,
    Invalid,
    NotOffered,
    ProviderError,
    RateLimited,
    Unauthorised,
    Unavailable,
    Unexpected,
)
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import AuthContext, make_send

TOKEN = "xoxb-example-0001"


def refusing(error: Any, **more: Any) -> Answers:
    return Answers(lambda _: (200, {"ok": False, "error": error, **more}, {}))


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("invalid_auth", Unauthorised),
        ("token_revoked", Unauthorised),
        ("account_inactive", Unauthorised),
        ("token_expired", Unauthorised),
        ("missing_scope", Forbidden),
        ("not_allowed_token_type", Forbidden),
        ("paid_teams_only", NotOffered),
        ("ratelimited", RateLimited),
        ("internal_error", Unavailable),
        ("some_error_of_next_year", Unexpected),
        ({"not": "text"}, Unexpected),
    ],
)
async def test_an_error_with_status_200_is_the_error_that_it_means(
    connect: Connect, code: Any, meaning: type[ProviderError]
) -> None:
    async with connect(slack, TOKEN, transport=refusing(code)) as connected:
        with pytest.raises(meaning):
            await connected.read("members")


async def test_the_scope_that_is_missing_is_named(connect: Connect) -> None:
    transport = refusing("missing_scope", needed="usergroups:read", provided="users:read")
    async with connect(slack, TOKEN, transport=transport) as connected:
        with pytest.raises(Forbidden, match="usergroups:read") as refused:
            await connected.read("user_groups")
    assert refused.value.scope == "usergroups:read"


async def test_a_limit_is_waited_out_until_the_time_that_the_answer_names(connect: Connect) -> None:
    limited = Answers(lambda _: (200, {"ok": False, "error": "ratelimited"}, {"retry-after": "40"}))
    async with connect(slack, TOKEN, transport=limited) as connected:
        before = SystemClock().now()
        with pytest.raises(RateLimited) as told:
            await connected.read("channels")
    assert 39 <= (told.value.until - before).total_seconds() <= 60


async def test_a_short_page_is_not_the_last_and_a_repeated_cursor_ends_the_run(connect: Connect) -> None:
    def answer(_: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        return 200, {"ok": True, "members": [], "response_metadata": {"next_cursor": "again"}}, {}

    async with connect(slack, TOKEN, transport=Answers(answer)) as connected:
        with pytest.raises(Unexpected, match="repeated its cursor"):
            await connected.read("members")


async def test_an_app_installed_for_a_whole_organization_is_refused(connect: Connect) -> None:
    told = {"ok": True, "team": "Example", "team_id": "T1", "is_enterprise_install": True}
    async with connect(slack, TOKEN, transport=Answers(lambda _: (200, told, {}))) as connected:
        with pytest.raises(Invalid, match="Enterprise Grid"):
            await connected.identify()


def test_what_slack_leaves_out_is_unknown() -> None:
    left = mapped(slack, "members", {"id": "U1", "name": "gus", "deleted": True, "profile": {}})
    assert (left.status, left.admin, left.mfa, left.type) == ("inactive", None, None, "person")


def forgetting(answer: tuple[int, Any, dict[str, str]], sent: list[httpx2.Request]) -> AuthContext:
    async def none_here(_audience: str) -> str:
        raise AssertionError("no identity token is asked for")

    def note(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        sent.append(request)
        return answer

    policy, clock = AddressPolicy.parse("127.0.0.1"), SystemClock()
    send = make_send(policy, clock, "Slack", transport=Answers(note))
    return AuthContext(provider="Slack", places=slack.hosts, clock=clock, send=send, identity_token=none_here)


GRANT = Grant(access_token=SecretStr(TOKEN))


@pytest.mark.parametrize("told", [{"ok": True, "revoked": True}, {"ok": False, "error": "token_revoked"}])
async def test_a_token_is_revoked_by_slacks_own_method_or_is_gone_already(told: dict[str, Any]) -> None:
    sent: list[httpx2.Request] = []
    assert await revoke(forgetting((200, told, {}), sent), GRANT) is True
    (request,) = sent
    assert str(request.url) == "https://slack.com/api/auth.revoke"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ((503, {}, {}), Unavailable),
        ((200, {"ok": False, "error": "internal_error"}, {}), Unavailable),
        ((200, {"ok": True, "revoked": False}, {}), Unexpected),
    ],
)
async def test_a_token_that_was_not_revoked_is_tried_again(
    answer: tuple[int, Any, dict[str, str]], meaning: type[ProviderError]
) -> None:
    with pytest.raises(meaning):
        await revoke(forgetting(answer, []), GRANT)
