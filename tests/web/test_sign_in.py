"""Signing in to the console: links that work once, sessions that end, and nothing that was planted before counts after."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from tests.api.shapes import Scene
from tests.web.conftest import Browser, Signs

from tieline.access.roles import Caller
from tieline.access.sessions import ABSOLUTE, IDLE
from tieline.clock import SetClock
from tieline.errors import Conflict, NotAllowed
from tieline.flows.audit import verify
from tieline.flows.members import change_role, invite_member, make_member_link, remove_member
from tieline.flows.parts import Parts
from tieline.flows.sign_in import make_first_link, prune_sign_ins
from tieline.store.audit import list_entries
from tieline.store.listing import Paging
from tieline.store.organizations import create_organization

ANNA = "anna@example.com"


@pytest.fixture
async def org_id(parts: Parts) -> str:
    """An organization in which nobody ever signed in."""
    async with parts.db.system() as work:
        made = await create_organization(
            work, slug=f"org-{uuid4().hex[:12]}", name="New & <b>bold</b>", now=parts.clock.now()
        )
    return made.id


async def enter(browser: Browser, token: str, **fields: str) -> httpx2.Response:
    return await browser.post("/sign-in/link", token=token, **fields)


async def actions(parts: Parts, org_id: str) -> list[str]:
    async with parts.db.work(org_id) as work:
        return [one.action for one in (await list_entries(work, Paging())).items]


async def test_the_first_link_makes_the_first_member_and_only_once(
    stranger: Browser, parts: Parts, org_id: str
) -> None:
    link = await make_first_link(parts, org_id)
    assert link
    opened = await stranger.get(f"/sign-in/link/{link.token}")
    assert opened.status_code == 200
    assert 'name="email"' in opened.text
    answer = await enter(stranger, link.token, email=" Anna@Example.com ", name="Anna")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    home = await stranger.get("/")
    assert "Anna" in home.text
    assert "Operator" in home.text
    assert (await enter(stranger, link.token, email="eve@example.com")).status_code == 410
    assert await make_first_link(parts, org_id) is None
    assert await actions(parts, org_id) == ["session.begun", "member.joined", "member.first_link_made"]
    assert (await verify(parts, org_id)).first_bad_seq is None


async def test_of_two_first_links_the_newer_one_works(stranger: Browser, parts: Parts, org_id: str) -> None:
    older, newer = await make_first_link(parts, org_id), await make_first_link(parts, org_id)
    assert older
    assert newer
    assert (await enter(stranger, older.token, email=ANNA)).status_code == 410
    assert (await enter(stranger, newer.token, email=ANNA)).status_code == 303


async def test_looking_at_a_link_does_not_use_it_up(stranger: Browser, parts: Parts, scene: Scene) -> None:
    invited = await invite_member(parts, scene.org_id, email=f"{uuid4().hex}@example.com", role="member")
    for _ in range(3):
        assert (await stranger.get(f"/sign-in/link/{invited.link.token}")).status_code == 200
    assert (await enter(stranger, invited.link.token)).status_code == 303
    assert (await stranger.get(f"/sign-in/link/{invited.link.token}")).status_code == 410


async def test_a_wrong_address_is_told_beside_its_field_and_costs_nothing(
    stranger: Browser, parts: Parts, org_id: str
) -> None:
    link = await make_first_link(parts, org_id)
    assert link
    answer = await enter(stranger, link.token, email="<script>@nowhere")
    assert answer.status_code == 422
    assert 'aria-describedby="email-problem"' in answer.text
    assert "&lt;script&gt;@nowhere" in answer.text
    assert (await enter(stranger, link.token, email=ANNA)).status_code == 303


@pytest.mark.parametrize("purpose", ["invitation", "sign_in"])
async def test_a_link_is_worth_nothing_when_its_time_is_up(
    stranger: Browser, parts: Parts, app: FastAPI, scene: Scene, purpose: str
) -> None:
    invited = await invite_member(parts, scene.org_id, email=f"{uuid4().hex}@example.com", role="member")
    if purpose == "sign_in":
        assert (await enter(stranger, invited.link.token)).status_code == 303
        invited = await make_member_link(parts, scene.org_id, invited.member.id)
    assert invited.link.purpose == purpose
    app.state.parts = replace(parts, clock=SetClock(invited.link.expires_at))
    assert (await enter(stranger, invited.link.token)).status_code == 410


async def test_a_new_link_puts_the_former_out_of_use(stranger: Browser, parts: Parts, scene: Scene) -> None:
    invited = await invite_member(parts, scene.org_id, email=f"{uuid4().hex}@example.com", role="member")
    again = await make_member_link(parts, scene.org_id, invited.member.id)
    assert (await enter(stranger, invited.link.token)).status_code == 410
    assert (await enter(stranger, again.link.token)).status_code == 303


@pytest.mark.parametrize("token", ["x", "A" * 64, "é" * 64, "../../etc", "%00", "A" * 5000])
async def test_what_is_no_link_is_answered_like_one_that_was_used(stranger: Browser, token: str) -> None:
    assert (await stranger.get(f"/sign-in/link/{token}")).status_code in {404, 410}
    assert (await enter(stranger, token)).status_code == 410


async def test_a_cookie_planted_before_signing_in_is_worth_nothing_after(
    stranger: Browser, parts: Parts, scene: Scene
) -> None:
    planted = "A" * 64
    stranger.client.cookies.set("tieline_session", planted, domain="tieline.test")
    invited = await invite_member(parts, scene.org_id, email=f"{uuid4().hex}@example.com", role="member")
    answer = await enter(stranger, invited.link.token)
    cookie = answer.headers["set-cookie"]
    assert planted not in cookie
    assert re.search(r"^tieline_session=[\w=-]{64}; HttpOnly; Max-Age=604800; Path=/; SameSite=lax$", cookie)
    stranger.client.cookies.clear()
    stranger.client.cookies.set("tieline_session", planted, domain="tieline.test")
    assert (await stranger.get("/access")).status_code == 303


async def test_signing_in_anew_ends_the_session_before(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "member")
    former = browser.client.cookies["tieline_session"]
    link = (await make_member_link(parts, scene.org_id, browser.member_id or "")).link
    assert (await enter(browser, link.token)).status_code == 303
    assert browser.client.cookies["tieline_session"] != former
    browser.client.cookies.clear()
    browser.client.cookies.set("tieline_session", former, domain="tieline.test")
    assert (await browser.get("/access")).status_code == 303


async def test_over_https_the_cookie_is_secure_and_of_this_host_alone(
    stranger: Browser, parts: Parts, app: FastAPI, scene: Scene
) -> None:
    app.state.parts = replace(parts, public_url="https://tieline.example")
    invited = await invite_member(parts, scene.org_id, email=f"{uuid4().hex}@example.com", role="member")
    cookie = (await enter(stranger, invited.link.token)).headers["set-cookie"]
    assert cookie.startswith("__Host-tieline_session=")
    assert "Secure" in cookie
    assert "Domain" not in cookie


async def test_a_session_ends_when_it_is_not_used(sign_in: Signs, parts: Parts, app: FastAPI, scene: Scene) -> None:
    browser, now = await sign_in(scene.org_id, "auditor"), parts.clock.now()
    for hours, status in ((11, 200), (22, 200), (35, 303)):
        app.state.parts = replace(parts, clock=SetClock(now + timedelta(hours=hours)))
        assert (await browser.get("/access")).status_code == status
    assert timedelta(hours=13) > IDLE


async def test_a_session_ends_after_a_week_however_much_it_is_used(
    sign_in: Signs, parts: Parts, app: FastAPI, scene: Scene
) -> None:
    browser, now = await sign_in(scene.org_id, "auditor"), parts.clock.now()
    for hours in range(8, 24 * 7, 8):
        app.state.parts = replace(parts, clock=SetClock(now + timedelta(hours=hours)))
        assert (await browser.get("/access")).status_code == 200
    app.state.parts = replace(parts, clock=SetClock(now + ABSOLUTE + timedelta(minutes=1)))
    assert (await browser.get("/access")).status_code == 303
    assert await prune_sign_ins(app.state.parts) > 0


async def test_signing_out_ends_the_session_for_good(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    cookie = browser.client.cookies["tieline_session"]
    answer = await browser.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    browser.client.cookies.set("tieline_session", cookie, domain="tieline.test")
    assert (await browser.get("/access")).status_code == 303


async def test_a_member_who_is_removed_is_signed_out_at_once(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "member")
    await remove_member(parts, scene.org_id, browser.member_id or "")
    assert (await browser.get("/access")).status_code == 303


async def test_a_role_taken_away_reaches_no_further_from_then_on(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "admin")
    await change_role(parts, scene.org_id, browser.member_id or "", "auditor")
    answer = await browser.post("/access/api-keys", name="k", role="auditor")
    assert answer.status_code == 403
    assert "You may not do this" in answer.text


async def test_one_ends_ones_own_sessions_and_an_admin_anybodys(sign_in: Signs, scene: Scene) -> None:
    member, other, admin = [await sign_in(scene.org_id, role) for role in ("member", "member", "admin")]
    own = re.search(r"/access/sessions/(sess_\w+)/end", (await member.get("/access/sessions")).text)
    assert own
    assert (await other.post(f"/access/sessions/{own[1]}/end")).status_code == 403
    assert (await admin.post(f"/access/sessions/{own[1]}/end")).status_code == 303
    assert (await member.get("/access")).status_code == 303


async def test_the_last_owner_can_be_neither_removed_nor_made_less(
    stranger: Browser, parts: Parts, org_id: str
) -> None:
    link = await make_first_link(parts, org_id)
    assert link
    await enter(stranger, link.token, email=ANNA)
    async with parts.db.work(org_id) as work:
        from tieline.store.members import find_member

        anna = await find_member(work, ANNA)
    assert anna
    for attempt in (remove_member(parts, org_id, anna.id), change_role(parts, org_id, anna.id, "admin")):
        with pytest.raises(Conflict, match="The last owner has to stay"):
            await attempt


async def test_nobody_gives_or_takes_a_role_above_their_own(parts: Parts, scene: Scene) -> None:
    owner = (await invite_member(parts, scene.org_id, email=f"{uuid4().hex}@example.com", role="owner")).member
    admin = Caller(scene.org_id, "mem_of_an_admin", "admin")
    attempts: list[Any] = [
        invite_member(parts, scene.org_id, email="eve@example.com", role="owner", caller=admin),
        change_role(parts, scene.org_id, owner.id, "auditor", caller=admin),
        remove_member(parts, scene.org_id, owner.id, caller=admin),
        make_member_link(parts, scene.org_id, owner.id, caller=admin),
        invite_member(
            parts, scene.org_id, email="eve@example.com", role="auditor", caller=replace(admin, role="member")
        ),
    ]
    for attempt in attempts:
        with pytest.raises(NotAllowed):
            await attempt


async def test_somebody_who_was_removed_can_be_invited_again(stranger: Browser, parts: Parts, scene: Scene) -> None:
    email = f"{uuid4().hex}@example.com"
    first = await invite_member(parts, scene.org_id, email=email, name="Bo", role="admin")
    with pytest.raises(Conflict, match="is a member already"):
        await invite_member(parts, scene.org_id, email=email.upper(), role="member")
    await remove_member(parts, scene.org_id, first.member.id)
    assert (await enter(stranger, first.link.token)).status_code == 410
    again = await invite_member(parts, scene.org_id, email=email, role="auditor")
    assert (again.member.id, again.member.name, again.member.role) == (first.member.id, "Bo", "auditor")
    assert (await enter(stranger, again.link.token)).status_code == 303


async def test_after_signing_in_one_goes_to_no_other_host(stranger: Browser, sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "auditor")
    for bad in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"):
        assert (await browser.get("/sign-in", next=bad)).headers["location"] == "/"
    assert (await browser.get("/sign-in", next="/runs?status=held")).headers["location"] == "/runs?status=held"
    asked = await stranger.get("/access?x=1")
    assert asked.headers["location"] == "/sign-in?next=/access%3Fx%3D1"


async def test_a_session_reads_the_api_but_changes_nothing_there(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "admin")
    client = browser.client
    assert (await client.get("/v1/members")).status_code == 200
    assert (await client.post("/v1/api-keys", json={"name": "k", "role": "auditor"})).status_code == 401
    auditor = await sign_in(scene.org_id, "auditor")
    assert (await auditor.client.get("/v1/members")).status_code == 403
    assert (await auditor.client.get("/v1/connections")).status_code == 200
