"""People sign in at six vendors and go all the way: there and back, first sync, renewal, loss, and the end.

The vendors are npm `emulate` behind the front of `tests/emulators`, whose additions are ours. Tieline is pointed at them by settings
alone, and spoken to through its REST API and by browsers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest
from tests.consent import address_in, agree
from tests.counterparts.conftest import Start
from tests.emulators.emulate import Counterpart, app_key
from tests.emulators.person import walk
from tests.emulators.vendors import (
    FOREIGN_INSTALLATION,
    INSTALLATION,
    OTHER_TENANT,
    PEOPLE,
    PUBLIC,
    SECRET,
    SERVICE_APP,
    SLUGS,
    STRANGER,
    TENANT,
    service_key,
)

from tieline.catalog import load_catalog
from tieline.sdk import AdminConsent, OAuth2

pytestmark = pytest.mark.xdist_group("emulators")
Vendor = Callable[[str], Any]
ANNA, BERT, _ = PEOPLE
REFUSED = "credential-rejected"


async def refreshes(counterpart: Counterpart) -> list[int]:
    """How the vendor answered each refresh."""
    log = await asyncio.to_thread(counterpart.log)
    return [one["status"] for one in log if one["grant"] == "refresh_token"]


async def asked(counterpart: Counterpart, line: str) -> list[int]:
    """How the vendor answered each request that begins so (`DELETE /path`)."""
    log = await asyncio.to_thread(counterpart.log)
    return [one["status"] for one in log if f"{one['method']} {one['path']}".startswith(line)]


def refresh_by_hand(url: str, name: str, token: str) -> str:
    """What the vendor's own token endpoint says to a refresh token: its error code, or nothing."""
    form = {"grant_type": "refresh_token", "refresh_token": token}
    form |= {"client_id": f"tieline-{name}", "client_secret": SECRET}
    try:
        with urlopen(Request(url, urlencode(form).encode()), timeout=30):
            return ""
    except HTTPError as error:
        with error:
            code: str = json.load(error)["error"]
            return code


# Grants that are refreshed


@pytest.mark.parametrize(
    ("name", "token_path", "operation", "kind", "count", "page"),
    [
        (
            "google",
            "/oauth2/token",
            "users",
            "account",
            3,
            "pageToken=2",
        ),  # the Directory API is ours, of two people a page
        (
            "okta",
            "/oauth2/v1/token",
            "factors",
            "account",
            4,
            "/factors$",
        ),  # the fourth is a person of the emulator's own
        ("linear", "/oauth/token", "teams", "group", 1, "^/graphql"),  # all that the emulator's schema can tell
    ],
)
async def test_a_grant_lives_from_signing_in_to_being_revoked(
    vendor: Vendor, name: str, token_path: str, operation: str, kind: str, count: int, page: str
) -> None:
    async with vendor(name) as (counterpart, tenant):
        options = {}
        if name == "okta":  # whose address the connection names, so that no operator's app goes there
            options = {"org_url": counterpart.url}
            app = {"client_id": "tieline-okta", "client_secret": SECRET, "hosts": options}
            refusal = await tenant.ask(
                "POST", "/oauth/start", status=422, json={"provider": name, "by": "oauth2", "options": options}
            )
            assert refusal["detail"] == "There is no OAuth app for Okta"
            await tenant.ask("PUT", "/oauth-apps/okta", json=app)
        connection = await tenant.connected(SLUGS[name], ANNA, by="oauth2", options=options)
        assert connection["status"] == "active"
        assert (await tenant.runs(connection))[operation] == "succeeded"
        assert len(await tenant.read(kind, connection)) == count
        assert await refreshes(counterpart) == []

        tenant.site.let_pass(minutes=59)  # of an hour
        assert (await tenant.sync(connection, operation))[operation] == "succeeded"
        assert await refreshes(counterpart) == [200], "it was renewed before it ended, and once"

        await asyncio.to_thread(counterpart.fail, {"match": page, "status": 401, "times": 1})
        assert (await tenant.sync(connection, operation))[operation] == "succeeded"
        assert await refreshes(counterpart) == [200, 200], "a token that is refused in the middle is renewed"
        await asyncio.to_thread(counterpart.revoke, (await tenant.grant(connection)).access_token.get_secret_value())
        assert (await tenant.sync(connection, operation))[operation] == "succeeded"
        assert await refreshes(counterpart) == [200, 200, 200]
        assert len(await tenant.read(kind, connection)) == count

        last = await tenant.grant(connection)
        assert last.refresh_token
        assert await tenant.disconnect(connection) == (1, 0)
        again = last.refresh_token.get_secret_value()
        told = await asyncio.to_thread(refresh_by_hand, f"{counterpart.url}{token_path}", name, again)
        assert told == "invalid_grant", "the vendor itself has forgotten it"


