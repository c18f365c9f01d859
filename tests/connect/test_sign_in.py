"""The hosted pages where a person signs in at the provider: in another window, in the same, declined, late, and by others."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select
from tests.connect.conftest import SITE, Customer, Person, customer_of
from tests.consent import agree, form_in
from tests.oauth.conftest import PUBLIC, Browser, World

from tieline.store.attempts import attempts
from tieline.store.connect_sessions import connect_sessions


@pytest.fixture
async def customer(world: World) -> Customer:
    """An organization."""
    return await customer_of(world)


@pytest.fixture
def person(world: World) -> Person:
    """Somebody whose browser sends no cookie from a frame."""
    return Person(world.client(), headers={"Sec-Fetch-Dest": "iframe"})


def address_in(person: Person) -> str:
    """Where the page's link to sign in leads."""
    (address,) = re.findall(r'href="(/connect-session/sign-in/[^"]+)"', person.text)
    return unescape(address)


async def to_away(customer: Customer, person: Person, slug: str = "acme", **offer: Any) -> dict[str, Any]:
    """Go on to where a person leaves for the provider."""
    made = await customer.session(**{"providers": [slug], "origins": [SITE], **offer})
    await person.open(made["url"])
    await person.do("accept")
    if slug == "acme":
        await person.do("way", by="oauth2")
    await person.do("leave")
    assert person.heading == f"Sign in at {slug.title()}", person.text
    return made


async def status(person: Person) -> str:
    """What the waiting page is told."""
    answer = await person.client.post("/connect-session/status", data={"ticket": person.ticket})
    step: str = answer.json()["step"]
    return step


async def test_a_person_signs_in_in_a_window_and_the_frame_goes_on(
    world: World, customer: Customer, person: Person
) -> None:
    made = await to_away(customer, person)
    assert 'target="_blank" rel="noopener noreferrer"' in person.text
    assert f'content="5;url=/connect-session/{person.ticket}"' in person.text  # without script
    assert await status(person) == "away"
    window = world.browser()
    asked = await window.client.get(address_in(person))
    for told in ("wants to read your Acme account", "the API key “k”", "<li>People</li>", "<code>openid</code>"):
        assert told in asked.text, told
    assert asked.headers["content-security-policy"].endswith("frame-ancestors 'none'")
    back = await window.come_back(await window.walk(f"{PUBLIC}{address_in(person)}"))
    assert (back.status_code, back.headers["location"]) == (303, f"{PUBLIC}/connect-session/window?locale=en")
    assert "You can close this window" in (await window.client.get(back.headers["location"])).text
    assert await customer.connections() == []  # nobody has said yes
    assert await status(person) == "account"
    await person.do("look")
    assert person.heading == "Is this the account?"
    assert "<code>anna</code>" in person.text
    await person.do("confirm")
    (connection,) = await customer.connections()
    assert (connection["external_id"], connection["kind"]) == ("anna", "oauth2")
    assert (await customer.stands(made["id"]))["connection_id"] == connection["id"]


async def test_with_the_plain_link_it_is_one_window_all_the_way(
    world: World, customer: Customer, person: Person
) -> None:
    person.headers = {"Sec-Fetch-Dest": "document"}
    made = await to_away(customer, person, origins=[])
    assert "_blank" not in person.text
    assert "http-equiv" not in person.text
    browser = Browser(person.client, world.oidc)
    back = await browser.come_back(await browser.walk(f"{PUBLIC}{address_in(person)}"))
    assert back.headers["location"] == f"{PUBLIC}/connect-session/{person.ticket}"
    answer = await person.client.get(back.headers["location"])  # with the cookie of the sign-in, which is not looked at
    person.page = answer
    assert person.heading == "Is this the account?"
    await person.do("confirm")
    assert (await customer.stands(made["id"]))["status"] == "connected"


