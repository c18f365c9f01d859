"""Signing in at a provider: against a certified OpenID server, through the API and with cookies, as a person does it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.consent import address_in
from tests.oauth.conftest import HOST_APP, PUBLIC, Browser, Tenant, World, query_of

from tieline.errors import Invalid
from tieline.flows.authorize import Finished, Wish, begin, finish, open_attempt, prune_attempts
from tieline.store.attempts import get_attempt
from tieline.store.credentials import get_credential

# The way there and back


async def test_a_person_signs_in_and_the_account_is_connected(world: World, tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start(by="oauth2", name="Ours", return_to="/done?tab=1#top")
    assert (begun["status"], begun["reason"], begun["connection_id"]) == ("pending", None, None)
    query = await browser.walk(begun["url"])
    assert {"code", "state", "iss"} <= set(query)
    back = await browser.come_back(query)
    (connection,) = await tenant.connections()
    assert back.status_code == 303
    assert back.headers["location"] == f"/done?tab=1&connected=1&connection={connection['id']}#top"
    assert (connection["name"], connection["external_id"], connection["status"]) == ("Ours", "anna", "active")
    attempt = await tenant.attempt(begun["id"])
    assert (attempt["status"], attempt["connection_id"]) == ("connected", connection["id"])
    async with world.parts.db.work(tenant.org_id) as work:
        row = await get_credential(work, connection["id"], "oauth2")
    assert row is not None


async def test_the_provider_is_asked_with_pkce_a_state_and_the_registered_callback(
    tenant: Tenant, browser: Browser
) -> None:
    begun = await tenant.start()
    sent = [await browser.open(begun["url"]) for _ in range(2)]
    asked = [parse_qs(urlsplit(address_in(one.text)).query) for one in sent]
    for one in asked:
        assert one["redirect_uri"] == [f"{PUBLIC}/v1/oauth/callback/acme"]
        assert one["code_challenge_method"] == ["S256"]
        assert len(one["code_challenge"][0]) == 43
        assert one["scope"] == ["openid read"]
    assert asked[0]["state"] != asked[1]["state"]
    assert asked[0]["code_challenge"] != asked[1]["code_challenge"]


async def test_the_cookie_is_for_this_host_over_tls_and_no_script(
    world: World, tenant: Tenant, browser: Browser
) -> None:
    sent = await browser.open((await tenant.start())["url"])
    cookie = sent.headers["set-cookie"].lower()
    assert cookie.startswith("__host-tieline-sign-in=")
    assert all(word in cookie for word in ("httponly", "secure", "samesite=lax", "path=/", "max-age=600"))
    world.change(public_url="http://127.0.0.1:8000")
    plain = await world.browser().open(urlsplit((await tenant.start())["url"]).path)
    assert "secure" not in plain.headers["set-cookie"].lower()
    assert plain.headers["set-cookie"].startswith("tieline-sign-in=")


async def test_opened_again_in_the_same_browser_only_the_last_round_counts(tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start()
    first = await browser.walk(begun["url"])
    second = await browser.walk(begun["url"])
    assert (await browser.come_back(first)).status_code == 400
    done = await browser.come_back(second)
    assert (done.status_code, "Done" in done.text) == (200, True)


async def test_a_second_round_has_secrets_of_its_own_and_the_same_browser(tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start("twice")
    first = await browser.walk(begun["url"])
    onward = await browser.come_back(first, "twice")
    assert onward.status_code == 303
    assert onward.headers["location"].startswith(browser.oidc.issuer)
    assert (await tenant.attempt(begun["id"]))["status"] == "pending"
    assert (await browser.come_back(first, "twice")).status_code == 400, "the first round is over"
    second = browser.oidc.walk(onward.headers["location"])
    assert second["state"] != first["state"]
    assert (await browser.come_back(second, "twice")).status_code == 200
    assert (await tenant.attempt(begun["id"]))["status"] == "connected"
    assert [one["status"] for one in browser.oidc.requests()] == [200], "the first code was never used"


async def test_a_connection_is_reconnected_by_the_same_account_and_by_no_other(
    tenant: Tenant, browser: Browser
) -> None:
    query = await browser.walk((await tenant.start())["url"])
    await browser.come_back(query)
    (connection,) = await tenant.connections()
    begun = await tenant.start(connection_id=connection["id"])
    assert begun["reconnects"] == connection["id"]
    assert (await browser.come_back(await browser.walk(begun["url"]))).status_code == 200
    begun = await tenant.start(connection_id=connection["id"], return_to="/x")
    back = await browser.come_back(await browser.walk(begun["url"], login="bert"))
    assert query_of(back) == "error=conflict"
    failed = await tenant.attempt(begun["id"])
    assert (failed["status"], failed["reason"]["slug"]) == ("failed", "conflict")
    assert "another account" in failed["reason"]["message"]
    assert [one["external_id"] for one in await tenant.connections()] == ["anna"]


async def test_a_grant_remembers_the_app_that_it_was_given_to(world: World, tenant: Tenant, browser: Browser) -> None:
    await browser.come_back(await browser.walk((await tenant.start())["url"]))
    (connection,) = await tenant.connections()
    from tieline.flows.credentials import open_row

    provider = world.parts.catalog.provider("acme")
    async with world.parts.db.work(tenant.org_id) as work:
        row = await get_credential(work, connection["id"], "oauth2")
    assert row is not None
    held = await open_row(world.parts, provider.mode("oauth2"), row)
    assert held.credential.details["client_id"] == world.oidc.apps["basic"].client_id  # type: ignore[attr-defined]


# What goes wrong at the provider


async def test_who_declines_is_told_so_in_words(tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start(return_to=f"{HOST_APP}/settings?x=1")
    back = await browser.come_back(await browser.walk(begun["url"], decline=True))
    assert back.headers["location"] == f"{HOST_APP}/settings?x=1&error=sign-in-declined"
    attempt = await tenant.attempt(begun["id"])
    assert attempt["status"] == "failed"
    assert attempt["reason"]["slug"] == "sign-in-declined"
    assert "did not give access" in attempt["reason"]["message"]
    assert browser.oidc.requests() == [], "no token was asked for"


async def test_the_providers_own_words_are_shown_as_text_and_not_at_length(tenant: Tenant, browser: Browser) -> None:
    query = await browser.walk((await tenant.start())["url"])
    told = {"error": "invalid_scope", "error_description": "<script>alert(1)</script>\r\n" + "x" * 900}
    page = await browser.come_back({"state": query["state"], "iss": query["iss"], **told})
    assert page.status_code == 422
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "&lt;script&gt;" in page.text
    assert "<script" not in page.text
    assert "x" * 301 not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_an_answer_of_another_issuer_reaches_no_token_endpoint(tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start(return_to="/x")
    query = await browser.walk(begun["url"])
    back = await browser.come_back(query | {"iss": "https://evil.example"})
    assert query_of(back) == "error=invalid"
    assert browser.oidc.requests() == []
    assert await tenant.connections() == []


async def test_a_failing_token_endpoint_fails_the_attempt_and_the_state_is_used_up(
    tenant: Tenant, browser: Browser
) -> None:
    begun = await tenant.start(return_to="/x")
    query = await browser.walk(begun["url"])
    browser.oidc.fail({"path": "/token", "times": 1, "status": 503, "body": "down"})
    assert query_of(await browser.come_back(query)) == "error=provider-unavailable"
    assert (await browser.come_back(query)).status_code == 400
    assert (await tenant.attempt(begun["id"]))["status"] == "failed"
    assert await tenant.connections() == []


# Twelve attacks on the state


async def refused(browser: Browser, query: dict[str, str], slug: str = "acme", status: int = 400) -> None:
    """Coming back with this is refused by a page, and no code is exchanged."""
    page = await browser.come_back(query, slug)
    assert page.status_code == status, page.text
    assert "location" not in page.headers
    assert page.headers["content-type"].startswith("text/html")
    for value in query.values():
        assert len(value) < 8 or value not in page.text
    assert browser.oidc.requests() == []


async def test_a_replayed_state_is_refused(tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start(return_to="/x")
    query = await browser.walk(begun["url"])
    assert query_of(await browser.come_back(query)).startswith("connected=1")
    again = await browser.come_back(query)
    assert (again.status_code, "location" in again.headers) == (400, False)
    assert len(browser.oidc.requests()) == 1
    assert (await tenant.attempt(begun["id"]))["status"] == "connected"


async def test_of_fifty_callbacks_at_once_one_wins(tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start()
    query = await browser.walk(begun["url"])
    answers = await asyncio.gather(*(browser.come_back(query) for _ in range(50)))
    assert sorted(one.status_code for one in answers) == [200] + [400] * 49
    assert [one["status"] for one in browser.oidc.requests()] == [200]
    assert len(await tenant.connections()) == 1


async def test_another_browser_can_neither_open_nor_finish(world: World, tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start()
    query = await browser.walk(begun["url"])
    stranger = world.browser()
    assert (await stranger.open(begun["url"])).status_code == 400
    await refused(stranger, query)
    await stranger.open((await tenant.start())["url"])
    await refused(stranger, query)
    assert (await browser.come_back(query)).status_code == 200, "the attempt is not spent by the attacks"


async def test_a_state_for_another_organization_is_refused(world: World, tenant: Tenant, browser: Browser) -> None:
    """Its organization is among what is signed: put another's in, and it fits no more."""
    mine, theirs = await tenant.start(), await (await world.tenant()).start()
    own, foreign = await browser.walk(mine["url"]), await browser.walk(theirs["url"])
    body, other = (base64.urlsafe_b64decode(one["state"][3:] + "==") for one in (own, foreign))
    forged = base64.urlsafe_b64encode(other[:16] + body[16:]).rstrip(b"=").decode()
    await refused(browser, own | {"state": f"s1.{forged}"})