# Grants that last until they are revoked


@pytest.mark.parametrize(
    ("name", "login", "options", "counts", "operation", "ended_by"),
    [
        (
            "github",
            "anna",
            {"organization": "acme"},
            {"account": 3, "repository": 3},
            "members",
            "DELETE /applications/",
        ),
        ("slack", "anna", {}, {"account": 5}, "members", "POST /api/auth.revoke"),  # two bots are the emulator's own
    ],
)
async def test_a_grant_that_is_revoked_midway_waits_for_the_person_and_goes_on(
    vendor: Vendor,
    name: str,
    login: str,
    options: dict[str, str],
    counts: dict[str, int],
    operation: str,
    ended_by: str,
) -> None:
    async with vendor(name) as (counterpart, tenant):
        connection = await tenant.connected(name, login, by="oauth2", options=options)
        assert (connection["status"], connection["missing_scopes"]) == ("active", [])
        assert (await tenant.runs(connection))[operation] == "succeeded"
        assert {kind: len(await tenant.read(kind, connection)) for kind in counts} == counts

        token = (await tenant.grant(connection)).access_token.get_secret_value()
        await asyncio.to_thread(counterpart.revoke, token)
        assert (await tenant.sync(connection, operation))[operation] == "failed"
        assert (await tenant.connection(connection["id"]))["status"] == "needs_reconnect"
        assert {kind: len(await tenant.read(kind, connection)) for kind in counts} == counts, "nothing was lost"

        back = await tenant.connected(name, login, by="oauth2", options=options, connection_id=connection["id"])
        assert (back["id"], back["status"]) == (connection["id"], "active")
        assert (await tenant.runs(back))[operation] == "succeeded"
        assert await tenant.disconnect(back) == (2, 0), "the dead one, which was still kept to go back to, and the last"
        assert sorted(await asked(counterpart, ended_by)) == ([204, 422] if name == "github" else [200, 200])


async def test_who_is_no_member_of_the_organization_connects_nothing(vendor: Vendor) -> None:
    async with vendor("github") as (_, tenant):
        attempt = await tenant.sign_in("github", "mallory", by="oauth2", options={"organization": "acme"})
        assert (attempt["status"], attempt["reason"]["slug"]) == ("failed", "permission-missing")
        assert await tenant.connections() == []


# GitHub's app


async def test_an_app_is_installed_read_by_minted_tokens_and_stays_installed_for_others(vendor: Vendor) -> None:
    async with vendor("github") as (counterpart, tenant):
        connection = await tenant.connected("github", "acme", "anna")
        assert (connection["kind"], connection["account_name"], connection["status"]) == (
            "app_install",
            "acme",
            "active",
        )
        assert set((await tenant.runs(connection)).values()) == {"succeeded"}
        assert len(await tenant.read("repository", connection)) == 3
        mints = f"POST /app/installations/{INSTALLATION}/access_tokens"
        before = await asked(counterpart, mints)

        await asyncio.to_thread(counterpart.fail, {"match": "^/orgs/acme/members", "status": 401, "times": 1})
        assert (await tenant.sync(connection, "members"))["members"] == "succeeded"
        assert await asked(counterpart, mints) == [*before, 201], "a token that is refused midway is minted anew"

        other = await tenant.site.tenant()
        theirs = await other.connected("github", "acme", "anna")
        assert await tenant.disconnect(connection) == (0, 0)
        assert await asked(counterpart, "DELETE /") == []
        assert (await other.sync(theirs, "members"))["members"] == "succeeded"


