"""Roles and federation: what is asked of a cloud's token service, and what its answers mean."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from tests.sdk.auth.conftest import IDENTITY_TOKEN, Round, everything_in, form_of

from tieline.errors import (
    Forbidden,
    Invalid,
    ProviderError,
    RateLimited,
    Unauthorised,
    Unavailable,
    Unexpected,
)
from tieline.sdk import AdminConsent, AssumeRole, AuthContext, Federated, FederatedClient, OAuthApp, Role, Tenant
from tieline.sdk.auth import Back, FederatedApp, Further, WorkloadPool
from tieline.sdk.auth.aws import _region_of

ROLE = Role(role_arn="arn:aws:iam::123456789012:role/tieline")
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "operator-secret-canary-0123456789"
SESSION_SECRET, SESSION_TOKEN = "session-secret-canary-0123456789", "session-token-canary-0123456789"
ANSWER = f"""<?xml version="1.0"?>
<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/tieline/tieline</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>{SESSION_SECRET}</SecretAccessKey>
<SessionToken>{SESSION_TOKEN}</SessionToken><Expiration>2026-11-20T13:00:00Z</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>""".encode()


def error(code: str) -> bytes:
    text = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    return text.encode()


@pytest.fixture
def operator() -> OAuthApp:
    return OAuthApp(client_id=KEY_ID, client_secret=SecretStr(SECRET))


async def test_a_role_is_assumed_by_a_signed_request_with_our_external_id(
    bench: Any, acme: Any, context: Callable[..., AuthContext], operator: OAuthApp
) -> None:
    acme.will(bench.raw(ANSWER, kind="text/xml"))
    session = await AssumeRole().mint(context(app=operator), ROLE)
    assert (session.access_key_id, session.expires_at) == ("ASIAEXAMPLE", datetime(2026, 11, 20, 13, tzinfo=UTC))
    assert session.secret_access_key.get_secret_value() == SESSION_SECRET
    assert session.session_token.get_secret_value() == SESSION_TOKEN
    asked = acme.received[0]
    assert form_of(asked) == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE.role_arn,
        "RoleSessionName": "tieline",
        "DurationSeconds": "3600",
        "ExternalId": "tieline-external-id",
    }
    assert asked.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/")
    assert "/us-east-1/sts/aws4_request" in asked.headers["authorization"]
    assert "content-type;host;x-amz-date" in asked.headers["authorization"]


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sts.amazonaws.com", "us-east-1"),
        ("https://sts.eu-central-1.amazonaws.com", "eu-central-1"),
        ("https://sts.cn-north-1.amazonaws.com.cn/", "cn-north-1"),
        ("https://sts-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("http://127.0.0.1:5055", "us-east-1"),
    ],
)
def test_a_request_is_signed_for_the_region_that_its_address_names(url: str, region: str) -> None:
    assert _region_of(url) == region


async def test_without_a_key_our_identity_token_is_shown(
    bench: Any, acme: Any, context: Callable[..., AuthContext]
) -> None:
    acme.will(bench.raw(ANSWER.replace(b"AssumeRole", b"AssumeRoleWithWebIdentity"), kind="text/xml"))
    session = await AssumeRole(keyless=True, slot="web_identity").mint(context(app=None), ROLE)
    assert session.access_key_id == "ASIAEXAMPLE"
    sent = form_of(acme.received[0])
    assert sent["Action"] == "AssumeRoleWithWebIdentity"
    assert sent["WebIdentityToken"] == f"{IDENTITY_TOKEN}.sts.amazonaws.com"
    assert "authorization" not in acme.received[0].headers


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, error("AccessDenied"), Unauthorised),
        (400, error("InvalidIdentityToken"), Unauthorised),
        (403, error("InvalidClientTokenId"), Unexpected),
        (403, error("SignatureDoesNotMatch"), Unexpected),
        (400, error("Throttling"), RateLimited),
        (403, error("RegionDisabledException"), Forbidden),
        (400, error("IDPCommunicationError"), Unavailable),
        (400, error("ValidationError"), Unexpected),
        (503, b"<html>down", Unavailable),
        (429, b"", RateLimited),
        (200, b"", Unexpected),
        (200, ANSWER[:-60], Unexpected),
        (200, ANSWER.replace(b"?>", b'?><!DOCTYPE x [<!ENTITY a "b">]>', 1), Unexpected),
        (200, ANSWER.decode().encode("utf-16"), Unexpected),
        (200, ANSWER.replace(b"SessionToken>", b"Other>"), Unexpected),
    ],
)
async def test_a_refusal_is_told_by_its_code(
    bench: Any,
    acme: Any,
    context: Callable[..., AuthContext],
    operator: OAuthApp,
    status: int,
    body: bytes,
    kind: type[ProviderError],
) -> None:
    acme.will(bench.raw(body, status, kind="text/xml"))
    with pytest.raises(ProviderError) as failed:
        await AssumeRole().mint(context(app=operator), ROLE)
    assert type(failed.value) is kind
    for secret in (SECRET, SESSION_SECRET, SESSION_TOKEN):
        assert secret not in everything_in(failed.value)


@pytest.mark.parametrize(
    ("arn", "good"),
    [
        ("arn:aws:iam::123456789012:role/path/to/tieline+=,.@-_", True),
        ("arn:aws-cn:iam::123456789012:role/tieline", True),
        ("arn:aws-us-gov:iam::123456789012:role/tieline", True),
        ("arn:aws-evil:iam::123456789012:role/tieline", False),
        ("arn:aws:iam::123456789012:user/tieline", False),
        ("arn:aws:iam::12345678901:role/tieline", False),
        ("arn:aws:iam::123456789012:role/tieline&ExternalId=x", False),
        ("arn:aws:iam::123456789012:role/tieline\n", True),  # white space around it is stripped
        ("arn:aws:iam::123456789012:role/tie\nline", False),
    ],
)
async def test_only_the_arn_of_a_role_is_sent(
    bench: Any, acme: Any, context: Callable[..., AuthContext], operator: OAuthApp, arn: str, good: bool
) -> None:
    acme.will(bench.raw(ANSWER, kind="text/xml"))
    if good:
        await AssumeRole().mint(context(app=operator), Role(role_arn=arn))
    else:
        with pytest.raises(Invalid, match="ARN"):
            await AssumeRole().mint(context(app=operator), Role(role_arn=arn))
    assert len(acme.received) == good


async def test_no_role_is_assumed_without_an_external_id_or_a_whole_key(
    acme: Any, context: Callable[..., AuthContext], operator: OAuthApp
) -> None:
    with pytest.raises(Invalid, match="external id"):
        await AssumeRole().mint(context(app=operator, external_id=""), ROLE)
    with pytest.raises(Invalid, match="not complete"):
        await AssumeRole().mint(context(app=OAuthApp(client_id=KEY_ID)), ROLE)
    assert acme.received == []


# --- federation

POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/tieline"
FEDERATED = Federated(
    token_url="{sts}/v1/token",
    scopes=("https://scopes.example/platform",),
    impersonate_url="{iamcredentials}/v1/projects/-/serviceAccounts/{service_account}:generateAccessToken",
)


async def test_an_identity_token_is_exchanged(bench: Any, acme: Any, context: Callable[..., AuthContext]) -> None:
    acme.will(bench.answer({"access_token": "pool-token", "expires_in": 3600, "issued_token_type": "…"}))
    grant = await FEDERATED.mint(context(), WorkloadPool(audience=POOL))
    assert grant.access_token.get_secret_value() == "pool-token"
    assert form_of(acme.received[0]) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": POOL,
        "scope": "https://scopes.example/platform",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "subject_token": f"{IDENTITY_TOKEN}.https:{POOL}",
    }


async def test_a_service_account_may_be_stood_in_for(
    bench: Any, acme: Any, context: Callable[..., AuthContext]
) -> None:
    pool_token = "pool-token-canary-0123456789"
    acme.will(
        bench.answer({"access_token": pool_token}),
        bench.answer({"accessToken": "account-token", "expireTime": "2026-11-20T13:00:00Z"}),
    )
    given = WorkloadPool(audience=POOL, service_account="tieline@p.iam.gserviceaccount.com")
    token = await FEDERATED.mint(context(), given)
    assert (token.access_token.get_secret_value(), token.expires_at) == (
        "account-token",
        datetime(2026, 11, 20, 13, tzinfo=UTC),
    )
    asked = acme.received[1]
    assert asked.path == ("/v1/projects/-/serviceAccounts/tieline%40p.iam.gserviceaccount.com:generateAccessToken")
    assert asked.headers["authorization"] == f"Bearer {pool_token}"
    assert asked.json == {"scope": ["https://scopes.example/platform"], "lifetime": "3600s"}
    acme.will(
        bench.answer({"access_token": pool_token}),
        bench.answer({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": pool_token}}, 403),
    )
    with pytest.raises(Forbidden) as refused:
        await FEDERATED.mint(context(), given)
    assert pool_token not in everything_in(refused.value)


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_target", "invalid_request", "unauthorized_client"])
async def test_a_pool_that_does_not_trust_us_is_a_dead_credential(
    bench: Any, acme: Any, context: Callable[..., AuthContext], code: str
) -> None:
    acme.will(bench.answer({"error": code}, 400))
    with pytest.raises(Unauthorised) as refused:
        await FEDERATED.mint(context(), WorkloadPool(audience=POOL))
    assert IDENTITY_TOKEN not in everything_in(refused.value)


TENANT = "11111111-2222-4333-8444-555555555555"


async def test_an_identity_token_may_stand_for_a_client(
    bench: Any, acme: Any, context: Callable[..., AuthContext]
) -> None:
    acme.will(bench.answer({"access_token": "app-token"}))
    auth = FederatedClient(
        token_url="{login}/{tenant}/oauth2/v2.0/token", scopes=("{graph}/.default",), audience="api://exchange"
    )
    await auth.mint(context(app=None), FederatedApp(tenant_id=TENANT, client_id="their-app"))
    assert acme.received[0].path == f"/{TENANT}/oauth2/v2.0/token"
    assert form_of(acme.received[0]) == {
        "grant_type": "client_credentials",
        "scope": f"{acme.url}/.default",
        "client_id": "their-app",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": f"{IDENTITY_TOKEN}.api://exchange",
    }


# --- an administrator's consent

CONSENT = AdminConsent(
    consent_url="{login}/organizations/v2.0/adminconsent",
    sign_in_url="{login}/{tenant}/oauth2/v2.0/authorize",
    token_url="{login}/{tenant}/oauth2/v2.0/token",
    issuer="{login}/{tenant}/v2.0",
    keys_url="{login}/{tenant}/keys",
    scopes=("{graph}/.default",),
    roles_url="{graph}/users/{person}/roles",
)
ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"


def consented(**query: str) -> Back:
    return Round().back(**{"tenant": TENANT, "admin_consent": "True", **query})


async def test_a_consent_leads_to_a_sign_in_at_the_tenant(acme: Any, context: Callable[..., AuthContext]) -> None:
    ctx, trip = context(), Round()
    url = CONSENT.authorize(ctx, trip.ask)
    assert url.startswith(f"{acme.url}/organizations/v2.0/adminconsent?scope=http")
    further = await CONSENT.receive(ctx, consented(tenant=TENANT.upper()))
    assert further == Further({"tenant": TENANT})
    second = Round(memo=further.memo)
    url = CONSENT.authorize(ctx, second.ask)
    assert url.startswith(f"{acme.url}/{TENANT}/oauth2/v2.0/authorize?")
    for part in (f"nonce={second.nonce}", "code_challenge_method=S256", "scope=openid+profile"):
        assert part in url
    assert acme.received == []


@pytest.mark.parametrize(
    "query",
    [
        {"admin_consent": "False"},
        {"admin_consent": ""},
        {"tenant": ""},
        {"tenant": "common"},
        {"tenant": f"{TENANT}/../x"},
        {"tenant": f"{TENANT}\n"},
        {"error": "access_denied", "error_subcode": "cancel"},
    ],
    ids=str,
)
async def test_no_consent_leads_nowhere(acme: Any, context: Callable[..., AuthContext], query: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        await CONSENT.receive(context(), consented(**query))
    assert acme.received == []


async def sign_in(bench: Any, acme: Any, ctx: AuthContext, claims: dict[str, Any], *further: bytes) -> Any:
    """Come back from the second round, signed in with these claims; `further` are the answers after that."""
    trip, key, now = Round(memo={"tenant": TENANT}), RSAKey.generate_key(2048), int(bench.now.timestamp())
    told = {"iss": f"{acme.url}/{TENANT}/v2.0", "aud": ctx.need_app().client_id, "nonce": trip.nonce, "tid": TENANT}
    id_token = jwt.encode({"alg": "RS256"}, {"sub": "s", "iat": now, "exp": now + 60, **told, **claims}, key)
    acme.will(bench.answer({"id_token": id_token}), bench.answer({"keys": [key.as_dict(private=False)]}), *further)
    return await CONSENT.receive(ctx, trip.back(code="c0de-canary-0123"))


@pytest.mark.parametrize(
    ("claims", "roles", "expected"),
    [
        ({"wids": [ADMINISTRATOR]}, None, True),
        ({"wids": [], "oid": "o1"}, [{"roleTemplateId": ADMINISTRATOR}], True),
        ({"oid": "o1"}, [{"roleTemplateId": "other"}, {}, 7], False),
        ({"oid": "o1"}, "nonsense", False),
        ({}, None, False),
        ({"wids": "odd", "oid": ["o1"]}, None, False),
    ],
)
async def test_an_administrator_is_known_by_claim_or_by_asking(
    bench: Any, acme: Any, context: Callable[..., AuthContext], claims: Any, roles: Any, expected: bool
) -> None:
    further = bench.answer({"access_token": "app-token-canary-0123456789"}), bench.answer({"value": roles})
    if expected:
        assert await sign_in(bench, acme, context(), claims, *further) == Tenant(tenant_id=TENANT)
    else:
        with pytest.raises(Invalid, match="no role"):
            await sign_in(bench, acme, context(), claims, *further)
    asked = [one.path for one in acme.received[2:]]
    assert asked == ([] if roles is None else [f"/{TENANT}/oauth2/v2.0/token", "/users/o1/roles"])


async def test_roles_that_may_not_be_read_are_told(bench: Any, acme: Any, context: Callable[..., AuthContext]) -> None:
    further = bench.answer({"access_token": "app-token-canary-0123456789"}), bench.answer({}, 403)
    with pytest.raises(Forbidden, match="roles of the person") as failed:
        await sign_in(bench, acme, context(), {"oid": "o1"}, *further)
    assert "app-token-canary" not in everything_in(failed.value)


async def test_a_tenant_that_threw_the_app_out_is_a_dead_credential(
    bench: Any, acme: Any, context: Callable[..., AuthContext]
) -> None:
    acme.will(
        bench.answer({"error": "unauthorized_client", "error_description": "AADSTS700016"}, 400),
        bench.answer({"error": "invalid_client", "error_description": "AADSTS7000215"}, 401),
        bench.answer({"access_token": "app-token", "expires_in": 3599}),
    )
    with pytest.raises(Unauthorised):
        await CONSENT.mint(context(), Tenant(tenant_id=TENANT))
    with pytest.raises(Unexpected, match="OAuth app"):
        await CONSENT.mint(context(), Tenant(tenant_id=TENANT))
    grant = await CONSENT.mint(context(), Tenant(tenant_id=TENANT))
    assert grant.expires_at == bench.now + timedelta(seconds=3599)
