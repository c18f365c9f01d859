"""Single sign-on against a certified OpenID provider: who gets in, and what is refused on the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from tests.api.shapes import Scene
from tests.emulators.oidc import Oidc
from tests.web.conftest import Browser

from tieline.access.sso import Sso
from tieline.clock import SetClock
from tieline.errors import SetupError
from tieline.flows.members import invite_member, remove_member
from tieline.flows.parts import Parts
from tieline.sdk.addresses import AddressPolicy
from tieline.settings import read_settings

CALLBACK = "http://127.0.0.1:8000/sign-in/sso/callback"


@pytest.fixture
def sso(oidc: Oidc, app: FastAPI, parts: Parts) -> Sso:
    """The console with the provider set up."""
    oidc.allow_redirects(CALLBACK)
    secret = oidc.apps["basic"].client_secret
    made = Sso(oidc.issuer, oidc.apps["basic"].client_id, secret, parts.policy, parts.clock)
    app.state.parts = replace(parts, sso=made)
    return made


async def begin(browser: Browser, **params: str) -> str:
    answer = await browser.get("/sign-in/sso", **params)
    assert answer.status_code == 303
    return str(answer.headers["location"])


async def go_through(browser: Browser, oidc: Oidc, *, login: str, **params: str) -> httpx2.Response:
    back = oidc.walk(await begin(browser, **params), login=login)
    return await browser.get("/sign-in/sso/callback", **back)


async def invite(parts: Parts, scene: Scene, email: str) -> str:
    from tieline.errors import Conflict
    from tieline.flows.members import find_present

    try:
        return (await invite_member(parts, scene.org_id, email=email, role="member")).member.id
    except Conflict:
        return (await find_present(parts, scene.org_id, email)).id


async def test_a_member_with_a_verified_address_is_signed_in_and_goes_where_they_were_going(
    stranger: Browser, oidc: Oidc, sso: Sso, parts: Parts, scene: Scene
) -> None:
    await invite(parts, scene, "Dora@Example.com")
    assert "Continue with single sign-on" in (await stranger.get("/sign-in")).text
    answer = await go_through(stranger, oidc, login="dora", next="/access?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/access?x=1")
    assert "Single sign-on" in (await stranger.get("/access/sessions")).text


async def test_a_member_of_two_organizations_gets_into_the_second_beside_the_first(
    stranger: Browser, oidc: Oidc, sso: Sso, parts: Parts, scene: Scene
) -> None:
    await invite(parts, scene, "dora@example.com")
    other = replace(scene, org_id=scene.other_org_id, other_org_id=scene.org_id)
    member_id = await invite(parts, other, "dora@example.com")
    try:
        for _ in range(2):
            await go_through(stranger, oidc, login="dora")
        shown = (await stranger.get("/runs")).text
        assert scene.org_id in shown
        assert scene.other_org_id in shown
    finally:
        await remove_member(parts, scene.other_org_id, member_id)


async def test_who_was_not_invited_gets_in_nowhere(stranger: Browser, oidc: Oidc, sso: Sso) -> None:
    answer = await go_through(stranger, oidc, login="emil")
    assert answer.status_code == 403
    assert "tieline_session" not in stranger.client.cookies
    assert "You are not a member" in answer.text


async def test_who_was_removed_gets_in_no_more(
    stranger: Browser, oidc: Oidc, sso: Sso, parts: Parts, scene: Scene
) -> None:
    await remove_member(parts, scene.org_id, await invite(parts, scene, "dora@example.com"))
    assert (await go_through(stranger, oidc, login="dora")).status_code == 403


@pytest.mark.parametrize("login", ["finn", "anna"])
async def test_an_address_that_is_not_verified_or_not_told_counts_for_nothing(
    stranger: Browser, oidc: Oidc, sso: Sso, parts: Parts, scene: Scene, login: str
) -> None:
    await invite(parts, scene, "finn@example.com")
    answer = await go_through(stranger, oidc, login=login)
    assert answer.status_code == 403
    assert "no verified e-mail address" in answer.text


async def test_declining_is_told_in_words(stranger: Browser, oidc: Oidc, sso: Sso) -> None:
    back = oidc.walk(await begin(stranger), login="dora", decline=True)
    answer = await stranger.get("/sign-in/sso/callback", **back)
    assert answer.status_code == 422
    assert "access_denied" in answer.text


def other_state(back: dict[str, str]) -> dict[str, str]:
    return back | {"state": "x" * 43}


def other_issuer(back: dict[str, str]) -> dict[str, str]:
    return back | {"iss": "https://evil.example"}


def no_state(back: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in back.items() if name != "state"}


@pytest.mark.parametrize("change", [other_state, other_issuer, no_state])
async def test_what_comes_back_changed_is_refused(
    stranger: Browser, oidc: Oidc, sso: Sso, parts: Parts, scene: Scene, change: Callable[[Any], Any]
) -> None:
    await invite(parts, scene, "dora@example.com")
    back = oidc.walk(await begin(stranger), login="dora")
    assert (await stranger.get("/sign-in/sso/callback", **change(back))).status_code in {400, 422}
    assert "tieline_session" not in stranger.client.cookies


async def test_another_browser_cannot_finish_what_this_one_began(
    stranger: Browser, oidc: Oidc, sso: Sso, parts: Parts, scene: Scene
) -> None:
    await invite(parts, scene, "dora@example.com")
    back = oidc.walk(await begin(stranger), login="dora")
    stranger.client.cookies.clear()
    assert (await stranger.get("/sign-in/sso/callback", **back)).status_code == 400
    await begin(stranger)
    assert (await stranger.get("/sign-in/sso/callback", **back)).status_code == 400


async def test_a_code_is_taken_once_and_its_cookie_is_gone_afterwards(
    stranger: Browser, oidc: Oidc, sso: Sso, parts: Parts, scene: Scene
) -> None:
    await invite(parts, scene, "dora@example.com")
    back = oidc.walk(await begin(stranger), login="dora")
    trip = stranger.client.cookies["tieline_sso"]
    assert (await stranger.get("/sign-in/sso/callback", **back)).status_code == 303
    assert "tieline_sso" not in stranger.client.cookies
    stranger.client.cookies.set("tieline_sso", trip, domain="tieline.test")
    assert (await stranger.get("/sign-in/sso/callback", **back)).status_code >= 400


async def test_whoever_takes_longer_than_ten_minutes_begins_again(
    stranger: Browser, oidc: Oidc, sso: Sso, app: FastAPI, parts: Parts
) -> None:
    back = oidc.walk(await begin(stranger), login="dora")
    late = SetClock(parts.clock.now() + timedelta(minutes=11))
    app.state.parts = replace(parts, sso=sso, clock=late)
    assert (await stranger.get("/sign-in/sso/callback", **back)).status_code == 400


async def test_a_parameter_given_twice_is_refused(stranger: Browser, oidc: Oidc, sso: Sso) -> None:
    back = oidc.walk(await begin(stranger), login="dora")
    answer = await stranger.client.get(f"/sign-in/sso/callback?{urlencode(back)}&state=x")
    assert answer.status_code == 403


async def test_the_request_has_what_the_standards_ask_and_nothing_is_secret_in_it(
    stranger: Browser, oidc: Oidc, sso: Sso
) -> None:
    query = parse_qs(urlsplit(await begin(stranger)).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["openid email profile"]
    assert len(query["nonce"][0]) == len(query["state"][0]) == 43
    assert query["redirect_uri"] == [CALLBACK]
    assert "code_verifier" not in query


async def test_an_issuer_that_is_another_than_it_says_is_refused(
    stranger: Browser, oidc: Oidc, sso: Sso, app: FastAPI, parts: Parts
) -> None:
    wrong = replace(sso, issuer=f"{oidc.issuer}/", _known=None)
    app.state.parts = replace(parts, sso=wrong)
    assert (await stranger.get("/sign-in/sso")).status_code == 502


async def test_a_provider_that_is_away_is_told_as_such(stranger: Browser, app: FastAPI, parts: Parts) -> None:
    away = Sso("http://127.0.0.1:9", "x", SecretStr("y"), AddressPolicy.parse("127.0.0.1"), parts.clock)
    app.state.parts = replace(parts, sso=away)
    answer = await stranger.get("/sign-in/sso")
    assert answer.status_code == 502
    assert "Something went wrong" in answer.text


def test_the_settings_for_it_come_together_and_over_https(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in (
        {"oidc_issuer": "https://login.example"},
        {"oidc_client_id": uuid4().hex},
        {"oidc_issuer": "http://login.example", "oidc_client_id": "x"},
    ):
        with pytest.raises(SetupError):
            read_settings(**given)
    read = read_settings(oidc_issuer="https://login.example/realms/x", oidc_client_id="x")
    assert read.oidc_issuer == "https://login.example/realms/x"