@pytest.mark.parametrize(
    ("person", "forged", "why"),
    [
        ("anna", FOREIGN_INSTALLATION, "not among those that you can reach"),
        ("mallory", INSTALLATION, "not among those that you can reach"),
        ("bert", INSTALLATION, "You do not own acme"),
    ],
    ids=["another's installation", "the victim's installation", "a member who is no owner"],
)
async def test_a_forged_installation_is_refused_and_nothing_is_saved(
    vendor: Vendor, person: str, forged: str, why: str
) -> None:
    def forge(query: dict[str, str]) -> dict[str, str]:
        return query | {"installation_id": forged}  # in both rounds: that of the second is not looked at

    async with vendor("github") as (counterpart, tenant):
        attempt = await tenant.sign_in("github", "acme", person, change=forge)
        assert attempt["status"] == "failed"
        assert why in attempt["reason"]["message"]
        assert await tenant.connections() == []
        assert await asked(counterpart, "POST /app/installations/") == [], "no token was minted for it"


@pytest.mark.parametrize(("installation", "status"), [(INSTALLATION, "connected"), (FOREIGN_INSTALLATION, "failed")])
async def test_an_installation_that_comes_with_a_code_is_judged_by_whose_code_it_is(
    vendor: Vendor, installation: str, status: str
) -> None:
    """GitHub may ask who installs, and then sends their code along, so that there is no second round."""
    async with vendor("github") as (counterpart, tenant):

        def with_code(query: dict[str, str]) -> dict[str, str]:
            client = {"client_id": "tieline-github", "redirect_uri": f"{PUBLIC}/v1/oauth/callback/github"}
            page = f"{counterpart.url}/login/oauth/authorize?{urlencode(client | {'state': query['state']})}"
            return query | walk(page, login="anna") | {"installation_id": installation}

        attempt = await tenant.sign_in("github", "acme", change=with_code)
        assert attempt["status"] == status
        assert len(await tenant.connections()) == (status == "connected")


# Okta's service app


async def test_a_service_app_shows_a_signature_of_its_own_key(vendor: Vendor) -> None:
    (private, _), other = service_key(), app_key()
    async with vendor("okta") as (counterpart, tenant):
        org = {"org_url": counterpart.url}
        for wrong in (
            {"client_id": SERVICE_APP, "private_key": other},
            {"client_id": "nobody", "private_key": private},
        ):
            refusal = await tenant.give("okta", "service_app", wrong, status=422, **org)
            assert refusal["slug"] == REFUSED
        assert await tenant.connections() == []

        key = {"client_id": SERVICE_APP, "private_key": private}
        connection = await tenant.give("okta", "service_app", key, **org)
        assert (await tenant.runs(connection))["users"] == "succeeded"
        assert len(await tenant.read("account", connection)) == 4
        tokens = await asked(counterpart, "POST /oauth2/v1/token")
        await asyncio.to_thread(counterpart.fail, {"match": "^/api/v1/users", "status": 401, "times": 1})
        assert (await tenant.sync(connection, "users"))["users"] == "succeeded"
        assert await asked(counterpart, "POST /oauth2/v1/token") == [*tokens, 200], "with a new assertion"


# Entra's administrator