async def test_a_state_for_another_provider_is_refused(tenant: Tenant, browser: Browser) -> None:
    query = await browser.walk((await tenant.start())["url"])
    await refused(browser, query, "other")
    await refused(browser, query, "no-such", 404)


async def test_an_expired_state_is_refused_in_words(world: World, tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start(return_to="/x")
    query = await browser.walk(begun["url"])
    world.wait(minutes=10)
    assert query_of(await browser.come_back(query)) == "error=sign-in-expired"
    assert browser.oidc.requests() == []
    assert (await tenant.attempt(begun["id"]))["status"] == "expired"
    assert (await browser.open(begun["url"])).status_code == 410


async def test_an_edited_state_is_refused_wherever_it_is_edited(tenant: Tenant, browser: Browser) -> None:
    query = await browser.walk((await tenant.start())["url"])
    state = query["state"]
    for place in range(len(state)):
        edited = state[:place] + ("A" if state[place] != "A" else "B") + state[place + 1 :]
        await refused(browser, query | {"state": edited})
    for edited in (state + "A", state + "=", state[:-1], state.replace("s1.", "t1."), state.swapcase(), f" {state}"):
        await refused(browser, query | {"state": edited})
    assert (await browser.come_back(query)).status_code == 200


async def test_an_unsigned_state_is_refused(tenant: Tenant, browser: Browser) -> None:
    query = await browser.walk((await tenant.start())["url"])
    told = {"provider": "acme", "organization": tenant.org_id, "returnTo": "https://evil.example"}
    for state in (base64.b64encode(json.dumps(told).encode()).decode(), json.dumps(told), "s1.", "s1", "s1.e30"):
        await refused(browser, query | {"state": state})


async def test_a_missing_repeated_or_oversize_state_is_refused(tenant: Tenant, browser: Browser) -> None:
    query = await browser.walk((await tenant.start())["url"])
    await refused(browser, {"code": query["code"], "iss": query["iss"]})
    await refused(browser, query | {"state": ""})
    await refused(browser, query | {"state": "s1." + "A" * 10_000})
    await refused(browser, query | {"more": "x" * 20_000})
    twice = await browser.client.get("/v1/oauth/callback/acme", params=[*query.items(), ("state", query["state"])])
    assert twice.status_code == 400
    assert (await browser.come_back(query)).status_code == 200


async def test_a_ticket_is_refused_unless_it_is_as_it_was_given(tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start()
    head, _, ticket = begun["url"].rpartition("/")
    for bad in (
        ticket[:-1],
        ticket + "A",
        "t1.",
        "x",
        ticket.replace("t1.", "s1."),
        ticket[:40] + "AAAA" + ticket[44:],
    ):
        page = await browser.open(f"{head}/{bad}")
        assert (page.status_code, "location" in page.headers) == (400, False), bad
    assert (await browser.open(begun["url"])).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example", "///evil.example", "\\evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
        "https://evil.example", "http://app.test", "https://app.test.evil.example", "https://app.test@evil.example",
        "https://u:p@app.test/", "https://app.test:444/", "https:app.test", "https:///app.test", "javascript:alert(1)",
        "data:text/html,x", "ftp://app.test", "/x\r\nSet-Cookie: a=b", "/x y", "/\x01", "/é", "", "x", "?x",
        "https://app.test\\@evil.example", "https://[::1", "https://app.test:x/", "/" + "x" * 2000,
    ],
)  # fmt: skip
async def test_nobody_is_sent_back_anywhere_else(tenant: Tenant, address: str) -> None:
    answer = await tenant.client.post("/v1/oauth/start", json={"provider": "acme", "return_to": address})
    assert answer.status_code == 422, answer.json()
    assert [one["field"] for one in answer.json()["fields"]] in (["return_to"], ["body.return_to"])


