"""What the fixtures of Entra ID do not show: licences and permissions that are missing, other policies, another cloud."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from tests.providers.readings import Answers, Connect, mapped

from tieline.providers.entra.provider import entra
from tieline.sdk import Account, Forbidden, NotOffered, OAuthApp, Policy
from tieline.sdk.auth import ClientSecret, Tenant

TENANT = Tenant(tenant_id="99999999-0000-4000-8000-000000000001")
APP = OAuthApp(client_id="made-up", client_secret=SecretStr("made-up-secret"))
UNLICENSED = {
    "error": {"code": "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "message": "No premium license"}
}
DENIED = {
    "error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges to complete the operation."}
}
ADA = {
    "id": "1",
    "userPrincipalName": "ada@example.com",
    "displayName": "Ada",
    "accountEnabled": True,
    "userType": "Member",
}


def token_of(*roles: str) -> str:
    """An access token as Entra gives to an app."""
    claims = base64.urlsafe_b64encode(json.dumps({"roles": roles}).encode()).decode().rstrip("=")
    return f"e30.{claims}.made-up"


def answering(token: str = "opaque", **answers: Any) -> Answers:
    """Graph with these answers by the last part of the path; an empty list for all else."""

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        last = request.url.path.rpartition("/")[2]
        if last == "token":
            return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 3599}, {}
        if "signInActivity" in str(request.url) and "sign_ins" in answers:
            last = "sign_ins"
        found = answers.get(last, {"value": []})
        status, body = found if isinstance(found, tuple) else (200, found)
        return status, body, {}

    return Answers(answer)


ORGANIZATION = {"value": [{"id": TENANT.tenant_id, "displayName": "Acme"}]}


@pytest.mark.parametrize(
    ("token", "scopes"),
    [
        (token_of("User.Read.All"), {"User.Read.All"}),
        (
            token_of("Directory.Read.All"),
            {"Directory.Read.All", "User.Read.All", "Group.Read.All", "GroupMember.Read.All", "Organization.Read.All",
             "RoleManagement.Read.Directory"},
        ),
        ("opaque", None),
        ("a.!.c", None),
        (f"a.{base64.urlsafe_b64encode(b'[]').decode()}.c", None),
    ],
)  # fmt: skip
async def test_the_permissions_are_those_that_the_token_names_if_it_can_be_read(
    connect: Connect, token: str, scopes: set[str] | None
) -> None:
    transport = answering(token, organization=ORGANIZATION)
    async with connect(entra, TENANT, slot="admin_consent", app=APP, transport=transport) as connected:
        account = await connected.identify()
    assert (account.id, account.name, account.scopes) == (TENANT.tenant_id, "Acme", scopes)


@pytest.mark.parametrize(("refusal", "error"), [(UNLICENSED, NotOffered), (DENIED, Forbidden)])
async def test_a_missing_licence_is_told_from_a_missing_permission(
    connect: Connect, refusal: Any, error: type[Exception]
) -> None:
    transport = answering(userRegistrationDetails=(403, refusal))
    async with connect(entra, TENANT, slot="admin_consent", app=APP, transport=transport) as connected:
        with pytest.raises(error):
            await connected.read("second_factors")


async def test_a_tenant_without_conditional_access_still_tells_its_security_defaults(connect: Connect) -> None:
    defaults = {"id": "5", "displayName": "Security Defaults", "isEnabled": True}
    transport = answering(identitySecurityDefaultsEnforcementPolicy=defaults, policies=(403, UNLICENSED))
    async with connect(entra, TENANT, slot="admin_consent", app=APP, transport=transport) as connected:
        (policy,) = (await connected.read("policies")).of(Policy).values()
    assert (policy.type, policy.status, policy.mfa_required) == ("mfa", "active", True)


@pytest.mark.parametrize("refusal", [UNLICENSED, DENIED])
async def test_users_are_read_without_sign_ins_and_roles_that_are_not_told(connect: Connect, refusal: Any) -> None:
    transport = answering(users={"value": [ADA]}, sign_ins=(403, refusal), directoryRoles=(403, DENIED))
    async with connect(entra, TENANT, slot="admin_consent", app=APP, transport=transport) as connected:
        (ada,) = (await connected.read("users")).of(Account).values()
    assert (ada.status, ada.admin, ada.last_login_at) == ("active", None, None)


MFA_STRENGTH = {"requirementsSatisfied": "mfa"}


def grant(operator: str, *controls: str, strength: Any = None) -> dict[str, Any]:
    return {"operator": operator, "builtInControls": list(controls), "authenticationStrength": strength}


@pytest.mark.parametrize(
    ("controls", "type", "required"),
    [
        (grant("OR", "mfa"), "sign_on", True),
        (grant("AND", "mfa", "compliantDevice"), "sign_on", True),
        (grant("OR", "mfa", "compliantDevice"), "sign_on", None),
        (grant("AND", strength=MFA_STRENGTH), "sign_on", True),
        (grant("OR", "compliantDevice", strength=MFA_STRENGTH), "sign_on", None),
        (grant("AND", "passwordChange", strength=MFA_STRENGTH), "sign_on", True),
        (grant("AND", strength={"requirementsSatisfied": "none"}), "access", False),
        (grant("OR", "block"), "access", False),
        (None, "access", False),
    ],
)
def test_a_policy_requires_a_second_factor_if_nothing_else_will_do(
    controls: Any, type: str, required: bool | None
) -> None:
    payload = {
        "id": "1",
        "displayName": "Policy",
        "state": "enabled",
        "grantControls": controls,
        "sessionControls": None,
    }
    policy = mapped(entra, "policies", payload, variant="conditional_access")
    assert (policy.type, policy.mfa_required, policy.status) == (type, required, "active")


@pytest.mark.parametrize(
    ("frequency", "hours"),
    [
        ({"isEnabled": True, "type": "hours", "value": 8}, 8.0),
        ({"isEnabled": True, "type": "days", "value": 7}, 168.0),
        ({"isEnabled": False, "type": "days", "value": 7}, None),
        ({"isEnabled": True, "type": None, "value": None, "frequencyInterval": "everyTime"}, None),
    ],
)
def test_a_session_lasts_until_one_must_sign_in_again(frequency: Any, hours: float | None) -> None:
    session = {"signInFrequency": frequency}
    payload = {
        "id": "1",
        "displayName": "Policy",
        "state": "enabled",
        "grantControls": None,
        "sessionControls": session,
    }
    policy = mapped(entra, "policies", payload, variant="conditional_access")
    assert (policy.type, policy.session_hours) == ("session", hours)


async def test_a_national_cloud_is_a_matter_of_two_hosts(connect: Connect) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        asked.append(str(request.url))
        return 200, {"access_token": "opaque", "token_type": "Bearer", **ORGANIZATION}, {}

    hosts = {"login": "https://login.microsoftonline.us", "graph": "https://graph.microsoft.us"}
    own = ClientSecret(client_id="made-up", client_secret=SecretStr("made-up-secret"))
    how: dict[str, Any] = {"slot": "client_credentials", "hosts": hosts, "tenant": "acme.example"}
    async with connect(entra, own, transport=Answers(answer), **how) as connected:
        await connected.identify()
    token, organization = asked
    assert token == "https://login.microsoftonline.us/acme.example/oauth2/v2.0/token"
    assert organization.startswith("https://graph.microsoft.us/v1.0/organization")
