"""OAuth apps: whose counts, what is missing, and that their secrets only go in."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.consent import address_in
from tests.oauth.conftest import PUBLIC, Browser, Tenant, World

from tieline.errors import Invalid
from tieline.flows.apps import find_app, parse_app
from tieline.flows.context import external_id
from tieline.sdk import AssumeRole, OAuthApp
from tieline.store.oauth_apps import get_app

SECRET = "a-secret-of-the-client"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"


async def put(tenant: Tenant, slug: str = "acme", /, **fields: Any) -> Any:
    """Set an app."""
    return await tenant.client.put(f"/v1/oauth-apps/{slug}", json={"client_id": "own"} | fields)


async def available(tenant: Tenant) -> dict[str, dict[str, Any]]:
    """The ways that need an app, by provider."""
    rows = (await tenant.client.get("/v1/providers/oauth-availability")).json()["items"]
    return {row["provider"]: row for row in rows}


async def test_an_organizations_own_app_wins_and_the_operators_is_next(
    world: World, tenant: Tenant, browser: Browser
) -> None:
    async def asked_with() -> str:
        sent = await browser.open((await tenant.start())["url"])
        return parse_qs(urlsplit(address_in(sent.text)).query)["client_id"][0]

    platform = world.oidc.apps["basic"].client_id
    assert await asked_with() == platform
    assert (await put(tenant, client_secret=SECRET)).status_code == 200
    assert await asked_with() == "own"
    assert (await available(await world.tenant()))["acme"]["source"] == "platform", "others have it not"
    assert (await tenant.client.delete("/v1/oauth-apps/acme")).status_code == 200
    assert await asked_with() == platform
    world.change(apps={})
    assert (await tenant.client.post("/v1/oauth/start", json={"provider": "acme"})).status_code == 422


async def test_a_person_signs_in_by_the_organizations_own_app(world: World, tenant: Tenant, browser: Browser) -> None:
    world.change(apps={})
    app = world.oidc.apps["private_key_jwt"]
    assert app.private_key is not None
    key = app.private_key.get_secret_value()
    saved = await put(tenant, "closed", client_id=app.client_id, private_key=key, key_id=app.key_id)
    assert saved.status_code == 200, saved.text
    back = await browser.come_back(await browser.walk((await tenant.start("closed"))["url"]), "closed")
    assert back.status_code == 200, back.text
    assert [one["provider"] for one in await tenant.connections()] == ["closed"]


async def test_a_standing_grant_finds_the_app_that_it_was_given_to(world: World, tenant: Tenant) -> None:
    provider, platform = world.parts.catalog.provider("acme"), world.oidc.apps["basic"]
    await put(tenant, client_secret=SECRET)
    found = [
        await find_app(world.parts, tenant.org_id, provider, provider.mode("oauth2"), client_id=name)
        for name in (None, platform.client_id, "own", "neither")
    ]
    assert [one and one.client_id for one in found] == ["own", platform.client_id, "own", "own"]
    stranger = (await world.tenant()).org_id
    assert (
        await find_app(world.parts, stranger, provider, provider.mode("oauth2"), hosts={"web": "https://else.example"})
        is None
    )
    assert await find_app(world.parts, tenant.org_id, provider, provider.mode("token")) is None


async def test_a_grant_is_refreshed_by_the_app_that_it_was_given_to(
    world: World, tenant: Tenant, browser: Browser
) -> None:
    await browser.come_back(await browser.walk((await tenant.start())["url"]))
    (connection,) = await tenant.connections()
    await put(tenant, client_secret=SECRET)
    world.wait(minutes=61)
    tested = await tenant.client.post(f"/v1/connections/{connection['id']}/test")
    assert (tested.status_code, tested.json()["status"]) == (200, "active")
    asked = [(one["grant_type"], one["status"]) for one in browser.oidc.requests()]
    assert asked == [("authorization_code", 200), ("refresh_token", 200)]


async def test_of_an_app_only_its_fingerprint_is_ever_shown(world: World, tenant: Tenant) -> None:
    made = await put(tenant, client_secret=SECRET, private_key=PEM, app_id="7")
    again = await put(tenant, client_secret=SECRET)
    other = await put(await world.tenant(), client_secret=SECRET)
    shown = [one.json() for one in (made, again, other)]
    assert shown[0]["fields"] == ["client_id", "client_secret", "private_key", "app_id"]
    assert shown[1]["fields"] == ["client_id", "client_secret"], "an app is set whole"
    assert [one["version"] for one in shown] == [1, 2, 1]
    assert shown[0]["id"] == shown[1]["id"]
    assert len({one["fingerprint"] for one in shown}) == 3
    listed = await tenant.client.get("/v1/oauth-apps")
    got = await tenant.client.get("/v1/oauth-apps/acme")
    assert listed.json()["items"] == [got.json()] == [shown[1]]
    for answer in (made, again, listed, got):
        assert SECRET not in answer.text
        assert "MIIB" not in answer.text
    async with world.parts.db.work(tenant.org_id) as work:
        row = await get_app(work, "acme")
    assert row is not None
    assert SECRET.encode() not in row.sealed.sealed
    assert SECRET not in repr(row)


@pytest.mark.parametrize(
    ("slug", "fields", "status", "told"),
    [
        ("nobody", {"client_secret": SECRET}, 404, "no provider"),
        ("acme", {}, 422, "lacks client_secret"),
        ("closed", {"client_secret": SECRET}, 422, "lacks "),
        ("acme", {"client_secret": SECRET, "client_id": ""}, 422, "client_id"),
        ("acme", {"client_secret": SECRET, "private_key": SECRET}, 422, "is not PEM"),
        ("acme", {"client_secret": SECRET, "slug": "-x/"}, 422, "slug"),
        ("acme", {"client_secret": SECRET, SECRET: "x"}, 422, "name not shown"),
    ],
)
async def test_an_app_of_no_use_is_refused_and_not_quoted(
    tenant: Tenant, slug: str, fields: dict[str, Any], status: int, told: str
) -> None:
    answer = await put(tenant, slug, **fields)
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True), answer.json()
    assert SECRET not in answer.text
    assert (await tenant.client.get(f"/v1/oauth-apps/{slug}")).status_code == 404


def test_parsing_an_app_names_fields_and_quotes_nothing() -> None:
    with pytest.raises(Invalid) as refused:
        parse_app({"client_id": "x", "client_secret": 7, SECRET: SECRET})
    assert "client_secret" in refused.value.message
    assert SECRET not in str(vars(refused.value))


async def test_availability_says_whose_app_and_what_is_missing(world: World, tenant: Tenant) -> None:
    half = OAuthApp(client_id="half")
    world.change(apps={"closed": half, "acme": world.oidc.apps["basic"]})
    rows = await available(tenant)
    assert {slug: (row["available"], row["source"]) for slug, row in rows.items()} == {
        "acme": (True, "platform"), "other": (False, None), "twice": (False, None), "closed": (False, "platform"),
    }  # fmt: skip
    assert rows["closed"]["missing"] == ["private_key"]
    assert rows["other"]["missing"] == ["client_id", "client_secret"]
    assert rows["acme"]["callback_url"] == f"{PUBLIC}/v1/oauth/callback/acme"
    assert rows["acme"]["app_url"] == "https://vendor.example/apps"
    answer = await tenant.client.post("/v1/oauth/start", json={"provider": "closed"})
    assert "lacks private_key" in answer.json()["detail"]


async def test_the_setup_says_what_each_way_takes(world: World, tenant: Tenant) -> None:
    from tests.oauth.conftest import acme

    from tieline.catalog import compile_catalog

    role = acme("role", AssumeRole(), AssumeRole(keyless=True, slot="keyless"))
    world.change(catalog=compile_catalog([*world.parts.catalog.providers.values(), role], []))
    setup = (await tenant.client.get("/v1/providers/acme/setup")).json()
    token, oauth2 = setup["ways"]
    assert (setup["kind"], setup["credential"]) == ("token", token["credential"])
    assert setup["hosts"] == {"web": world.oidc.issuer, "spare": "https://spare.example"}, (
        "the operator's, where there is one"
    )
    assert (token["redirects"], token["app"], token["callback_url"]) == (False, None, None)
    assert (oauth2["redirects"], oauth2["credential"]) == (True, None)
    assert oauth2["callback_url"] == f"{PUBLIC}/v1/oauth/callback/acme"
    assert oauth2["scopes"] == ["openid", "read"]
    assert oauth2["app"]["fields"] == ["client_id", "client_secret"]
    assert oauth2["app"]["url"] == "https://vendor.example/apps"
    by_key, keyless = (await tenant.client.get("/v1/providers/role/setup")).json()["ways"]
    assert by_key["external_id"] == external_id(tenant.org_id, "role")
    assert by_key["app"]["fields"] == ["client_id", "client_secret"]
    assert keyless["app"] is None


async def test_only_an_admin_touches_apps_and_begins_sign_ins(world: World) -> None:
    member = await world.tenant("member")
    assert (await put(member, client_secret=SECRET)).status_code == 403
    assert (await member.client.get("/v1/oauth-apps")).status_code == 403
    assert (await member.client.post("/v1/oauth/start", json={"provider": "acme"})).status_code == 403
    assert (await member.client.get("/v1/providers/oauth-availability")).status_code == 200