@pytest.mark.parametrize(
    "address", ["/", "/x?y=1#z", "/%5cevil", f"{HOST_APP}/x", f"{PUBLIC}/x", "https://APP.test:443/x", HOST_APP]
)
async def test_an_own_path_and_an_allowed_origin_are_good(tenant: Tenant, address: str) -> None:
    await tenant.start(return_to=address)


# Around it


async def test_nothing_that_comes_back_is_logged(
    tenant: Tenant, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="tieline")
    begun = await tenant.start()
    query = await browser.walk(begun["url"])
    await browser.come_back(query)
    await browser.come_back(query)
    logged = "\n".join(str(vars(record)) for record in caplog.records)
    assert "/v1/oauth/callback/acme" in logged
    for secret in (query["code"], query["state"], begun["url"].rpartition("/")[2], *browser.client.cookies.values()):
        assert secret not in logged


async def test_what_cannot_work_is_told_at_once_and_not_to_the_browser(world: World, tenant: Tenant) -> None:
    wishes: list[tuple[dict[str, Any], int, str]] = [
        ({"provider": "nobody"}, 404, "no provider"),
        ({"provider": "acme", "by": "token"}, 422, "signing in"),
        ({"provider": "acme", "by": "nothing"}, 422, "cannot be connected by"),
        ({"provider": "acme", "options": {"colour": "red"}}, 422, "colour"),
        ({"provider": "acme", "connection_id": "conn_" + "0" * 26}, 404, "no connection"),
        ({"provider": "closed"}, 422, "no OAuth app"),
    ]
    for wish, status, told in wishes:
        answer = await tenant.client.post("/v1/oauth/start", json=wish)
        assert (answer.status_code, told in answer.json()["detail"]) == (status, True), answer.json()
    world.change(hosts={"acme": {"web": "http://10.0.0.1"}})
    answer = await tenant.client.post("/v1/oauth/start", json={"provider": "acme"})
    assert (answer.status_code, "address not allowed" in answer.json()["detail"]) == (422, True)


