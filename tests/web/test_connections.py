"""Connections in the console: how they fare, and what each button does."""

from __future__ import annotations

import pytest
from tests.api.conftest import new_organization
from tests.api.shapes import SANDBOX_TOKEN, Scene
from tests.web.conftest import Browser, Signs

from tieline.flows.connect import Attempt, connect
from tieline.flows.parts import Parts
from tieline.store.connections import update_connection


class Owned:
    """A connection of an organization of the test's own, and its admin."""

    def __init__(self, browser: Browser, org_id: str, connection_id: str) -> None:
        self.browser, self.org_id, self.id = browser, org_id, connection_id
        self.path = f"/connections/{connection_id}"

    async def status(self) -> str:
        return str((await self.browser.client.get(f"/v1/connections/{self.id}")).json()["status"])


@pytest.fixture
async def own(sign_in: Signs, parts: Parts, sandbox_url: str) -> Owned:
    org_id = await new_organization(parts)
    made = await connect(parts, org_id, Attempt("sandbox", {"base_url": sandbox_url}, {"token": SANDBOX_TOKEN}))
    return Owned(await sign_in(org_id, "admin"), org_id, made.id)


async def test_the_list_is_filtered_on_the_server_and_comes_as_csv(own: Owned) -> None:
    assert own.path in (await own.browser.get("/connections", status="active", provider="sandbox")).text
    assert "No connection is like that" in (await own.browser.get("/connections", status="paused")).text
    lines = (await own.browser.get("/connections", format="csv")).text.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(own.id)


async def test_a_connection_shows_itself_and_no_secret(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "admin")
    text = (await browser.get(f"/connections/{scene.ids['connection_id']}")).text
    for told in ("What is read, and when", "Credentials", "In force", "Connection connected", "Disconnect"):
        assert told in text
    assert SANDBOX_TOKEN not in text


async def test_it_is_paused_and_resumed(own: Owned) -> None:
    await own.browser.get(own.path)
    assert (await own.browser.post(f"{own.path}/pause")).status_code == 303
    assert await own.status() == "paused"
    text = (await own.browser.get(own.path)).text
    assert "Somebody stopped it" in text
    assert f'action="{own.path}/resume"' in text
    assert f'action="{own.path}/sync"' not in text
    await own.browser.post(f"{own.path}/resume")
    assert await own.status() == "active"


async def test_it_is_tested_and_synced(own: Owned) -> None:
    await own.browser.post(f"{own.path}/test")
    assert "The test call worked" in (await own.browser.get(own.path)).text
    await own.browser.post(f"{own.path}/sync", operation="people")
    assert "1 run asked for" in (await own.browser.get(own.path)).text


async def test_a_new_credential_is_tried_and_the_former_can_come_back(own: Owned) -> None:
    refused = await own.browser.post(f"{own.path}/rotate", **{"credential.token": "lks_wrong_wrong"})
    assert refused.status_code == 422
    assert "Nothing was saved" in refused.text
    assert "lks_wrong_wrong" not in refused.text
    answer = await own.browser.post(f"{own.path}/rotate", **{"credential.token": SANDBOX_TOKEN})
    assert answer.headers["location"] == own.path
    assert f'action="{own.path}/roll-back"' in (await own.browser.get(own.path)).text
    await own.browser.post(f"{own.path}/roll-back")
    assert "The former credential is in force again" in (await own.browser.get(own.path)).text


async def test_its_name_is_changed_and_a_wrong_option_is_told_beside_its_field(own: Owned, sandbox_url: str) -> None:
    await own.browser.post(f"{own.path}/options", **{"name": "Renamed", "options.base_url": sandbox_url})
    assert "<h1>Renamed</h1>" in (await own.browser.get(own.path)).text
    wrong = await own.browser.post(f"{own.path}/options", **{"name": "Renamed", "options.base_url": ""})
    assert wrong.status_code == 422
    assert 'id="field-options.base_url-problem"' in wrong.text


async def test_it_is_disconnected_and_stays_as_history(own: Owned) -> None:
    await own.browser.post(f"{own.path}/disconnect")
    text = (await own.browser.get(own.path)).text
    assert "is disconnected" in text
    assert f'action="{own.path}/pause"' not in text
    assert (await own.browser.get(f"{own.path}/rotate")).status_code == 409
    assert own.path not in (await own.browser.get("/connections")).text


async def test_what_a_provider_says_is_text_in_the_list_too(own: Owned, parts: Parts) -> None:
    hostile = "<script>alert(1)</script>"
    async with parts.db.work(own.org_id) as work:
        values = {"account_name": hostile, "remarks": [hostile], "missing_scopes": [hostile], "scopes": [hostile]}
        await update_connection(work, own.id, now=parts.clock.now(), **values)
    for path in ("/connections", own.path):
        text = (await own.browser.get(path)).text
        assert hostile not in text
        assert "&lt;script&gt;alert(1)" in text


async def test_another_organizations_connection_is_not_found(own: Owned, scene: Scene) -> None:
    path = f"/connections/{scene.ids['connection_id']}"
    assert (await own.browser.get(path)).status_code == 404
    for verb in ("pause", "test", "sync", "rotate", "options", "disconnect", "roll-back", "switch", "resume"):
        assert (await own.browser.post(f"{path}/{verb}")).status_code == 404
