"""Connecting in the console: the form, what is wrong with it, signing in at the provider, and the app that is missing."""

from __future__ import annotations

import re

import pytest
from tests.api.conftest import new_organization
from tests.api.shapes import SANDBOX_TOKEN, Scene
from tests.web.conftest import Browser, Signs

from tieline.flows.parts import Parts

WRONG = "lks_not_the_right_one_8f3a"
MALFORMED = "not-of-that-form-8f3a"


@pytest.fixture
async def newcomer(sign_in: Signs, parts: Parts) -> Browser:
    """An admin of an organization without anything."""
    return await sign_in(await new_organization(parts), "admin")


async def test_a_filled_form_connects_and_leads_to_the_connection(newcomer: Browser, sandbox_url: str) -> None:
    assert (await newcomer.get("/connect/sandbox")).status_code == 200
    fields = {"by": "token", "options.base_url": sandbox_url, "credential.token": SANDBOX_TOKEN, "name": "The one"}
    answer = await newcomer.post("/connect/sandbox", **fields)
    assert answer.status_code == 303
    page = await newcomer.get(answer.headers["location"])
    assert "The one is connected" in page.text
    assert SANDBOX_TOKEN not in page.text
    again = await newcomer.post("/connect/sandbox", **fields)
    assert again.status_code == 409
    assert f'href="{answer.headers["location"]}/rotate"' in again.text


async def test_a_mistake_is_told_beside_its_field_and_no_secret_comes_back(newcomer: Browser) -> None:
    answer = await newcomer.post(
        "/connect/sandbox", **{"options.base_url": "", "credential.token": MALFORMED, "name": "N"}
    )
    assert answer.status_code == 422
    assert MALFORMED not in answer.text
    assert re.search(r'id="field-options.base_url"[^>]*aria-invalid="true"', answer.text)
    assert 'value="N"' in answer.text


async def test_a_credential_that_the_provider_refuses_saves_nothing(newcomer: Browser, sandbox_url: str) -> None:
    fields = {"options.base_url": sandbox_url, "credential.token": WRONG}
    answer = await newcomer.post("/connect/sandbox", **fields)
    assert answer.status_code == 422
    assert "Nothing was saved" in answer.text
    assert sandbox_url in answer.text
    assert WRONG not in answer.text
    assert "Nothing is connected yet" in (await newcomer.get("/connections")).text


async def test_a_day_in_the_past_is_refused(newcomer: Browser, sandbox_url: str) -> None:
    fields = {"options.base_url": sandbox_url, "credential.token": WRONG}
    for day in ("2001-01-01", "soon"):
        answer = await newcomer.post("/connect/sandbox", ends=day, **fields)
        assert answer.status_code == 422
        assert 'id="ends-problem"' in answer.text


async def test_a_missing_app_is_told_with_its_callback_and_page(newcomer: Browser) -> None:
    text = (await newcomer.get("/connect/github", by="oauth2")).text
    assert "none is set up" in text
    assert "/v1/oauth/callback/github</code>" in text
    assert '<form class="form"' not in text


async def test_signing_in_is_a_link_on_this_host_that_a_person_follows(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "admin")
    answer = await browser.post("/connect/github", by="oauth2")
    assert answer.status_code == 200
    link = re.search(r'href="(/v1/oauth/begin/[^"]+)"', answer.text)
    assert link
    onward = await browser.client.get(link[1])
    assert "GitHub" in onward.text


async def test_who_comes_back_without_success_is_told_so_in_words(newcomer: Browser) -> None:
    text = (await newcomer.get("/connect/sandbox", error="sign-in-declined")).text
    assert "did not agree" in text
    assert "evil" not in (await newcomer.get("/connect/sandbox", error="evil")).text


async def test_who_comes_back_with_another_organizations_connection_sees_nothing(
    newcomer: Browser, scene: Scene
) -> None:
    answer = await newcomer.get("/connect/sandbox", connected="1", connection=scene.ids["connection_id"])
    assert answer.status_code == 404


async def test_a_role_and_a_keyless_way_say_whom_to_trust(newcomer: Browser) -> None:
    assert "tieline-" in (await newcomer.get("/connect/aws", by="role")).text
    keyless = (await newcomer.get("/connect/aws", by="web_identity")).text
    assert "organization:org_" in keyless
    assert (await newcomer.get("/connect/aws", by="nonsense")).status_code == 404
