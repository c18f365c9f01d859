"""Several organizations in one browser: side by side, never mixed, and none that the browser was not itself signed in to."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

from tieline.clock import SetClock
from tieline.flows.members import invite_member, make_member_link, remove_member
from tieline.flows.parts import Parts
from tieline.store.audit import list_entries
from tieline.store.listing import Paging


@pytest.fixture
async def both(stranger: Browser, parts: Parts, scene: Scene) -> Browser:
    """A browser that was signed in to the furnished organization, and then to the other one."""
    await enter(stranger, parts, scene.org_id)
    await enter(stranger, parts, scene.other_org_id)
    return stranger


async def enter(browser: Browser, parts: Parts, org_id: str, email: str = "") -> str:
    invited = await invite_member(parts, org_id, email=email or f"{uuid4().hex}@example.com", role="admin")
    answer = await browser.post("/sign-in/link", token=invited.link.token)
    assert answer.status_code == 303
    return invited.member.id


async def where(browser: Browser) -> str:
    """The organization that the browser is in, by the page's own word."""
    found = re.search(r'<body data-organization="(org_\w+)"', (await browser.get("/runs")).text)
    return found[1] if found else ""


async def switch(browser: Browser, org_id: str) -> httpx2.Response:
    return await browser.post("/switch", org_id=org_id)


async def test_signing_in_elsewhere_keeps_the_first_session_and_both_are_in_the_menu(
    both: Browser, scene: Scene
) -> None:
    assert await where(both) == scene.other_org_id
    assert f'name="org_id" value="{scene.org_id}"' in (await both.get("/runs")).text
    answer = await switch(both, scene.org_id)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert await where(both) == scene.org_id
    assert scene.ids["run_id"] in (await both.get("/runs")).text
    await switch(both, scene.other_org_id)
    assert await where(both) == scene.other_org_id
    assert scene.ids["run_id"] not in (await both.get("/runs")).text


async def test_an_invitation_to_a_persons_address_opens_nothing_that_they_have_elsewhere(
    stranger: Browser, parts: Parts, scene: Scene
) -> None:
    victim = f"{uuid4().hex}@example.com"
    await invite_member(parts, scene.org_id, email=victim, role="owner")
    await enter(stranger, parts, scene.other_org_id, email=victim)  # an admin there opened the link themselves
    assert await where(stranger) == scene.other_org_id
    assert scene.org_id not in (await stranger.get("/runs")).text
    assert (await switch(stranger, scene.org_id)).status_code == 404
    assert await where(stranger) == scene.other_org_id


async def test_a_form_of_the_page_of_one_organization_does_nothing_in_another(
    both: Browser, parts: Parts, scene: Scene
) -> None:
    await both.get("/access/api-keys")
    stale = both.csrf
    await switch(both, scene.org_id)
    await both.get("/runs")
    assert both.csrf != stale
    answer = await both.post("/access/api-keys", csrf=stale, name="mixed-up", role="auditor")
    assert answer.status_code == 409
    assert "You are in another organization now" in answer.text
    assert "so nothing was done" in answer.text
    for org_id in (scene.org_id, scene.other_org_id):
        async with parts.db.work(org_id) as work:
            entries = (await list_entries(work, Paging(limit=5))).items
        assert "mixed-up" not in str(entries)
    assert (await both.post("/access/api-keys", name="in-its-place", role="auditor")).status_code == 200


async def test_a_page_of_one_organization_takes_no_part_of_another(both: Browser, scene: Scene) -> None:
    headers = {"HX-Request": "true", "Accept": "text/html", "Tieline-Organization": scene.org_id}
    answer = await both.client.get("/runs?status=failed", headers=headers)
    assert (answer.text, answer.headers["hx-redirect"]) == ("", "/runs?status=failed")
    answer = await both.client.get("/search?part=yes&q=a", headers=headers)
    assert answer.text == ""
    fitting = await both.client.get("/runs", headers=headers | {"Tieline-Organization": scene.other_org_id})
    assert "hx-redirect" not in fitting.headers
    assert "<h1>Runs</h1>" in fitting.text


async def test_a_part_of_a_page_that_ends_otherwise_is_opened_as_a_whole(stranger: Browser, both: Browser) -> None:
    headers = {"HX-Request": "true", "Accept": "text/html"}
    assert (await both.client.get("/runs?status=odd", headers=headers)).headers["hx-redirect"] == "/runs?status=odd"
    stranger.client.cookies.clear()
    assert (await stranger.client.get("/runs", headers=headers)).headers["hx-redirect"] == "/runs"


async def test_a_stale_page_may_still_ask_to_switch(both: Browser, scene: Scene) -> None:
    await both.get("/runs")
    stale = both.csrf
    await switch(both, scene.org_id)
    assert (await both.post("/switch", csrf=stale, org_id=scene.other_org_id)).status_code == 303
    assert await where(both) == scene.other_org_id
    assert (await both.post("/switch", csrf="0" * 64, org_id=scene.org_id)).status_code == 403
    assert await where(both) == scene.other_org_id


