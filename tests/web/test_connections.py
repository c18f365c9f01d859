"""Connections in the console: how they fare, and what each button does."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from tests.api.conftest import new_organization
from tests.api.shapes import SANDBOX_TOKEN, Scene
from tests.web.conftest import Browser, Signs

from tieline.flows.connect import Attempt, connect
from tieline.flows.parts import Parts
from tieline.store.connections import update_connection
from tieline.store.listing import Paging
from tieline.store.runs import list_runs, update_run
from tieline.web.pages.connections import HEALTHS, TROUBLED


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
    for told in (
        "What is read, and when",
        "Credentials",
        "In force",
        "The last 30 days",
        "Timeline",
        "Connected",
        "Disconnect",
    ):
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


async def test_an_operation_is_given_a_period_and_switched_off_and_on(own: Owned) -> None:
    await own.browser.get(own.path)
    path = f"{own.path}/operations/people"
    assert (await own.browser.post(path, every="7h")).status_code == 303
    text = (await own.browser.get(own.path)).text
    assert "Every 7 hours" in text
    assert '<option value="7h" selected>' in text
    await own.browser.post(path, switch="off")
    text = (await own.browser.get(own.path)).text
    assert "Switched off by a person" in text
    assert "Switched off: " in text
    await own.browser.post(path, switch="on")
    assert "Switched off by a person" not in (await own.browser.get(own.path)).text
    wrong = await own.browser.post(path, every="1m")
    assert wrong.status_code == 422
    assert "5m to 30d" in wrong.text
    assert (await own.browser.post(f"{own.path}/operations/nonsense", every="7h")).status_code == 404


async def test_it_has_an_owner_by_whom_it_is_found(own: Owned, sign_in: Signs) -> None:
    anna = await sign_in(own.org_id, "member")
    mine, nobody = {"owner": anna.member_id or ""}, {"owner": "nobody"}
    assert own.path in (await own.browser.get("/connections", **nobody)).text
    await own.browser.get(own.path)
    await own.browser.post(f"{own.path}/owner", **mine)
    text = (await own.browser.get(own.path)).text
    assert "Looked after by The member from now on" in text
    assert own.path in (await anna.get("/connections", **mine)).text
    assert own.path not in (await anna.get("/connections", **nobody)).text
    assert f'<option value="{anna.member_id}" selected>Me</option>' in (await anna.get("/connections", **mine)).text
    assert "The member" in (await own.browser.get("/connections", format="csv", **mine)).text.splitlines()[1]
    row = (await own.browser.client.get("/v1/connections", params=mine)).json()["items"][0]
    assert row["owner"] == anna.member_id
    assert (await own.browser.post(f"{own.path}/owner", owner="mem_01k0c4m2w8eyv9x3f5t7h1n6qp")).status_code == 422
    await own.browser.get("/access")
    gone = await own.browser.post(f"/access/members/{anna.member_id}/remove")
    assert gone.status_code == 303
    assert "1 connection now looked after by nobody." in (await own.browser.get("/access")).text
    assert own.path in (await own.browser.get("/connections", **nobody)).text


STATES = [
    ("active", "works", "Sync now"),
    ("degraded", "needs_person", "Test again"),
    ("needs_reconnect", "needs_person", "Reconnect"),
    ("error", "tries_again", "Sync now"),
    ("expired", "needs_person", "Reconnect"),
    ("paused", "stopped", "Resume"),
    ("suspended", "needs_person", "Test again"),
]


async def test_each_state_says_what_it_means_and_offers_the_way_on(own: Owned, parts: Parts, sign_in: Signs) -> None:
    auditor = await sign_in(own.org_id, "auditor")
    for status, health, told in STATES:
        async with parts.db.work(own.org_id) as work:
            await update_connection(work, own.id, now=parts.clock.now(), status=status)
        text = (await own.browser.get(own.path)).text
        head = text[text.index('<div class="head">') : text.index('<section class="card"')]
        assert told in head, status
        assert (TROUBLED[status][0] in head) if status in TROUBLED else ('class="note' not in head), status
        listed = (await own.browser.get("/connections", health=health)).text
        assert own.path in listed, status
        assert HEALTHS[health][0] in listed, status
        seen = (await auditor.get(own.path)).text
        assert f'method="post" action="{own.path}' not in seen, status
        assert "An owner or admin of your organization can pause" in seen, status


async def test_what_goes_without_a_missing_permission_is_told(own: Owned, parts: Parts) -> None:
    async with parts.db.work(own.org_id) as work:
        values = {"missing_scopes": ["devices:read"], "scopes": ["people:read", "groups:read", "extra:read"]}
        await update_connection(work, own.id, now=parts.clock.now(), **values)
    text = (await own.browser.get(own.path)).text
    assert re.search(r"Missing</span>.*?<code>devices:read</code>.*?Not read without it:\s+Devices", text, re.DOTALL)
    assert "Not checked without it:" in text
    assert "1 permission beyond what is needed" in text


async def test_the_end_of_a_credential_is_told_the_louder_the_nearer_it_is(own: Owned, parts: Parts) -> None:
    for days, tone in ((20, "wait"), (6, "warn"), (1, "bad"), (40, None)):
        ends = parts.clock.now() + timedelta(days=days)
        async with parts.db.work(own.org_id) as work:
            await update_connection(work, own.id, now=parts.clock.now(), expires_at=ends)
        text = (await own.browser.get(own.path)).text
        assert ("Its credential ends" in text) == (tone in {"warn", "bad"}), days
        card = text.partition('id="credentials"')[2].partition("</section>")[0]
        assert [one for one in ("wait", "warn", "bad") if f'<span class="badge {one}">' in card] == [tone] * bool(tone)


async def test_its_history_is_a_chart_with_a_table_and_can_be_of_one_operation(own: Owned, parts: Parts) -> None:
    assert "It was not read in these days" not in (text := (await own.browser.get(own.path)).text)
    assert "under way" in text
    assert f'data-live="{own.path}/live"' in text
    async with parts.db.work(own.org_id) as work:
        for one in (await list_runs(work, Paging(), connection_id=own.id)).items:
            status = "failed" if one.operation == "devices" else "succeeded"
            told = {"records": 1200, "started_at": one.created_at, "error_message": "<b>it broke</b>"}
            await update_run(work, one.id, status=status, finished_at=parts.clock.now(), **told)
    text = (await own.browser.get(own.path)).text
    assert 'fill="url(#look-crossed)"' in text
    assert "<caption>Runs by day and how they ended</caption>" in text
    assert "Devices failed" in text
    assert "&lt;b&gt;it broke" in text
    devices = (await own.browser.get(own.path, operation="devices")).text
    assert '<option value="devices" selected>' in devices
    assert 'fill="url(#look-solid)"' not in devices.partition("</defs>")[2].partition("</figure>")[0]
    assert (await own.browser.get(own.path, operation="nonsense")).status_code == 200


async def test_it_is_disconnected_and_stays_as_history(own: Owned) -> None:
    await own.browser.post(f"{own.path}/disconnect")
    text = (await own.browser.get(own.path)).text
    assert "is disconnected" in text
    assert "It is no more" in text
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
    for verb in ("pause", "test", "sync", "rotate", "options", "disconnect", "roll-back", "switch", "resume", "owner"):
        assert (await own.browser.post(f"{path}/{verb}")).status_code == 404
    assert (await own.browser.post(f"{path}/operations/people", switch="off")).status_code == 404
    assert (await own.browser.get(f"{path}/live")).status_code == 404