async def test_no_ticket_is_stored_in_plain(world: World, customer: Customer, person: Person) -> None:
    person.headers = {"Sec-Fetch-Dest": "document"}
    await to_away(customer, person, origins=[])
    async with world.parts.db.work(customer.org_id) as work:
        rows = [
            *await work.connection.execute(select(attempts)),
            *await work.connection.execute(select(connect_sessions)),
        ]
    assert len(rows) == 2
    assert person.ticket not in repr([tuple(row) for row in rows])


async def test_who_declines_at_the_provider_is_told_and_tries_again(
    world: World, customer: Customer, person: Person
) -> None:
    made = await to_away(customer, person)
    window = world.browser()
    query = await window.walk(f"{PUBLIC}{address_in(person)}", decline=True)
    assert (await window.come_back(query)).status_code == 303
    assert await status(person) == "form"
    await person.do("look")
    assert person.heading == "Sign in at Acme"
    assert "The sign-in was declined." in person.text
    assert (await customer.stands(made["id"]))["reason"]["slug"] == "sign-in-declined"
    await person.do("leave")
    window = world.browser()
    await window.come_back(await window.walk(f"{PUBLIC}{address_in(person)}"))
    await person.do("look")
    await person.do("confirm")
    assert (await customer.stands(made["id"]))["status"] == "connected"


async def test_who_declines_before_is_told_and_led_back(world: World, customer: Customer, person: Person) -> None:
    await to_away(customer, person)
    page = await agree(world.browser().client, address_in(person), "decline")
    assert f'href="{PUBLIC}/connect-session/window?locale=en"' in page.text
    await person.do("look")
    assert "The sign-in was declined." in person.text
    person.headers = {"Sec-Fetch-Dest": "document"}
    await to_away(customer, person)
    page = await agree(world.browser().client, address_in(person), "decline")
    assert f'href="{PUBLIC}/connect-session/{person.ticket}"' in page.text
    await person.open(f"/connect-session/{person.ticket}")
    assert "The sign-in was declined." in person.text


async def test_a_sign_in_that_nobody_finishes_can_be_begun_again(
    world: World, customer: Customer, person: Person
) -> None:
    await to_away(customer, person)
    world.wait(11)
    assert await status(person) == "form"
    await person.do("look")
    assert "The ten minutes for signing in are over." in person.text
    await person.do("leave")
    window = world.browser()
    await window.come_back(await window.walk(f"{PUBLIC}{address_in(person)}"))
    assert await status(person) == "account"


async def test_only_the_sign_in_that_is_waited_for_counts(world: World, customer: Customer, person: Person) -> None:
    """One that was given up, one of another session, and one that comes when the session is over bring nothing."""
    made = await to_away(customer, person)
    former = world.browser()
    query = await former.walk(f"{PUBLIC}{address_in(person)}")
    await person.do("back")
    await person.do("leave")
    assert (await former.come_back(query)).status_code == 303
    assert await status(person) == "away"
    other = Person(world.client(), headers=person.headers)
    theirs = await to_away(customer, other)
    window = world.browser()
    await window.come_back(await window.walk(f"{PUBLIC}{address_in(other)}", login="bert"))
    assert (await status(person), await status(other)) == ("away", "account")
    late = world.browser()
    query = await late.walk(f"{PUBLIC}{address_in(person)}")
    await customer.client.delete(f"/v1/connect-sessions/{made['id']}")
    assert (await late.come_back(query)).status_code == 303
    assert await customer.connections() == []
    await other.do("look")
    await other.do("confirm")
    assert (await customer.stands(theirs["id"]))["status"] == "connected"
    assert [one["external_id"] for one in await customer.connections()] == ["bert"]


async def test_a_sign_in_that_comes_twice_counts_once(world: World, customer: Customer, person: Person) -> None:
    await to_away(customer, person)
    window = world.browser()
    query = await window.walk(f"{PUBLIC}{address_in(person)}")
    first, again = await window.come_back(query), await window.come_back(query)
    assert (first.status_code, again.status_code) == (303, 400)
    assert await status(person) == "account"


