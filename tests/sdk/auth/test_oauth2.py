"""OAuth2 against a certified provider: every way to show who the client is, rotation, revocation, and attacks on the callback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from pydantic import SecretStr
from tests.emulators.oidc import REDIRECT, TENANT, Oidc
from tests.sdk.auth.conftest import Round, everything_in, make_context

from tieline.errors import Invalid, RateLimited, TielineError, Unauthorised, Unavailable, Unexpected
from tieline.sdk import AdminConsent, AuthContext, ClientCredentials, Grant, OAuth2, OAuthApp, Tenant
from tieline.sdk.auth import Back, Redirects, Refreshes, Revokes

WAYS = ("basic", "body", "private_key_jwt", "none")


def way_of(name: str, **how: Any) -> OAuth2:
    how = {"client_auth": name, "revoke_url": "{op}/token/revocation", "issuer": "{op}", "scopes": ("read",)} | how
    return OAuth2(authorize_url="{op}/auth", token_url="{op}/token", **how)


def context_of(oidc: Oidc, name: str) -> AuthContext:
    return make_context({"op": oidc.issuer}, app=oidc.apps[name])


async def connect(oidc: Oidc, auth: OAuth2, ctx: AuthContext) -> Grant:
    trip = Round()
    query = oidc.walk(auth.authorize(ctx, trip.ask))
    assert query["state"] == trip.state
    return await auth.receive(ctx, trip.back(**query))


def text(secret: SecretStr | None) -> str:
    assert secret
    return secret.get_secret_value()


@pytest.mark.parametrize("name", WAYS)
async def test_a_grant_is_obtained_refreshed_and_revoked(oidc: Oidc, name: str) -> None:
    auth, ctx = way_of(name), context_of(oidc, name)
    first = await connect(oidc, auth, ctx)
    assert (first.scopes, text(first.access_token) != text(first.refresh_token)) == (("read",), True)
    assert first.expires_at
    assert first.obtained_at
    assert 3590 <= (first.expires_at - first.obtained_at).total_seconds() <= 3600
    second = await auth.refresh(ctx, first)
    assert text(second.refresh_token) != text(first.refresh_token)
    assert second.scopes == ("read",)
    assert await auth.revoke(ctx, second)
    with pytest.raises(Unauthorised):
        await auth.refresh(ctx, second)
    assert [one["path"] for one in oidc.requests("/token/revocation")] == ["/token/revocation"] * 2


async def test_it_is_a_kind_that_redirects_refreshes_and_revokes() -> None:
    auth = way_of("none")
    assert isinstance(auth, Redirects)
    assert isinstance(auth, Refreshes)
    assert isinstance(auth, Revokes)
    assert auth.app_fields == {"client_id"}
    request = httpx2.Request("GET", "https://api.example.com")
    auth.sign(request, Grant(access_token=SecretStr("abc")))
    assert request.headers["authorization"] == "Bearer abc"


async def test_a_refresh_token_that_is_used_twice_kills_the_grant(oidc: Oidc) -> None:
    auth, ctx = way_of("basic"), context_of(oidc, "basic")
    first = await connect(oidc, auth, ctx)
    second = await auth.refresh(ctx, first)
    for spent in (first, second):
        with pytest.raises(Unauthorised) as refused:
            await auth.refresh(ctx, spent)
        assert text(spent.refresh_token) not in everything_in(refused.value)


async def test_a_code_works_once_and_only_with_its_verifier(oidc: Oidc) -> None:
    auth, ctx = way_of("body"), context_of(oidc, "body")
    trip = Round()
    query = oidc.walk(auth.authorize(ctx, trip.ask))
    with pytest.raises(Unauthorised) as refused:
        await auth.receive(ctx, replace(trip.back(**query), verifier="x" * 64))
    assert query["code"] not in everything_in(refused.value)
    query = oidc.walk(auth.authorize(ctx, trip.ask))
    await auth.receive(ctx, trip.back(**query))
    with pytest.raises(Unauthorised):
        await auth.receive(ctx, trip.back(**query))


async def test_the_challenge_is_s256_and_leaving_it_out_is_told_in_words(oidc: Oidc) -> None:
    ctx, trip = context_of(oidc, "basic"), Round()
    asked = parse_qs(urlsplit(way_of("basic").authorize(ctx, trip.ask)).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert trip.verifier not in str(asked)
    bare = way_of("basic", pkce=False)
    query = oidc.walk(bare.authorize(ctx, trip.ask))
    with pytest.raises(Invalid, match="did not understand the request"):
        await bare.receive(ctx, trip.back(**query))


@pytest.mark.parametrize("iss", ["https://attacker.example", "", None])
async def test_a_callback_of_another_issuer_stops_before_any_request(oidc: Oidc, iss: str | None) -> None:
    auth, ctx, trip = way_of("basic"), context_of(oidc, "basic"), Round()
    query = oidc.walk(auth.authorize(ctx, trip.ask))
    query = {**query, "iss": iss} if iss is not None else {"code": query["code"]}
    with pytest.raises(Invalid, match="did not come from Acme"):
        await auth.receive(ctx, trip.back(**query))
    assert oidc.requests("/token") == []


async def test_a_person_who_declines_is_told_so(oidc: Oidc) -> None:
    auth, ctx, trip = way_of("basic"), context_of(oidc, "basic"), Round()
    query = oidc.walk(auth.authorize(ctx, trip.ask), decline=True)
    with pytest.raises(Invalid, match=r"Acme did not give access.*access_denied"):
        await auth.receive(ctx, trip.back(**query))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ("access_denied", Invalid, "declined"),
        ("invalid_scope", Invalid, "does not know a permission"),
        ("temporarily_unavailable", Unavailable, "at present"),
        ("something_new", Invalid, "ended the connecting with an error"),
        ("<script>alert(1)</script>", Invalid, "unreadable"),
        ("x" * 5_000, Invalid, "unreadable"),
    ],
)
async def test_errors_in_the_callback_are_told_in_our_words(error: str, kind: type[TielineError], words: str) -> None:
    auth, ctx = way_of("none", issuer=None), make_context(app=OAuthApp(client_id="x"))
    with pytest.raises(kind, match=words) as told:
        await auth.receive(ctx, Round().back(error=error, error_description="call 555-0100 now"))
    assert "555" not in everything_in(told.value)
    assert "<" not in str(told.value)


@pytest.mark.parametrize("code", ["", "x" * 8_001, "a\nb"])
async def test_a_callback_without_a_usable_code_is_refused(code: str) -> None:
    auth, ctx = way_of("none", issuer=None), make_context(app=OAuthApp(client_id="x"))
    with pytest.raises(Invalid, match="no code"):
        await auth.receive(ctx, Round().back(code=code))


async def test_a_refused_app_is_the_operators_matter(oidc: Oidc) -> None:
    auth, ctx = way_of("basic"), context_of(oidc, "basic")
    grant = await connect(oidc, auth, ctx)
    wrong = "wrong-secret-canary-0123456789"
    ctx = replace(ctx, app=ctx.need_app().model_copy(update={"client_secret": SecretStr(wrong)}))
    with pytest.raises(Unexpected, match="OAuth app's id or secret") as refused:
        await auth.refresh(ctx, grant)
    assert "operator" in refused.value.what_to_do
    assert wrong not in everything_in(refused.value)
    assert text(grant.refresh_token) not in everything_in(refused.value)


async def test_an_outage_is_no_dead_grant(oidc: Oidc) -> None:
    auth, ctx = way_of("basic"), context_of(oidc, "basic")
    grant = await connect(oidc, auth, ctx)
    oidc.fail(
        {"path": "/token", "status": 503, "body": "<html>down</html>"},
        {"path": "/token", "status": 429, "headers": {"retry-after": "7"}, "body": '{"error": "invalid_grant"}'},
    )
    with pytest.raises(Unavailable):
        await auth.refresh(ctx, grant)
    with pytest.raises(RateLimited):
        await auth.refresh(ctx, grant)
    assert (await auth.refresh(ctx, grant)).refresh_token
    assert [one["status"] for one in oidc.requests()] == [200, 503, 429, 200]


async def test_revoking_what_is_already_dead_succeeds_and_an_outage_is_told(oidc: Oidc) -> None:
    auth, ctx = way_of("basic"), context_of(oidc, "basic")
    grant = await connect(oidc, auth, ctx)
    assert await auth.revoke(ctx, grant)
    assert await auth.revoke(ctx, grant)
    oidc.fail({"path": "/token/revocation", "status": 502})
    with pytest.raises(Unavailable):
        await auth.revoke(ctx, grant)
    assert not await way_of("basic", revoke_url=None).revoke(ctx, grant)


@pytest.mark.parametrize("name", ["basic", "body", "private_key_jwt"])
async def test_client_credentials_bring_a_token_and_a_wrong_client_is_a_dead_credential(oidc: Oidc, name: str) -> None:
    auth = ClientCredentials(token_url="{op}/token", scopes=("read", "write"), client_auth=name)  # type: ignore[arg-type]
    given = {name: value for name, value in oidc.apps[name] if value is not None}
    ctx = make_context({"op": oidc.issuer})
    token = await auth.mint(ctx, auth.credential.model_validate(given))
    assert token.scopes == ("read", "write")
    assert token.refresh_token is None
    with pytest.raises(Unauthorised):
        await auth.mint(ctx, auth.credential.model_validate({**given, "client_id": "somebody-else"}))


# --- the second round of an administrator's consent, whose ID token is a real one


def consent(**how: Any) -> AdminConsent:
    how = {"client_auth": "body", "scopes": ("read",)} | how
    return AdminConsent(
        consent_url="{op}/adminconsent",
        sign_in_url="{op}/auth",
        token_url="{op}/token",
        issuer="{op}",
        keys_url="{op}/jwks",
        **how,
    )


async def come_back(oidc: Oidc, login: str, tenant: str = TENANT, **changes: Any) -> Any:
    auth, ctx, trip = consent(), context_of(oidc, "body"), Round(memo={"tenant": tenant})
    query = oidc.walk(auth.authorize(ctx, trip.ask), login=login)
    back: Back = replace(trip.back(**query), **changes)
    return await auth.receive(ctx, back)


async def test_an_administrator_of_the_tenant_connects_it_and_the_app_gets_tokens_there(oidc: Oidc) -> None:
    tenant = await come_back(oidc, "anna")
    assert tenant == Tenant(tenant_id=TENANT)
    assert (await consent().mint(context_of(oidc, "body"), tenant)).scopes == ("read",)


@pytest.mark.parametrize(
    ("login", "tenant", "words"),
    [
        ("bert", TENANT, "no role"),
        ("carl", TENANT, "another tenant"),
        ("anna", "99999999-2222-4333-8444-555555555555", "another tenant"),
        ("nobody", TENANT, "another tenant"),
    ],
)
async def test_nobody_else_does(oidc: Oidc, login: str, tenant: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        await come_back(oidc, login, tenant)


async def test_the_word_on_who_signed_in_counts_for_this_sign_in_alone(oidc: Oidc) -> None:
    with pytest.raises(Unauthorised, match="could not be verified"):
        await come_back(oidc, "anna", nonce="another-nonce")


async def test_redirects_are_compared_exactly_by_the_counterpart(oidc: Oidc) -> None:
    auth, ctx = way_of("basic"), context_of(oidc, "basic")
    with pytest.raises(AssertionError, match="redirect_uri"):
        oidc.walk(auth.authorize(ctx, Round(redirect_uri=f"{REDIRECT}/other").ask))