async def test_another_site_cannot_switch(both: Browser, scene: Scene) -> None:
    await both.get("/runs")
    assert (await both.post("/switch", site="cross-site", org_id=scene.org_id)).status_code == 403
    assert await where(both) == scene.other_org_id


async def test_signing_out_here_leads_on_to_the_other_and_signing_out_of_all_ends_both(
    both: Browser, parts: Parts, scene: Scene
) -> None:
    former = dict(both.client.cookies)
    await both.get("/runs")
    answer = await both.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert await where(both) == scene.org_id
    await enter(both, parts, scene.other_org_id)
    cookies = dict(both.client.cookies)
    await both.get("/runs")
    answer = await both.post("/sign-out", all="yes")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert await where(both) == ""
    for kept in (former, cookies):  # neither cookie is worth anything any more, by itself or as the other
        for plain in (kept["tieline_session"], kept["tieline_aside"]):
            both.client.cookies.clear()
            both.client.cookies.set("tieline_session", plain, domain="tieline.test")
            assert await where(both) == ""


async def test_signing_out_is_written_down_in_each_organization_by_its_own_member(
    stranger: Browser, parts: Parts, scene: Scene
) -> None:
    members = {org_id: await enter(stranger, parts, org_id) for org_id in (scene.org_id, scene.other_org_id)}
    await stranger.get("/runs")
    await stranger.post("/sign-out", all="yes")
    for org_id, member_id in members.items():
        async with parts.db.work(org_id) as work:
            (entry,) = (await list_entries(work, Paging(limit=1), action="session.ended")).items
        assert entry.actor == member_id


async def test_signing_in_to_the_same_organization_ends_the_session_there_wherever_it_was(
    both: Browser, parts: Parts, scene: Scene
) -> None:
    aside = both.client.cookies["tieline_aside"]
    await enter(both, parts, scene.org_id)  # as another member
    assert await where(both) == scene.org_id
    both.client.cookies.clear()
    both.client.cookies.set("tieline_session", aside, domain="tieline.test")
    assert await where(both) == ""


async def test_looking_at_the_menu_does_not_keep_the_other_session_alive(
    both: Browser, parts: Parts, app: FastAPI, scene: Scene
) -> None:
    now = parts.clock.now()
    for hours in (6, 11, 16):
        app.state.parts = replace(parts, clock=SetClock(now + timedelta(hours=hours)))
        answer = await both.get("/runs")
        assert answer.status_code == 200
        assert (f'value="{scene.org_id}"' in answer.text) == (hours < 12)
    assert (await switch(both, scene.org_id)).status_code == 404


async def test_when_the_session_here_has_ended_the_sign_in_page_leads_to_the_other(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    await enter(stranger, parts, scene.org_id)
    member_id = await enter(stranger, parts, scene.other_org_id)
    await remove_member(parts, scene.other_org_id, member_id)
    answer = await stranger.get("/runs")
    assert answer.headers["location"].startswith("/sign-in")
    assert "Go on where you are signed in" in (await stranger.get("/sign-in")).text
    assert (await stranger.post("/switch", csrf="", org_id=scene.org_id)).status_code == 303
    assert await where(stranger) == scene.org_id


async def test_a_removed_member_is_not_in_the_menu(both: Browser, parts: Parts, scene: Scene) -> None:
    aside = both.client.cookies["tieline_aside"]
    both.client.cookies.set("tieline_aside", f"{aside}.nonsense.{'A' * 64}", domain="tieline.test")
    assert await where(both) == scene.other_org_id


async def test_one_may_sign_in_elsewhere_while_signed_in(both: Browser, parts: Parts, scene: Scene) -> None:
    assert (await both.get("/sign-in")).status_code == 303
    assert "You stay signed in to" in (await both.get("/sign-in", another="yes")).text


async def test_over_https_the_second_cookie_is_of_this_host_alone_too(
    stranger: Browser, parts: Parts, app: FastAPI, scene: Scene
) -> None:
    app.state.parts = replace(parts, public_url="https://tieline.example")
    client = stranger.client
    for org_id in (scene.org_id, scene.other_org_id):
        invited = await invite_member(parts, org_id, email=f"{uuid4().hex}@example.com", role="admin")
        answer = await stranger.post("/sign-in/link", token=invited.link.token)
        for cookie in answer.headers.get_list("set-cookie"):
            name, _, rest = cookie.partition("=")
            client.cookies.set(name, rest.partition(";")[0], domain="tieline.test")
    aside = next(one for one in answer.headers.get_list("set-cookie") if "aside" in one)
    assert re.match(r"__Host-tieline_aside=[\w=-]{64}; HttpOnly; Max-Age=604800; Path=/; SameSite=lax; Secure$", aside)


async def test_a_session_cookie_is_as_it_was_for_who_is_in_one_organization(
    stranger: Browser, parts: Parts, scene: Scene
) -> None:
    member_id = await enter(stranger, parts, scene.org_id)
    again = await make_member_link(parts, scene.org_id, member_id)
    assert (await stranger.post("/sign-in/link", token=again.link.token)).status_code == 303
    assert "tieline_aside" not in stranger.client.cookies