async def test_a_stalled_check_is_told_as_expired(world: World, tenant: Tenant, browser: Browser) -> None:
    begun = await begin(world.parts, tenant.org_id, Wish("acme"))
    onward = await open_attempt(world.parts, begun.url.rpartition("/")[2], None)
    query = browser.oidc.walk(onward.url)
    browser.oidc.fail({"path": "/token", "times": 1, "delay_ms": 3_000})
    work_to_do = asyncio.create_task(finish(world.parts, "acme", query, onward.browser))
    while (await tenant.attempt(begun.attempt.id))["status"] == "pending":
        await asyncio.sleep(0.05)
    assert (await tenant.attempt(begun.attempt.id))["status"] == "validating"
    work_to_do.cancel()
    world.wait(minutes=16)
    assert (await tenant.attempt(begun.attempt.id))["status"] == "expired"


async def test_attempts_are_forgotten_after_a_day(world: World, tenant: Tenant) -> None:
    old = await tenant.start()
    world.wait(minutes=24 * 60 + 5)
    young = await tenant.start()
    await prune_attempts(world.parts)
    assert (await tenant.attempt(old["id"]))["status"] == "expired"
    world.wait(minutes=6)
    assert await prune_attempts(world.parts) >= 1
    assert "no attempt" in (await tenant.attempt(old["id"]))["detail"]
    assert (await tenant.attempt(young["id"]))["status"] == "pending"


async def test_what_an_attempt_carries_is_sealed(world: World, tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start(name="A telling name")
    await browser.open(begun["url"])
    async with world.parts.db.work(tenant.org_id) as work:
        attempt = await get_attempt(work, begun["id"])
    assert b"telling" not in attempt.sealed.sealed
    assert attempt.browser_hash is not None
    assert not {one.encode() for one in browser.client.cookies.values()} & {attempt.browser_hash}


async def test_the_flow_answers_a_refusal_with_the_address_to_go_back_to(
    world: World, tenant: Tenant, browser: Browser
) -> None:
    begun = await begin(world.parts, tenant.org_id, Wish("acme", return_to="/back"))
    onward = await open_attempt(world.parts, begun.url.rpartition("/")[2], "not a cookie of ours")
    query = browser.oidc.walk(onward.url)
    outcome = await finish(world.parts, "acme", query | {"iss": "https://evil.example"}, onward.browser)
    assert isinstance(outcome, Finished)
    assert isinstance(outcome.refusal, Invalid)
    assert (outcome.return_to, outcome.connection) == ("/back", None)
    assert query["state"] not in repr(onward) + repr(begun)