async def test_an_administrator_admits_the_app_to_their_tenant_in_two_rounds(vendor: Vendor) -> None:
    async with vendor("microsoft") as (counterpart, tenant):
        connection = await tenant.connected("entra", "Acme", ANNA)
        assert (connection["external_id"], connection["account_name"]) == (TENANT, "Acme")
        assert (connection["status"], connection["scopes"]) == ("active", None)
        assert (await tenant.runs(connection))["users"] == "succeeded"
        assert {one["data"]["email"] for one in await tenant.read("account", connection)} == set(PEOPLE)
        tokens = await asked(counterpart, f"POST /{TENANT}/oauth2/v2.0/token")
        await asyncio.to_thread(counterpart.fail, {"match": "skiptoken=2", "status": 401, "times": 1})
        assert (await tenant.sync(connection, "users"))["users"] == "succeeded"
        assert await asked(counterpart, f"POST /{TENANT}/oauth2/v2.0/token") == [*tokens, 200]
        assert await tenant.disconnect(connection) == (0, 0), "an app's own consent is withdrawn at the vendor alone"


@pytest.mark.parametrize(
    ("consented", "person", "why"),
    [
        ("Globex", STRANGER, "could not be verified"),  # the word of another tenant, on its own administrator
        ("Acme", STRANGER, "could not be verified"),
        ("Acme", BERT, "You hold no role"),
    ],
    ids=["a forged tenant", "somebody of another tenant", "no administrator"],
)
async def test_a_tenant_that_the_person_does_not_administer_is_refused(
    vendor: Vendor, consented: str, person: str, why: str
) -> None:
    def forge(query: dict[str, str]) -> dict[str, str]:
        return query | {"tenant": TENANT} if "tenant" in query else query

    async with vendor("microsoft") as (counterpart, tenant):
        attempt = await tenant.sign_in("entra", consented, person, change=forge)
        assert attempt["status"] == "failed"
        assert why in attempt["reason"]["message"]
        assert await tenant.connections() == []
        assert await asked(counterpart, "GET /v1.0/organization") == [], "nothing was read in the tenant's name"
        assert await asked(counterpart, f"POST /{OTHER_TENANT}/") == []


# The operator's word on where the vendors are


async def test_people_are_sent_where_the_operator_says_by_every_provider(start: Start) -> None:
    ways = [
        (slug, auth, urlsplit(auth.consent_url if isinstance(auth, AdminConsent) else auth.authorize_url).path)
        for slug, provider in load_catalog().providers.items()
        for auth in provider.modes
        if isinstance(auth, OAuth2 | AdminConsent) and provider.hosts
    ]
    settings = {
        f"HOST_{spelt(slug, name)}": f"https://{slug}.example" for slug, _, _ in ways for name in hosts_of(slug)
    }
    settings |= {f"OAUTH_{spelt(slug, name)}": "x" for slug, _, _ in ways for name in ("client_id", "client_secret")}
    settings |= {f"OAUTH_{spelt(slug)}_PRIVATE_KEY": app_key().replace("\n", "\\n") for slug, _, _ in ways}
    async with start(**settings) as site:
        tenant = await site.tenant()
        for slug, auth, path in ways:
            wish = {"provider": slug, "by": auth.slot, "options": options_of(slug)}
            begun = await tenant.ask("POST", "/oauth/start", status=201, json=wish)
            async with site.browser() as browser:
                there = address_in((await agree(browser, begun["url"])).text)
            assert there.startswith(f"https://{slug}.example/"), slug
            assert path.rpartition("/")[2] in there
    assert len(ways) >= 8


def options_of(slug: str) -> dict[str, Any]:
    """Options as the provider's fixtures have them, but for those that name a host."""
    package = find_spec(f"tieline.providers.{slug.replace('-', '_')}")
    assert package
    assert package.origin
    case = json.loads(Path(package.origin).with_name("fixtures").joinpath("case.json").read_text())
    return {name: value for name, value in case.get("options", {}).items() if name not in hosts_of(slug)}


def hosts_of(slug: str) -> list[str]:
    return list(load_catalog().provider(slug).hosts)


def spelt(*names: str) -> str:
    return "_".join(names).upper().replace("-", "_")
