"""OAuth2 and AppInstall against six services as `emulate` plays them: each declared as its provider would declare it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from tests.emulators.oauth import FOREIGN_INSTALLATION, INSTALLATION, PERSON, Services
from tests.emulators.person import walk
from tests.sdk.auth.conftest import Round, everything_in, make_context

from tieline.errors import ProviderError, Unauthorised, Unexpected
from tieline.sdk import AppInstall, AuthContext, ClientCredentials, Grant, Installation, OAuth2

GITHUB = OAuth2(
    authorize_url="{web}/login/oauth/authorize",
    token_url="{web}/login/oauth/access_token",
    scopes=("read:org",),
    client_auth="body",
    token_headers={"accept": "application/json"},
)
GOOGLE = OAuth2(
    authorize_url="{web}/o/oauth2/v2/auth",
    token_url="{web}/oauth2/token",
    revoke_url="{web}/oauth2/revoke",
    scopes=("openid", "email"),
    client_auth="body",
    authorize_params={"access_type": "offline", "prompt": "consent"},
)
MICROSOFT = OAuth2(
    authorize_url="{web}/oauth2/v2.0/authorize",
    token_url="{web}/oauth2/v2.0/token",
    scopes=("openid", "offline_access", "User.Read"),
    client_auth="body",
)
OKTA = OAuth2(
    authorize_url="{web}/oauth2/default/v1/authorize",
    token_url="{web}/oauth2/default/v1/token",
    revoke_url="{web}/oauth2/default/v1/revoke",
    scopes=("openid", "offline_access"),
)
SLACK = OAuth2(
    authorize_url="{web}/oauth/v2/authorize",
    token_url="{web}/api/oauth.v2.access",
    scopes=("users:read", "team:read"),
    scope_separator=",",
    client_auth="body",
    pkce=False,
    ok_field="ok",
    keep={"team_id": "team.id", "team": "team.name"},
)
LINEAR = OAuth2(
    authorize_url="{web}/oauth/authorize",
    token_url="{web}/oauth/token",
    revoke_url="{web}/oauth/revoke",
    scopes=("read",),
    scope_separator=",",
    client_auth="body",
)
ALL = {"github": GITHUB, "google": GOOGLE, "microsoft": MICROSOFT, "okta": OKTA, "slack": SLACK, "linear": LINEAR}
REFRESHED = ("google", "microsoft", "okta", "linear")
ROTATED = ("microsoft", "okta", "linear")
REVOKED = ("google", "okta", "linear")
every = pytest.mark.parametrize("name", ALL)


def context_of(services: Services, name: str) -> AuthContext:
    url = services.urls[name]
    return make_context({"web": url, "api": url}, app=services.apps[name])


async def connect(services: Services, name: str) -> tuple[OAuth2, AuthContext, Grant]:
    auth, ctx, trip = ALL[name], context_of(services, name), Round()
    query = walk(auth.authorize(ctx, trip.ask), login="anna" if name == "github" else PERSON)
    assert query["state"] == trip.state
    return auth, ctx, await auth.receive(ctx, trip.back(**query))


@every
async def test_a_person_connects(services: Services, name: str) -> None:
    auth, _, grant = await connect(services, name)
    assert grant.access_token.get_secret_value()
    assert set(grant.scopes or ()) <= set(auth.scopes)
    assert bool(grant.refresh_token) == (name in REFRESHED)
    if name == "slack":
        assert grant.details["team"] == "Acme"


@every
async def test_a_wrong_secret_and_a_wrong_code_are_told_apart(services: Services, name: str) -> None:
    auth, ctx, trip = ALL[name], context_of(services, name), Round()
    with pytest.raises(Unauthorised):
        await auth.receive(ctx, trip.back(code="c0de-that-nobody-gave"))
    query = walk(auth.authorize(ctx, trip.ask), login="anna" if name == "github" else PERSON)
    wrong = ctx.need_app().model_copy(update={"client_secret": SecretStr("wrong-secret-canary-0123")})
    with pytest.raises(Unexpected, match="OAuth app") as refused:
        await auth.receive(replace(ctx, app=wrong), trip.back(**query))
    assert "wrong-secret-canary" not in everything_in(refused.value)
    assert query["code"] not in everything_in(refused.value)


@pytest.mark.parametrize("name", REFRESHED)
async def test_a_grant_is_refreshed(services: Services, name: str) -> None:
    auth, ctx, grant = await connect(services, name)
    fresh = await auth.refresh(ctx, grant)
    assert fresh.access_token != grant.access_token
    assert (fresh.refresh_token != grant.refresh_token) == (name in ROTATED)
    assert await auth.refresh(ctx, fresh)


@pytest.mark.parametrize("name", ROTATED)
async def test_a_rotated_refresh_token_is_dead(services: Services, name: str) -> None:
    auth, ctx, grant = await connect(services, name)
    await auth.refresh(ctx, grant)
    with pytest.raises(Unauthorised):
        await auth.refresh(ctx, grant)


@pytest.mark.parametrize("name", REVOKED)
async def test_a_revoked_grant_is_dead(services: Services, name: str) -> None:
    auth, ctx, grant = await connect(services, name)
    assert await auth.revoke(ctx, grant)
    with pytest.raises(Unauthorised):
        await auth.refresh(ctx, grant)


@pytest.mark.parametrize("name", ["google", "microsoft", "okta", "linear"])
async def test_a_code_is_worth_nothing_without_its_verifier(services: Services, name: str) -> None:
    auth, ctx, trip = ALL[name], context_of(services, name), Round()
    query = walk(auth.authorize(ctx, trip.ask), login=PERSON)
    with pytest.raises(ProviderError):
        await auth.receive(ctx, replace(trip.back(**query), verifier="x" * 64))


@pytest.mark.parametrize(("name", "scope"), [("microsoft", ".default"), ("okta", "users")])
async def test_an_app_asks_for_itself(services: Services, name: str, scope: str) -> None:
    way: Any = ALL[name]
    auth = ClientCredentials(token_url=way.token_url, scopes=(scope,), client_auth=way.client_auth)
    app = services.apps[name]
    given = auth.credential.model_validate({"client_id": app.client_id, "client_secret": app.client_secret})
    ctx = replace(context_of(services, name), app=None)
    assert (await auth.mint(ctx, given)).expires_at
    wrong = given.model_copy(update={"client_secret": SecretStr("wrong")})
    with pytest.raises(Unauthorised):
        await auth.mint(ctx, wrong)


async def test_an_installation_gives_tokens_to_its_app_alone(services: Services) -> None:
    auth, ctx = AppInstall(), context_of(services, "github")
    grant = await auth.mint(ctx, Installation(installation_id=str(INSTALLATION), account="acme", account_id="1"))
    assert grant.scopes == ("members:read", "metadata:read")
    assert grant.expires_at
    assert timedelta(minutes=50) < grant.expires_at - datetime.now(UTC) <= timedelta(minutes=60)
    other = await auth.mint(
        ctx, Installation(installation_id=str(FOREIGN_INSTALLATION), account="globex", account_id="2")
    )
    assert other.access_token != grant.access_token
    with pytest.raises(Unauthorised, match="no longer installed"):
        await auth.mint(ctx, Installation(installation_id="999", account="gone", account_id="3"))
