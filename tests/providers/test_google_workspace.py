"""Google Workspace, on answers of the form that Google documents: whose directory it is, limits, and what people become."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.providers.readings import Answers, Connect, mapped

from tieline.providers.google_workspace.provider import google_workspace
from tieline.sdk import Forbidden, Grant, RateLimited, ServiceAccountKey

PERSON = {
    "id": "1",
    "primaryEmail": "Ada@example.com",
    "isAdmin": False,
    "isDelegatedAdmin": False,
    "isEnrolledIn2Sv": False,
    "isEnforcedIn2Sv": True,
    "lastLoginTime": "2026-01-12T08:30:00.000Z",
}
CUSTOMER = {"kind": "admin#directory#customer", "id": "C00example", "customerDomain": "example.com"}
GRANT = Grant.model_validate({"access_token": "example-token"})


def key_file() -> str:
    """A key file as Google makes it, with a key made here."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    how = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account = "tieline@example-project.iam.gserviceaccount.com"
    told = {"type": "service_account", "project_id": "example-project", "client_email": account}
    return json.dumps(told | {"private_key": private.private_bytes(*how).decode()})


def directory(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
    if request.url.host == "oauth2.googleapis.com":
        return 200, {"access_token": "example-token", "expires_in": 3599, "token_type": "Bearer"}, {}
    assert request.headers["authorization"] == "Bearer example-token"
    return 200, CUSTOMER, {}


async def test_a_service_account_reads_for_the_administrator_it_stands_in_for(connect: Connect) -> None:
    key = ServiceAccountKey.model_validate({"key": key_file(), "subject": "admin@example.com"})
    async with connect(google_workspace, key, slot="service_account", transport=Answers(directory)) as connected:
        account = await connected.identify()
    assert (account.id, account.name) == ("C00example", "example.com")


async def test_a_service_account_that_stands_in_for_nobody_is_told_so(connect: Connect) -> None:
    key = ServiceAccountKey.model_validate({"key": key_file()})
    async with connect(google_workspace, key, slot="service_account", transport=Answers(directory)) as connected:
        with pytest.raises(Forbidden) as refused:
            await connected.identify()
    assert "subject" in refused.value.what_to_do


@pytest.mark.parametrize("reason", ["userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded"])
async def test_a_403_for_too_many_requests_asks_to_wait(connect: Connect, reason: str) -> None:
    told = {"domain": "usageLimits", "reason": reason, "message": "An example."}
    body = {"error": {"code": 403, "message": "An example.", "errors": [told]}}
    async with connect(
        google_workspace, GRANT, slot="oauth2", transport=Answers(lambda _: (403, body, {}))
    ) as connected:
        with pytest.raises(RateLimited):
            await connected.read("users")


async def test_a_403_for_a_lacking_privilege_is_forbidden(connect: Connect) -> None:
    told = {"domain": "global", "reason": "forbidden", "message": "Not Authorized to access this resource/api"}
    body = {"error": {"code": 403, "message": told["message"], "errors": [told]}}
    async with connect(
        google_workspace, GRANT, slot="oauth2", transport=Answers(lambda _: (403, body, {}))
    ) as connected:
        with pytest.raises(Forbidden):
            await connected.read("users")


def test_only_an_enrolled_second_factor_counts() -> None:
    assert mapped(google_workspace, "users", PERSON).mfa is False
    assert mapped(google_workspace, "users", PERSON | {"isEnrolledIn2Sv": True}).mfa is True


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({}, "active"),
        ({"archived": True}, "inactive"),
        ({"archived": True, "suspended": True}, "suspended"),
        ({"suspended": True, "deletionTime": "2026-01-10T12:00:00.000Z"}, "deleted"),
    ],
)
def test_the_strongest_of_what_is_told_is_the_status(told: dict[str, Any], status: str) -> None:
    assert mapped(google_workspace, "users", PERSON | told).status == status


@pytest.mark.parametrize("role", ["isAdmin", "isDelegatedAdmin"])
def test_both_sorts_of_administrator_are_administrators(role: str) -> None:
    assert mapped(google_workspace, "users", PERSON).admin is False
    assert mapped(google_workspace, "users", PERSON | {role: True}).admin is True


def test_who_never_signed_in_has_no_last_sign_in() -> None:
    never = PERSON | {"lastLoginTime": "1970-01-01T00:00:00.000Z"}
    assert mapped(google_workspace, "users", never).last_login_at is None
    assert mapped(google_workspace, "users", PERSON).last_login_at is not None


def test_a_group_within_a_group_is_no_account() -> None:
    member = {"group": "g", "id": "1", "role": "MEMBER", "type": "USER"}
    assert mapped(google_workspace, "groups", member, variant="membership").role == "member"
    assert mapped(google_workspace, "groups", member | {"type": "GROUP"}, variant="membership") is None
