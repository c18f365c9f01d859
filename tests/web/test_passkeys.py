"""Passkeys: made, used and removed over the console's own routes, by an authenticator that is also made to do wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from tests.api.shapes import Scene
from tests.authenticator import BACKED_UP, ELIGIBLE, GOOD, PRESENT, VERIFIED, Authenticator, decode, encode
from tests.web.conftest import HOST, Browser, Signs

from tieline.clock import SetClock
from tieline.flows.audit import verify
from tieline.flows.members import invite_member, remove_member
from tieline.flows.parts import Parts
from tieline.flows.passkeys import LIFETIME, MOST
from tieline.flows.sign_in import prune_sign_ins, sign_in_by_link
from tieline.ids import from_uuid, new_id, to_uuid
from tieline.store import passkeys as store
from tieline.store.audit import Entry, list_entries
from tieline.store.listing import Paging
from tieline.store.passkeys import Challenge, Passkey, list_passkeys
from tieline.store.sessions import list_sessions

ORIGIN = "http://localhost:8000"
Makes = Callable[..., Any]


@pytest.fixture(autouse=True)
def at_a_name(app: FastAPI, parts: Parts) -> Parts:
    """Tieline at a place where passkeys work."""
    app.state.parts = replace(parts, public_url=ORIGIN)
    return parts


async def begin(browser: Browser, path: str, **fields: str) -> dict[str, Any]:
    """What the browser is asked."""
    answer = await browser.post(f"{path}/begin", **fields)
    assert answer.status_code == 200, answer.text
    options: dict[str, Any] = answer.json()["options"]
    return options


async def add(browser: Browser, device: Authenticator | None = None, *, name: str = "Phone") -> Authenticator:
    """Make a passkey for whoever is signed in."""
    device = device or Authenticator(ORIGIN)
    options = await begin(browser, "/access/passkeys", name=name)
    answer = await browser.post("/access/passkeys", name=name, answer=device.make(options))
    assert (answer.status_code, answer.headers["location"]) == (303, "/access/passkeys")
    return device


async def enter(browser: Browser, device: Authenticator, **wrong: Any) -> httpx2.Response:
    """Sign in with a passkey."""
    options = await begin(browser, "/sign-in/passkey")
    return await browser.post("/sign-in/passkey", answer=device.sign(options, **wrong), next="/runs")


async def entries(parts: Parts, org_id: str, action: str) -> list[Entry]:
    async with parts.db.work(org_id) as work:
        return [one for one in (await list_entries(work, Paging(limit=200))).items if one.action == action]


async def kept(parts: Parts, org_id: str, member_id: str | None) -> list[Passkey]:
    async with parts.db.work(org_id) as work:
        return await list_passkeys(work, member_id=member_id)


def refused(answer: httpx2.Response) -> bool:
    assert answer.status_code == 422, answer.text
    return "tieline_session" not in answer.headers.get("set-cookie", "")


# What works


async def test_a_member_adds_a_passkey_and_signs_in_with_it_alone(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    browser = await sign_in(scene.org_id, "member")
    device = await add(browser, name="  My   phone ")
    (passkey,) = await kept(parts, scene.org_id, browser.member_id)
    assert (passkey.name, passkey.transports, passkey.last_used_at) == ("My phone", ["hybrid", "internal"], None)
    answer = await enter(stranger, device)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs")
    assert "Passkey" in (await stranger.get("/access/sessions")).text
    (passkey,) = await kept(parts, scene.org_id, browser.member_id)
    assert passkey.counter == device.counter
    assert passkey.last_used_at
    async with parts.db.work(scene.org_id) as work:
        now, forever = parts.clock.now(), timedelta(days=9)
        sessions = await list_sessions(work, now=now, idle=forever, member_id=browser.member_id)
    assert sorted(one.method for one in sessions) == ["link", "passkey"]
    begun = [one for one in await entries(parts, scene.org_id, "session.begun") if one.actor == browser.member_id]
    assert [one.details["passkey"] for one in begun if "passkey" in one.details] == [passkey.id]
    assert passkey.id in [one.target for one in await entries(parts, scene.org_id, "passkey.added")]
    assert (await verify(parts, scene.org_id)).first_bad_seq is None


async def test_a_passkey_is_asked_for_that_needs_no_address_and_verifies_its_user(
    sign_in: Signs, stranger: Browser, scene: Scene
) -> None:
    browser = await sign_in(scene.org_id, "member")
    options = await begin(browser, "/access/passkeys", name="Phone")
    assert options["rp"] == {"id": "localhost", "name": "Tieline"}
    chosen = options["authenticatorSelection"]
    assert (chosen["residentKey"], chosen["userVerification"]) == ("required", "required")
    assert (options["attestation"], options["excludeCredentials"], options["timeout"]) == ("none", [], 300_000)
    org, member = to_uuid(scene.org_id, "org").bytes, to_uuid(browser.member_id or "", "mem").bytes
    assert decode(options["user"]["id"]) == org + member, "the handle tells nothing of the person"
    asked = await begin(stranger, "/sign-in/passkey")
    assert (asked["rpId"], asked["userVerification"], asked["allowCredentials"]) == ("localhost", "required", [])
    assert len(decode(asked["challenge"])) == 32
    assert asked["challenge"] != (await begin(stranger, "/sign-in/passkey"))["challenge"]


async def test_an_authenticator_that_holds_one_is_told_so(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "member")
    device = await add(browser)
    options = await begin(browser, "/access/passkeys", name="Again")
    assert [one["id"] for one in options["excludeCredentials"]] == [encode(device.credential_id)]
    answer = await browser.post("/access/passkeys", name="Again", answer=device.make(options))
    assert answer.status_code == 409
    assert "in use here already" in answer.text


async def test_a_passkey_opens_its_own_organization_and_no_other(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    email = f"{uuid4().hex}@example.com"
    devices = {}
    for org_id in (scene.org_id, scene.other_org_id):
        browser = await sign_in(org_id, "member")
        invited = await invite_member(parts, org_id, email=email, role="member")
        begun = await sign_in_by_link(parts, invited.link.token, user_agent="A browser")
        browser.client.cookies.set("tieline_session", begun.cookie, domain="tieline.test")
        await browser.get("/access/passkeys")
        devices[org_id] = await add(browser, name=f"Phone {org_id}")
    for org_id, device in devices.items():
        assert (await enter(stranger, device)).status_code == 303
        text = (await stranger.get("/access/passkeys")).text
        assert [f"Phone {one}" in text for one in devices] == [one == org_id for one in devices]


async def test_an_authenticator_that_does_not_count_goes_on_working(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    browser = await sign_in(scene.org_id, "member")
    device = await add(browser, Authenticator(ORIGIN, counts=False, flags=GOOD | ELIGIBLE))
    assert [one.backed_up for one in await kept(parts, scene.org_id, browser.member_id)] == [False]
    for _ in range(2):
        assert (await enter(stranger, device, flags=GOOD | ELIGIBLE | BACKED_UP)).status_code == 303
    assert [one.backed_up for one in await kept(parts, scene.org_id, browser.member_id)] == [True]


# What is refused


WRONG_SIGNATURES: dict[str, dict[str, Any]] = {
    "another origin": {"origin": "http://localhost.evil.example"},
    "another port": {"origin": "http://localhost:8001"},
    "the origin over https": {"origin": "https://localhost:8000"},
    "another relying party": {"rp_id": "evil.example"},
    "a challenge of its own": {"challenge": encode(bytes(32))},
    "no challenge": {"challenge": ""},
    "the answer to a registration": {"type": "webauthn.create"},
    "a page of another site around it": {"cross_origin": True},
    "no user verification": {"flags": PRESENT},
    "no user present": {"flags": VERIFIED},
    "another key": {"key": ec.generate_private_key(ec.SECP256R1())},
    "a tampered signature": {"signature": bytes(70)},
    "data that was not signed": {"told": bytes(37)},
}


async def test_what_does_not_prove_the_passkey_is_refused_and_recorded(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    browser = await sign_in(scene.org_id, "member")
    device = await add(browser)
    (passkey,) = await kept(parts, scene.org_id, browser.member_id)
    accepted = [name for name, wrong in WRONG_SIGNATURES.items() if not refused(await enter(stranger, device, **wrong))]
    assert accepted == []
    told = [one for one in await entries(parts, scene.org_id, "passkey.refused") if one.target == passkey.id]
    assert [one.details for one in told] == [{"member": browser.member_id, "reason": "not_proved"}] * len(
        WRONG_SIGNATURES
    )
    assert {one.actor for one in told} == {"system"}, "nobody is known"
    assert (await kept(parts, scene.org_id, browser.member_id)) == [passkey]
    assert (await stranger.get("/access")).status_code == 303
    assert (await enter(stranger, device)).status_code == 303, "the good one still signs in"


async def test_a_counter_that_goes_back_is_refused_and_recorded(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    browser = await sign_in(scene.org_id, "member")
    device = await add(browser, Authenticator(ORIGIN, counter=41))
    for counter in (41, 40, 0):
        answer = await enter(stranger, device, counter=counter)
        assert refused(answer)
        assert "may have been copied" in answer.text
    (passkey,) = await kept(parts, scene.org_id, browser.member_id)
    told = [one for one in await entries(parts, scene.org_id, "passkey.refused") if one.target == passkey.id]
    assert [one.details["reason"] for one in told] == ["counter"] * 3
    assert (await enter(stranger, device, counter=45)).status_code == 303


async def test_the_passkey_of_one_member_is_not_taken_for_another(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    mine, theirs = await sign_in(scene.org_id, "auditor"), await sign_in(scene.org_id, "owner")
    device = await add(mine)
    org = to_uuid(scene.org_id, "org").bytes
    other_org = to_uuid(scene.other_org_id, "org").bytes
    for handle in (
        org + to_uuid(theirs.member_id or "", "mem").bytes,
        other_org + device.handle[16:],
        to_uuid(new_id("org"), "org").bytes + device.handle[16:],
        device.handle[:31],
        device.handle + b"\0",
        b"",
    ):
        assert refused(await enter(stranger, device, handle=handle))
    unknown = Authenticator(ORIGIN, handle=device.handle)
    assert refused(await enter(stranger, unknown))


async def test_an_answer_is_good_once(sign_in: Signs, stranger: Browser, scene: Scene) -> None:
    device = await add(await sign_in(scene.org_id, "member"), Authenticator(ORIGIN, counts=False))
    options = await begin(stranger, "/sign-in/passkey")
    cookie, answer = stranger.client.cookies["tieline_passkey"], device.sign(options)
    sent = await asyncio.gather(*(stranger.post("/sign-in/passkey", answer=answer) for _ in range(4)))
    assert sorted(one.status_code for one in sent) == [303, 422, 422, 422]
    stranger.client.cookies.clear()
    stranger.client.cookies.set("tieline_passkey", cookie, domain="tieline.test")
    assert refused(await stranger.post("/sign-in/passkey", answer=answer))


async def test_a_wrong_answer_uses_the_challenge_up(sign_in: Signs, stranger: Browser, scene: Scene) -> None:
    device = await add(await sign_in(scene.org_id, "member"))
    options = await begin(stranger, "/sign-in/passkey")
    assert refused(await stranger.post("/sign-in/passkey", answer=device.sign(options, signature=b"")))
    answer = await stranger.post("/sign-in/passkey", answer=device.sign(options))
    assert refused(answer)
    assert "The five minutes are over" in answer.text


async def test_an_answer_is_good_in_the_browser_that_was_asked_alone(
    sign_in: Signs, stranger: Browser, app: FastAPI, scene: Scene
) -> None:
    browser = await sign_in(scene.org_id, "member")
    device = await add(browser)
    answer = device.sign(await begin(stranger, "/sign-in/passkey"))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=HOST) as client:
        victim = Browser(client)
        assert refused(await victim.post("/sign-in/passkey", answer=answer))
        await begin(victim, "/sign-in/passkey")
        assert refused(await victim.post("/sign-in/passkey", answer=answer))
    made = Authenticator(ORIGIN).make(await begin(browser, "/access/passkeys", name="Theirs"))
    colleague = await sign_in(scene.org_id, "member")
    assert refused(await colleague.post("/access/passkeys", name="Theirs", answer=made))


async def test_an_answer_is_late_after_five_minutes(
    sign_in: Signs, stranger: Browser, app: FastAPI, parts: Parts, scene: Scene
) -> None:
    device = await add(await sign_in(scene.org_id, "member"))
    options = await begin(stranger, "/sign-in/passkey")
    app.state.parts = replace(app.state.parts, clock=SetClock(parts.clock.now() + LIFETIME))
    assert refused(await stranger.post("/sign-in/passkey", answer=device.sign(options)))
    await begin(stranger, "/sign-in/passkey")
    later = replace(parts, clock=SetClock(parts.clock.now() + LIFETIME * 3))
    await prune_sign_ins(later)
    async with parts.db.system() as work:
        left = (await work.connection.execute(store.passkey_challenges.select())).all()
    assert [one for one in left if one.expires_at <= later.clock.now()] == []


async def test_of_too_many_challenges_the_oldest_give_way(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MOST_CHALLENGES", 2)
    now = parts.clock.now()
    ids = [from_uuid("chal", UUID(int=(0x7F << 120) + number)) for number in range(4)]  # the newest that there are
    made = [Challenge(one, uuid4().bytes, bytes(32), now + LIFETIME) for one in ids]
    for one in made:
        async with parts.db.system() as work:
            await store.put_challenge(work, one)
    async with parts.db.system() as work:
        kept = [await store.take_challenge(work, one.browser, now=now) is not None for one in made]
    assert kept == [False, False, True, True]


WRONG_NEW: dict[str, dict[str, Any]] = {
    "another origin": {"origin": "https://evil.example"},
    "another relying party": {"rp_id": "evil.example"},
    "a challenge of its own": {"challenge": encode(bytes(32))},
    "the answer to a sign-in": {"type": "webauthn.get"},
    "a page of another site around it": {"cross_origin": True},
    "no user verification": {"flags": PRESENT},
    "no user present": {"flags": VERIFIED},
    "an attestation of no known form": {"fmt": "home-made"},
}


async def test_what_was_not_made_as_asked_is_not_kept(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "member")
    for name, wrong in WRONG_NEW.items():
        options = await begin(browser, "/access/passkeys", name="Phone")
        made = Authenticator(ORIGIN).make(options, **wrong)
        answer = await browser.post("/access/passkeys", name="Phone", answer=made)
        assert refused(answer), name
        assert "Nothing was added here" in answer.text
    assert await kept(parts, scene.org_id, browser.member_id) == []


async def test_what_is_no_answer_is_refused_like_a_wrong_one(sign_in: Signs, stranger: Browser, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "member")
    for junk in ("", "{}", "[]", "null", '{"id": 1}', "x" * 20_000, '{"response": {"clientDataJSON": 7}}'):
        await begin(stranger, "/sign-in/passkey")
        assert refused(await stranger.post("/sign-in/passkey", answer=junk))
        await begin(browser, "/access/passkeys", name="Phone")
        assert refused(await browser.post("/access/passkeys", name="Phone", answer=junk))


async def test_a_name_is_judged_before_the_device_makes_anything(sign_in: Signs, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "member")
    for name in ("", "  ", "x" * 101, "a\u202eb"):
        answer = await browser.post("/access/passkeys/begin", name=name)
        assert answer.status_code == 422
        assert "at most 100 characters" in answer.json()["problem"]


async def test_a_member_has_twenty_at_the_most(sign_in: Signs, parts: Parts, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "member")
    await add(browser)
    answer = Authenticator(ORIGIN).make(await begin(browser, "/access/passkeys", name="Last"))
    async with parts.db.work(scene.org_id) as work:
        (first,) = await list_passkeys(work, member_id=browser.member_id)
        for _ in range(MOST - 1):
            await store.add_passkey(work, replace(first, id=new_id("pass"), credential_id=uuid4().bytes))
    assert (await browser.post("/access/passkeys", name="Last", answer=answer)).status_code == 409
    told = await browser.post("/access/passkeys/begin", name="One more")
    assert (told.status_code, "20 passkeys already" in told.json()["problem"]) == (409, True)
    assert "Remove one that you do not use" in (await browser.get("/access/passkeys")).text


# Who loses them


async def test_a_member_who_is_removed_cannot_come_back_by_a_passkey(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    browser = await sign_in(scene.org_id, "member")
    device = await add(browser)
    gone = await remove_member(parts, scene.org_id, browser.member_id or "")
    assert refused(await enter(stranger, device))
    assert await kept(parts, scene.org_id, browser.member_id) == []
    again = await invite_member(parts, scene.org_id, email=gone.member.email, role="member")
    assert again.member.id == browser.member_id
    assert refused(await enter(stranger, device))


async def test_a_passkey_of_a_member_who_is_not_active_signs_nobody_in(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    from tieline.store.members import change_member

    browser = await sign_in(scene.org_id, "member")
    device = await add(browser)
    async with parts.db.work(scene.org_id) as work:
        await change_member(work, browser.member_id or "", status="removed")
    assert refused(await enter(stranger, device))


async def test_one_removes_ones_own_and_an_admin_those_of_roles_no_higher(
    sign_in: Signs, stranger: Browser, parts: Parts, scene: Scene
) -> None:
    member, other, admin, owner = [await sign_in(scene.org_id, role) for role in ("member", "member", "admin", "owner")]
    device, theirs = await add(member), await add(owner)
    (mine,) = await kept(parts, scene.org_id, member.member_id)
    (owners,) = await kept(parts, scene.org_id, owner.member_id)
    assert mine.id not in (await other.get("/access/passkeys")).text
    assert (await other.post(f"/access/passkeys/{mine.id}/remove")).status_code == 403
    assert mine.id in (await admin.get("/access/passkeys")).text
    assert (await admin.post(f"/access/passkeys/{owners.id}/remove")).status_code == 403
    assert (await admin.post(f"/access/passkeys/{mine.id}/remove")).status_code == 303
    assert (await owner.post(f"/access/passkeys/{owners.id}/remove")).status_code == 303
    assert refused(await enter(stranger, device))
    assert refused(await enter(stranger, theirs))
    gone = {one.target: one.actor for one in await entries(parts, scene.org_id, "passkey.removed")}
    assert (gone[mine.id], gone[owners.id]) == (admin.member_id, owner.member_id)


# Where they do not work


async def test_at_an_address_without_a_name_the_pages_say_why_there_are_none(
    sign_in: Signs, stranger: Browser, app: FastAPI, parts: Parts, scene: Scene
) -> None:
    browser = await sign_in(scene.org_id, "member")
    app.state.parts = replace(parts, public_url="http://127.0.0.1:8000")
    page = await browser.get("/access/passkeys")
    assert "Passkeys cannot be used at this address" in page.text
    assert "data-passkey=" not in page.text
    entrance = await stranger.get("/sign-in")
    assert "They need https and a host with a name" in entrance.text
    assert "data-passkey=" not in entrance.text
    assert (await stranger.post("/sign-in/passkey/begin")).status_code == 404


async def test_the_pages_say_what_to_do_without_script(sign_in: Signs, stranger: Browser, scene: Scene) -> None:
    entrance = (await stranger.get("/sign-in")).text
    assert re.search(r'<form[^>]* data-passkey="use"[^>]* hidden>', entrance)
    assert re.search(r"<p [^>]*data-without-script>[^<]* switch script on", entrance)
    assert f'data-origin="{ORIGIN}"' in entrance
    browser = await sign_in(scene.org_id, "member")
    page = (await browser.get("/access/passkeys")).text
    assert re.search(r'<form[^>]* data-passkey="make"[^>]* hidden>', page)
    assert "can only be made with script" in page


async def test_no_other_site_asks_in_a_persons_name(sign_in: Signs, stranger: Browser, scene: Scene) -> None:
    browser = await sign_in(scene.org_id, "member")
    for path in ("/sign-in/passkey/begin", "/sign-in/passkey"):
        assert (await stranger.post(path, site="cross-site")).status_code == 403
    for path in ("/access/passkeys/begin", "/access/passkeys"):
        assert (await browser.post(path, csrf="0" * 64, name="x")).status_code == 403
