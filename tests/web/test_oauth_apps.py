"""The OAuth apps of an organization on the console: whose is in force, set up, changed and removed, and no secret ever shown."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from fastapi import FastAPI
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

from tieline.flows.parts import Parts
from tieline.sdk.auth import OAuthApp
from tieline.store.audit import list_entries
from tieline.store.listing import Paging
from tieline.store.oauth_apps import get_app

SECRET = "a-client-secret-that-is-never-shown"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"


@pytest.fixture
async def browser(sign_in: Signs, scene: Scene) -> Browser:
    """An admin of the organization without anything."""
    return await sign_in(scene.other_org_id, "admin")


async def in_force(browser: Browser) -> dict[str, dict[str, str]]:
    """The rows of the list, by provider, from its CSV."""
    answer = await browser.get("/oauth-apps", format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    return {row["provider"]: row for row in csv.DictReader(io.StringIO(answer.text))}


async def test_an_app_is_set_up_changed_and_removed(browser: Browser, parts: Parts, scene: Scene) -> None:
    page = await browser.get("/oauth-apps/linear")
    assert "/v1/oauth/callback/linear" in page.text
    assert "https://linear.app/settings/api/applications/new" in page.text
    assert "Set up your organization" in page.text
    for client_id, secret in (("linear-1", SECRET), ("linear-2", f"{SECRET}-2")):
        answer = await browser.post("/oauth-apps/linear", client_id=f" {client_id} ", client_secret=secret)
        assert (answer.status_code, answer.headers["location"]) == (303, "/oauth-apps/linear")
        page = await browser.get("/oauth-apps/linear")
        assert client_id in page.text
        assert SECRET not in page.text
        assert (await in_force(browser))["linear"]["in force"] == "organization"
    async with parts.db.work(scene.other_org_id) as work:
        own = await get_app(work, "linear")
        entries = (await list_entries(work, Paging(limit=50))).items
    told = [one for one in entries if one.action.startswith("oauth_app.") and one.actor == browser.member_id]
    assert own
    assert (own.client_id, own.version) == ("linear-2", 2)
    assert own.fingerprint in page.text
    assert [one.action for one in told] == ["oauth_app.saved", "oauth_app.saved"]
    assert (await browser.post("/oauth-apps/linear/remove")).status_code == 303
    assert (await in_force(browser))["linear"]["in force"] == ""
    assert (await browser.post("/oauth-apps/linear/remove")).status_code == 404


async def test_the_installations_app_is_told_from_the_organizations_own(
    browser: Browser, app: FastAPI, parts: Parts
) -> None:
    platform = OAuthApp(client_id="of-everybody", client_secret=SECRET)  # type: ignore[arg-type]
    app.state.parts = replace(parts, apps={"linear": platform})
    page = (await browser.get("/oauth-apps/linear")).text
    assert "This installation's" in page.replace("&#39;", "'")
    assert "of-everybody" not in page, "it is the operator's, and nobody else's to know"
    assert SECRET not in page
    await browser.post("/oauth-apps/linear", client_id="own", client_secret="s")
    page = (await browser.get("/oauth-apps/linear")).text
    assert "From then on this installation&#39;s app is in force" in page.replace("'", "&#39;")
    assert (await in_force(browser))["linear"]["in force"] == "organization"
    await browser.post("/oauth-apps/linear/remove")
    assert (await in_force(browser))["linear"]["in force"] == "platform"


async def test_a_secret_is_entered_anew_when_something_else_was_wrong(browser: Browser) -> None:
    answer = await browser.post("/oauth-apps/github", client_id="Iv1", client_secret=SECRET, private_key="not pem")
    assert answer.status_code == 422
    assert 'aria-describedby="field-private_key' in answer.text
    assert 'value="Iv1"' in answer.text
    assert SECRET not in answer.text
    assert "not pem" not in answer.text
    answer = await browser.post("/oauth-apps/linear", client_id="only")
    assert answer.status_code == 422
    assert 'id="field-client_secret-problem"' in answer.text
    assert (await in_force(browser))["linear"]["in force"] == ""


async def test_an_app_with_less_than_every_way_needs_says_what_it_lacks(browser: Browser) -> None:
    answer = await browser.post("/oauth-apps/github", client_id="Iv1", client_secret=SECRET)
    assert answer.status_code == 303
    row = (await in_force(browser))["github"]
    assert "Private key" in row["missing"]
    assert "Private key" in (await browser.get("/oauth-apps/github")).text
    answer = await browser.post(
        "/oauth-apps/github",
        client_id="Iv1",
        client_secret=SECRET,
        private_key=PEM.replace("\n", "\r\n"),
        app_id="1",
        slug="acme-tieline",
    )
    assert answer.status_code == 303
    assert (await in_force(browser))["github"]["missing"] == "[]"
    await browser.post("/oauth-apps/github/remove")


async def test_an_app_of_another_server_names_it(browser: Browser, parts: Parts, scene: Scene) -> None:
    lacking = await browser.post("/oauth-apps/okta", client_id="okta-1", client_secret=SECRET)
    assert lacking.status_code == 422
    assert 'id="field-hosts.org_url-problem"' in lacking.text
    fields = {"client_id": "okta-1", "client_secret": SECRET, "hosts.org_url": "https://acme.okta.com/"}
    assert (await browser.post("/oauth-apps/okta", **fields)).status_code == 303
    async with parts.db.work(scene.other_org_id) as work:
        own = await get_app(work, "okta")
    assert own
    assert own.hosts == {"org_url": "https://acme.okta.com"}
    assert "https://acme.okta.com" in (await browser.get("/oauth-apps/okta")).text
    await browser.post("/oauth-apps/okta/remove")


async def test_where_an_app_is_missing_connect_leads_to_its_page(browser: Browser) -> None:
    page = await browser.get("/connect/linear", by="oauth2")
    assert 'href="/oauth-apps/linear"' in page.text


async def test_a_provider_that_needs_no_app_says_so(browser: Browser) -> None:
    page = await browser.get("/oauth-apps/sandbox")
    assert (page.status_code, "Nothing to set up" in page.text) == (200, True)
    assert (await browser.post("/oauth-apps/sandbox", client_id="x")).status_code == 422
    assert (await browser.get("/oauth-apps/nowhere")).status_code == 404
    assert "sandbox" not in await in_force(browser)


async def test_an_identity_that_nobody_signs_in_with_is_asked_for_in_its_own_words(browser: Browser) -> None:
    page = (await browser.get("/oauth-apps/aws")).text
    assert "Secret access key" in page
    assert "/v1/oauth/callback/aws" not in page
