"""The ways in which GitHub and Okta are connected besides tokens, each from its beginning to a reading, against the emulators."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from tests.emulators.emulate import CLIENT_SECRET, GITHUB_INSTALLATION, REDIRECT_URI, Emulated, app_key
from tests.emulators.person import walk
from tests.providers.readings import Answers, Connect

from tieline.clock import SystemClock
from tieline.providers.github.provider import github
from tieline.providers.github.ways import forget_token
from tieline.providers.okta.provider import okta
from tieline.sdk import (
    Account,
    Forbidden,
    Grant,
    Identified,
    Installation,
    Invalid,
    Membership,
    OAuth2,
    OAuthApp,
    Provider,
    Repository,
    Suspended,
    Unauthorised,
)
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import Ask, AuthContext, Back, make_send

GITHUB_APP = OAuthApp(
    client_id="emulated-github-app",
    client_secret=SecretStr(CLIENT_SECRET),
    private_key=SecretStr(app_key()),
    app_id="12345",
    slug="tieline",
)
OKTA_APP = OAuthApp(client_id="emulated-okta-app", client_secret=SecretStr(CLIENT_SECRET))
ACME = Installation(installation_id=GITHUB_INSTALLATION, account="acme", account_id="1")


def github_hosts(emulated: Emulated) -> dict[str, str]:
    return {"web": emulated.github_url, "api": emulated.github_url, "base_url": emulated.github_url}


# GitHub App


async def test_an_installed_app_reads_its_organization_without_being_told_which(
    emulated: Emulated, connect: Connect
) -> None:
    how: dict[str, Any] = {"slot": "app_install", "app": GITHUB_APP, "hosts": github_hosts(emulated)}
    async with connect(github, ACME, **how) as connected:
        account = await connected.identify()
        members = await connected.read("members")
        repositories = await connected.read("repositories")

    assert (account.id, account.name, account.remarks) == ("1", "acme", ())
    assert account.scopes
    assert account.scopes >= {"read:org", "repo", "members:read", "administration:read", "metadata:read"}
    assert len(members.of(Account)) == emulated.users + 1
    assert {it.mfa for it in members.of(Account).values()} == {None}  # an app is no owner, whom alone GitHub tells it
    assert len(repositories.of(Repository)) == emulated.users
    assert "must-not-leak" not in str(repositories)
    assert [*members.flaws, *repositories.flaws] == []


async def test_an_installation_that_is_gone_is_a_dead_credential(emulated: Emulated, connect: Connect) -> None:
    gone = ACME.model_copy(update={"installation_id": "999"})
    with pytest.raises(Unauthorised, match="no longer installed"):
        async with connect(github, gone, slot="app_install", app=GITHUB_APP, hosts=github_hosts(emulated)):
            pass


async def test_a_suspended_installation_is_told_from_a_dead_one(emulated: Emulated, connect: Connect) -> None:
    suspended = {"message": "This installation has been suspended"}
    emulated.github.fail({"match": "/access_tokens$", "method": "POST", "status": 403, "body": suspended})
    with pytest.raises(Suspended):
        async with connect(github, ACME, slot="app_install", app=GITHUB_APP, hosts=github_hosts(emulated)):
            pass


def installed(**permissions: str) -> Any:
    """GitHub, with the app installed on acme with these permissions."""

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        if request.url.path.endswith("/access_tokens"):
            minted = {"token": "ghs_minted", "expires_at": "2099-01-01T00:00:00Z", "permissions": permissions}
            return 201, minted, {}
        return (200, {"id": 1, "login": "acme"}, {}) if request.url.path == "/orgs/acme" else (404, {}, {})

    return Answers(answer)


async def test_a_permission_that_the_installation_lacks_is_named_as_its_page_names_it(connect: Connect) -> None:
    how: dict[str, Any] = {"slot": "app_install", "app": GITHUB_APP}
    async with connect(github, ACME, **how, transport=installed(members="read", metadata="read")) as connected:
        account = await connected.identify()

    assert account.scopes == frozenset({"members:read", "metadata:read", "read:org"})
    (remark,) = account.remarks
    assert "Repository → Administration: Read-only" in remark


@pytest.mark.parametrize(
    ("update", "options", "error"),
    [
        ({"account_id": "2"}, {}, Forbidden),  # renamed, and the name is another's now
        ({"account": "person00001"}, {}, Forbidden),  # no organization
        ({}, {"organization": "globex"}, Invalid),
        ({}, {"base_url": "https://elsewhere.example/api"}, Invalid),
    ],
)
async def test_an_app_reads_what_it_is_installed_on_and_nothing_else(
    connect: Connect, update: dict[str, str], options: dict[str, str], error: type[Exception]
) -> None:
    how: dict[str, Any] = {"slot": "app_install", "app": GITHUB_APP, "transport": installed(members="read")}
    async with connect(github, ACME.model_copy(update=update), **how, **options) as connected:
        with pytest.raises(error):
            await connected.identify()


async def test_what_an_app_signs_with_its_key_never_goes_to_an_address_that_a_connection_names(
    connect: Connect,
) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        asked.append(str(request.url))
        return 201, {"token": "ghs_minted", "expires_at": "2099-01-01T00:00:00Z"}, {}

    how: dict[str, Any] = {"slot": "app_install", "app": GITHUB_APP, "transport": Answers(answer)}
    async with connect(github, ACME, **how, base_url="https://elsewhere.example/api"):
        pass
    assert asked == [f"https://api.github.com/app/installations/{GITHUB_INSTALLATION}/access_tokens"]


async def test_a_token_that_is_not_told_which_organization_is_refused_by_the_name_of_the_option(
    emulated: Emulated, connect: Connect
) -> None:
    async with connect(github, "gh-owner", hosts=github_hosts(emulated)) as connected:
        with pytest.raises(Invalid, match=r"^organization:"):
            await connected.identify()


# OAuth


def auth_context(provider: Provider[Any], app: OAuthApp, places: dict[str, str], **how: Any) -> AuthContext:
    clock = SystemClock()
    send = make_send(AddressPolicy.parse("127.0.0.1"), clock, provider.name, **how)
    return AuthContext(
        provider=provider.name, places={**provider.hosts, **places}, clock=clock, send=send, app=app,
        identity_token=_no_identity_token,
    )  # fmt: skip


async def _no_identity_token(_audience: str) -> str:
    raise AssertionError("no way here asks for one")


def way_of(provider: Provider[Any]) -> OAuth2:
    way = provider.mode("oauth2")
    assert isinstance(way, OAuth2)
    return way


async def granted(provider: Provider[Any], context: AuthContext, login: str) -> Grant:
    """What a person grants who signs in as `login`."""
    way = way_of(provider)
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # with the challenge below: RFC 7636, appendix B
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    url = way.authorize(context, Ask(redirect_uri=REDIRECT_URI, state="s", challenge=challenge, nonce="n"))
    query = walk(url, login=login)
    assert query.pop("state") == "s"
    return await way.receive(context, Back(query=query, redirect_uri=REDIRECT_URI, verifier=verifier, nonce="n"))


async def test_an_owner_s_grant_reads_their_github_organization(emulated: Emulated, connect: Connect) -> None:
    grant = await granted(github, auth_context(github, GITHUB_APP, github_hosts(emulated)), "owner")
    how: dict[str, Any] = {"slot": "oauth2", "hosts": github_hosts(emulated), "organization": "acme"}
    async with connect(github, grant, **how) as connected:
        account = await connected.identify()
        teams = await connected.read("teams")

    assert (account.id, account.name) == ("1", "acme")
    assert len(teams.of(Membership)) == emulated.users + 1


async def test_an_administrator_s_grant_reads_their_okta_org_and_is_renewed(
    emulated: Emulated, connect: Connect
) -> None:
    org = {"org_url": emulated.okta_url}
    context = auth_context(okta, OKTA_APP, org)
    grant = await granted(okta, context, "person00001@acme.test")
    fresh = await way_of(okta).refresh(context, grant)
    async with connect(okta, fresh, slot="oauth2", **org) as connected:
        account = await connected.identify()
        users = await connected.read("users")

    assert account == Identified(
        id=emulated.okta_url.removeprefix("http://"),
        name=emulated.okta_url.removeprefix("http://"),
        scopes=account.scopes,
    )
    assert account.scopes
    assert account.scopes >= {"okta.users.read", "okta.groups.read", "okta.apps.read", "okta.policies.read"}
    assert fresh.access_token != grant.access_token
    assert len(users.of(Account)) == emulated.users + 1
    assert await way_of(okta).revoke(context, fresh) is True


async def test_one_token_of_a_github_grant_is_revoked_by_the_app_s_own_name_and_secret() -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> tuple[int, Any, dict[str, str]]:
        asked.append(request)
        return 204, None, {}

    context = auth_context(github, GITHUB_APP, {}, transport=Answers(answer))
    assert await forget_token(context, Grant(access_token=SecretStr("gho_granted")))
    (request,) = asked
    assert (request.method, str(request.url)) == (
        "DELETE",
        "https://api.github.com/applications/emulated-github-app/token",
    )
    assert re.fullmatch(r"Basic [A-Za-z0-9+/=]+", request.headers["authorization"])
    assert (await request.aread()) == b'{"access_token":"gho_granted"}'