async def test_another_account_than_the_connections_is_refused(
    world: World, customer: Customer, person: Person
) -> None:
    await to_away(customer, person)
    window = world.browser()
    await window.come_back(await window.walk(f"{PUBLIC}{address_in(person)}"))
    await person.do("look")
    await person.do("confirm")
    (connection,) = await customer.connections()
    made = await to_away(customer, person, providers=["acme"], connection_id=connection["id"])
    window = world.browser()
    asked = await window.client.get(address_in(person))
    assert "It renews the connection" in asked.text
    query = await window.walk(f"{PUBLIC}{address_in(person)}", login="bert")
    assert (await window.come_back(query)).status_code == 303
    await person.do("look")
    assert "opens another account" in person.text
    assert (await customer.stands(made["id"]))["reason"]["slug"] == "conflict"
    await person.do("leave")
    window = world.browser()
    await window.come_back(await window.walk(f"{PUBLIC}{address_in(person)}"))
    await person.do("look")
    assert "It is connected already" in person.text
    await person.do("confirm")
    assert (await customer.stands(made["id"]))["connection_id"] == connection["id"]


async def test_a_way_whose_app_is_missing_says_so_and_offers_the_others(
    world: World, customer: Customer, person: Person
) -> None:
    world.change(apps={})
    made = await customer.session(providers=["acme"])
    await person.open(made["url"])
    await person.do("accept")
    assert person.heading == "Give access to Acme"  # by the first way that can be taken
    await person.do("way", by="oauth2")
    assert "This way is not set up yet: it needs an app at Acme." in person.text
    assert 'value="leave"' not in person.text
    assert 'name="by" value="token"' in person.text
    page = await person.do("leave")
    assert page.status_code == 422
    await person.do("way", by="token")
    assert 'value="give"' in person.text


async def test_a_provider_that_asks_twice_is_gone_to_twice(world: World, customer: Customer, person: Person) -> None:
    await to_away(customer, person, "twice")
    window = world.browser()
    again = await window.come_back(await window.walk(f"{PUBLIC}{address_in(person)}"), "twice")
    assert again.status_code == 303
    assert await status(person) == "away"
    query = world.oidc.walk(again.headers["location"])
    assert (await window.come_back(query, "twice")).status_code == 303
    assert await status(person) == "account"


async def test_the_person_is_asked_in_the_sessions_language(world: World, customer: Customer, person: Person) -> None:
    made = await customer.session(providers=["twice"], origins=[SITE], locale="de")
    await person.open(made["url"])
    await person.do("accept")
    await person.do("leave")
    window = world.browser()
    asked = await window.client.get(address_in(person))
    assert '<html lang="de">' in asked.text
    assert "Ihr Konto bei Twice verbinden?" in asked.text
    sent = await agree(window.client, address_in(person), "decline")
    (address,) = re.findall(r'<a href="([^"]+)"', sent.text)
    told = await window.client.get(address)
    assert "Sie können dieses Fenster schließen" in told.text
    assert told.headers["content-security-policy"].endswith("frame-ancestors 'none'")


async def test_only_a_sign_in_of_a_session_is_asked_here_and_only_where_it_was_shown(
    world: World, customer: Customer, person: Person
) -> None:
    plain = await customer.start("acme", by="oauth2")
    ticket = plain["url"].rpartition("/")[2]
    window = world.browser()
    assert (await window.client.get(f"/connect-session/sign-in/{ticket}")).status_code == 404
    assert (await window.client.get("/connect-session/sign-in/t1.x")).status_code == 400
    await to_away(customer, person)
    form = form_in((await world.browser().client.get(address_in(person))).text) | {"answer": "continue"}
    for client in (window.client, world.client()):  # which were not asked
        assert (await client.post(address_in(person), data=form)).status_code == 400
    assert await status(person) == "away"
