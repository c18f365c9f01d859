"""The catalogue: what can be connected, looked for in words and by category."""

from __future__ import annotations

import pytest
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs


@pytest.fixture
async def admin(sign_in: Signs, scene: Scene) -> Browser:
    return await sign_in(scene.org_id, "admin")


async def test_a_search_finds_providers_by_what_they_read(admin: Browser) -> None:
    text = (await admin.get("/catalogue", q="repositories", category="code")).text
    assert "GitHub" in text
    assert "Slack" not in text
    assert "No provider is like that" in (await admin.get("/catalogue", q="zzz")).text


async def test_what_is_searched_for_is_shown_as_text(admin: Browser) -> None:
    text = (await admin.get("/catalogue", q='"><script>alert(1)</script>')).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


async def test_a_category_that_there_is_not_is_refused(admin: Browser) -> None:
    assert (await admin.get("/catalogue", category="nonsense")).status_code == 422


async def test_the_same_rows_come_as_csv(admin: Browser) -> None:
    lines = (await admin.get("/catalogue", category="code", format="csv")).text.splitlines()
    assert lines[0] == "id,name,category,reads,checks,ways,grade"
    assert {line.partition(",")[0] for line in lines[1:]} == {"bitbucket", "github", "gitlab"}


async def test_a_provider_says_what_it_reads_checks_and_needs(admin: Browser) -> None:
    text = (await admin.get("/catalogue/okta")).text
    for told in ("okta.users.read", "What is checked", "/controls/soc2:", "Sign in at Okta", "/connect/okta"):
        assert told in text


async def test_who_may_not_connect_is_told_who_can(sign_in: Signs, scene: Scene) -> None:
    text = (await (await sign_in(scene.org_id, "member")).get("/catalogue/sandbox")).text
    assert "/connect/sandbox" not in text
    assert "An owner or admin of your organization can connect it" in text
    assert f"/connections/{scene.ids['connection_id']}" in text


async def test_a_provider_that_there_is_not_is_not_found(admin: Browser) -> None:
    assert (await admin.get("/catalogue/nowhere")).status_code == 404
    assert (await admin.get("/connect/nowhere")).status_code == 404
