"""Forms that others send: without the session's token, from another site, too large, or not a form at all."""

from __future__ import annotations

import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

MAKE = "/access/api-keys"


async def keys(browser: Browser) -> int:
    return len((await browser.client.get("/v1/api-keys", params={"limit": "5000"})).json()["items"])


@pytest.mark.parametrize("token", ["", "0" * 64, "é", "x" * 10_000])
async def test_a_form_without_the_sessions_token_changes_nothing(sign_in: Signs, scene: Scene, token: str) -> None:
    browser = await sign_in(scene.org_id, "admin")
    before = await keys(browser)
    answer = await browser.post(MAKE, csrf=token, name="k", role="auditor")
    assert answer.status_code == 403
    assert "This form has expired" in answer.text
    assert await keys(browser) == before


async def test_the_token_of_another_session_does_not_fit(sign_in: Signs, scene: Scene) -> None:
    mine, theirs = await sign_in(scene.org_id, "admin"), await sign_in(scene.org_id, "admin")
    assert mine.csrf != theirs.csrf
    assert (await mine.post(MAKE, csrf=theirs.csrf, name="k", role="auditor")).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://tieline.test.evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://tieline.test"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [MAKE, "/sign-in/link", "/sign-out", "/theme"])
async def test_what_another_site_sends_is_refused_even_with_the_token(
    sign_in: Signs, scene: Scene, headers: dict[str, str], path: str
) -> None:
    browser = await sign_in(scene.org_id, "admin")
    data = {"csrf": browser.csrf, "name": "k", "role": "auditor"}
    answer = await browser.client.post(path, data=data, headers=headers)
    assert answer.status_code == 403
    assert "was not sent by a page of this Tieline" in answer.text


async def test_what_this_site_sends_is_taken_with_either_header_or_none(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "admin")
    for headers in ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {"Origin": "http://tieline.test"}, {}):
        data = {"csrf": browser.csrf, "name": "k", "role": "auditor"}
        assert (await browser.client.post(MAKE, data=data, headers=headers)).status_code == 200


async def test_only_forms_are_read_and_only_small_ones(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "admin")
    client = browser.client
    assert (await client.post(MAKE, json={"csrf": browser.csrf})).status_code == 415
    assert (await browser.post(MAKE, name="x" * 300_000)).status_code == 413
    assert (await browser.post(MAKE, name="a\0b", role="auditor")).status_code == 400
    many = "&".join(f"f{number}=1" for number in range(600))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.post(MAKE, content=many, headers=headers)).status_code == 400


async def test_a_role_above_ones_own_cannot_be_put_into_a_form(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "admin")
    before = await keys(browser)
    assert (await browser.post(MAKE, name="k", role="operator")).status_code == 403
    assert (await browser.post("/access/members", email="eve@example.com", role="owner")).status_code == 403
    assert (await browser.post(MAKE, name="k", role="emperor")).status_code == 422
    assert await keys(browser) == before
