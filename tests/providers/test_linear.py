"""Linear, on answers of the form that Linear documents: errors in GraphQL, and limits that come with status 400."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.readings import Answers, Connect, mapped

from tieline.providers.linear.provider import linear
from tieline.sdk import Forbidden, ProviderError, RateLimited, Unauthorised, Unexpected

KEY = "lin_api_example0001"


def saying(status: int, code: str, **headers: str) -> Answers:
    return Answers(lambda _: (status, {"errors": [{"message": "…", "extensions": {"code": code}}]}, headers))


@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        (400, "AUTHENTICATION_ERROR", Unauthorised),
        (401, "AUTHENTICATION_ERROR", Unauthorised),
        (400, "RATELIMITED", RateLimited),
        (200, "FORBIDDEN", Forbidden),
        (400, "GRAPHQL_VALIDATION_FAILED", Unexpected),
    ],
)
async def test_the_test_call_tells_a_dead_key_from_a_limit_and_a_bad_query(
    connect: Connect, status: int, code: str, meaning: type[ProviderError]
) -> None:
    async with connect(linear, KEY, transport=saying(status, code)) as connected:
        with pytest.raises(meaning):
            await connected.identify()


async def test_a_limit_with_status_400_is_waited_for(connect: Connect) -> None:
    limited = saying(400, "RATELIMITED", **{"x-ratelimit-requests-remaining": "0", "retry-after": "120"})
    async with connect(linear, KEY, transport=limited) as connected:
        with pytest.raises(RateLimited):
            await connected.read("users")


async def test_a_key_is_sent_as_it_is_and_a_grant_as_a_bearer_token(connect: Connect) -> None:
    seen = []

    def answer(request: Any) -> tuple[int, Any, dict[str, str]]:
        seen.append(request.headers["authorization"])
        return 200, {"data": {"viewer": {"id": "1"}, "organization": {"id": "2", "name": "Example"}}}, {}

    grant = linear.mode("oauth2").credential.model_validate({"access_token": "example-token"})
    async with connect(linear, KEY, transport=Answers(answer)) as connected:
        await connected.identify()
    async with connect(linear, grant, slot="oauth2", transport=Answers(answer)) as connected:
        await connected.identify()
    assert seen == [KEY, "Bearer example-token"]


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"active": True}, "active"),
        ({"active": False, "disableReason": "pendingInvite"}, "invited"),
        ({"active": False, "disableReason": "admin"}, "suspended"),
        ({"active": False}, "suspended"),
    ],
)
def test_people_who_may_not_sign_in_are_told_apart(told: dict[str, Any], status: str) -> None:
    person = mapped(linear, "users", {"id": "1", "email": "a@example.com", "app": False, "guest": False, **told})
    assert person.status == status
