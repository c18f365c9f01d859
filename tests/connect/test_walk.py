"""The hosted pages with a credential that is given: every step without script and cookie, and all that must not work."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.api.shapes import SANDBOX_TOKEN
from tests.connect.conftest import SITE, Customer, Person, customer_of
from tests.oauth.conftest import HOST_APP, PUBLIC, World

from tieline.flows.connect_sessions import prune_sessions
from tieline.flows.connect_walk import MAX_TRIES
from tieline.store.connect_sessions import connect_sessions, get_session
from tieline.store.sealed import count_by_key

Good = Callable[..., dict[str, str]]
WRONG = "lks_not_the_right_one_5b1c"


async def row_of(world: World, customer: Customer, session_id: str) -> dict[str, Any]:
    """A session as it is stored."""
    async with world.parts.db.work(customer.org_id) as work:
        query = select(connect_sessions).where(connect_sessions.c.id == session_id)
        row = (await work.connection.execute(query)).one()
    return {**row._mapping, "sealed": row.sealed.sealed if row.sealed else None}


async def to_form(person: Person, url: str) -> None:
    """Go on to the form of the one provider."""
    await person.open(url)
    await person.do("accept")


async def to_account(person: Person, url: str, fields: dict[str, str]) -> None:
    """Go on to the account of the one provider."""
    await to_form(person, url)
    await person.do("give", **fields)
    assert person.heading == "Is this the account?", person.text


# The way through


async def test_a_person_chooses_reads_gives_looks_and_says_yes(customer: Customer, person: Person, good: Good) -> None:
    made = await customer.session(origins=[SITE])
    assert (made["status"], made["connection_id"], made["url"]) == (
        "open", None, f"{PUBLIC}/connect-session/{made['token']}",
    )  # fmt: skip
    await person.open(made["url"])
    assert person.heading == "What do you want to connect?"
    assert 'value="sandbox"' in person.text
    await person.do("search", q="invented")
    assert "1 service is like that." in person.text
    assert 'value="acme"' not in person.text
    await person.do("choose", provider="sandbox")
    assert person.heading == "What will be read from Sandbox"
    for told in ("<code>people:read</code>", "accounts", "checks are made", "Nothing in Sandbox is changed"):
        assert told in person.text, told
    await person.do("accept")
    assert person.heading == "Give access to Sandbox"
    assert "prints it as" in person.text  # the provider's own guide
    assert 'pattern="' in person.text
    await person.do("give", **good())
    assert person.heading == "Is this the account?"
    assert "Larkfield" in person.text
    assert await customer.connections() == []
    assert (await customer.stands(made["id"]))["status"] == "under_way"
    await person.do("confirm")
    assert person.heading == "Sandbox is connected"
    (connection,) = await customer.connections()
    told = await customer.stands(made["id"])
    assert (told["status"], told["connection_id"], told["provider"]) == ("connected", connection["id"], "sandbox")
    (data,) = [part.split('"')[0] for part in person.text.split('data-tell="')[1:]]
    assert json.loads(unescape(data)) == {
        "tieline": "connected",
        "connection": connection["id"],
        "provider": "sandbox",
        "account": connection["account_name"],
    }


async def test_every_page_marks_its_step_and_names_its_language(customer: Customer, person: Person, good: Good) -> None:
    made = await customer.session(locale="de", theme="dark")
    await person.open(made["url"])
    for step, fields, current in (
        ("", {}, "Auswählen"),
        ("choose", {"provider": "sandbox"}, "Was gelesen wird"),
        ("accept", {}, "Zugang"),
        ("give", good(), "Konto"),
        ("confirm", {}, "Fertig"),
    ):
        if step:
            await person.do(step, **fields)
        (marked,) = [line for line in person.text.splitlines() if 'aria-current="step"' in line]
        assert marked.strip().endswith(f"{current}</li>")
        assert '<html lang="de" data-theme="dark">' in person.text


async def test_the_browsers_language_counts_where_none_was_asked_for(customer: Customer, person: Person) -> None:
    url = (await customer.session(locale=None, providers=["sandbox"]))["url"]
    for accepted, heading in (
        ("fr, de;q=0.4, en;q=0.2", "Was von Sandbox gelesen wird"),
        ("en-GB, de;q=0.4", "What will be read from Sandbox"),
        ("de;q=0, *", "What will be read from Sandbox"),
        ("xx;q=9, ;;;", "What will be read from Sandbox"),
        ("", "What will be read from Sandbox"),
    ):
        person.headers = {"Accept-Language": accepted}
        await person.open(url)
        assert person.heading == heading, accepted


async def test_an_account_that_is_connected_is_told_and_reconnected(
    customer: Customer, person: Person, good: Good
) -> None:
    for told in (False, True):
        made = await customer.session(providers=["sandbox"])
        await to_account(person, made["url"], good())
        assert ("It is connected already" in person.text) is told
        await person.do("confirm")
        assert (await customer.stands(made["id"]))["status"] == "connected"
    (connection,) = await customer.connections()
    versions = (await customer.client.get(f"/v1/connections/{connection['id']}/credentials")).json()["items"]
    assert sorted(one["version"] for one in versions) == [1, 2]


async def test_a_session_for_a_connection_renews_that_one(customer: Customer, person: Person, good: Good) -> None:
    await to_account(person, (await customer.session(providers=["sandbox"]))["url"], good())
    await person.do("confirm")
    (connection,) = await customer.connections()
    made = await customer.session(connection_id=connection["id"])
    assert (made["providers"], made["reconnects"]) == (["sandbox"], connection["id"])
    await to_form(person, made["url"])
    assert f'value="{connection["options"]["base_url"]}"' in person.text  # as it stands
    await person.do("give", **good())
    await person.do("confirm")
    assert (await customer.stands(made["id"]))["connection_id"] == connection["id"]
    refused = await customer.client.post(
        "/v1/connect-sessions", json={"connection_id": connection["id"], "providers": ["acme"]}
    )
    assert refused.status_code == 422


async def test_options_given_beforehand_stand_in_the_form(customer: Customer, person: Person) -> None:
    made = await customer.session(providers=["sandbox"], options={"base_url": "http://127.0.0.1:9"})
    await to_form(person, made["url"])
    assert 'value="http://127.0.0.1:9"' in person.text


# What goes wrong, and how to go on


async def test_what_the_provider_refuses_is_told_and_can_be_tried_again(
    customer: Customer, person: Person, good: Good, house: World
) -> None:
    made = await customer.session(providers=["sandbox"])
    await to_form(person, made["url"])
    page = await person.do("give", **good(**{"credential.token": WRONG}))
    assert (page.status_code, WRONG in page.text) == (422, False)
    for told in ("The access was not accepted", "Sandbox API key is invalid or expired", "Nothing was saved"):
        assert told in page.text, told
    assert good()["options.base_url"] in page.text
    assert "&#34;tieline&#34;: &#34;failed&#34;" in page.text
    stands = await customer.stands(made["id"])
    assert (stands["status"], stands["reason"]["slug"]) == ("failed", "credential-rejected")
    assert (await row_of(house, customer, made["id"]))["sealed"] is None
    await person.do("give", **good())
    stands = await customer.stands(made["id"])
    assert (stands["status"], stands["reason"]) == ("under_way", None)
    await person.do("confirm")
    assert (await customer.stands(made["id"]))["status"] == "connected"


async def test_a_mistake_is_told_beside_its_field_and_no_secret_comes_back(
    customer: Customer, person: Person, good: Good
) -> None:
    await to_form(person, (await customer.session(providers=["sandbox"]))["url"])
    page = await person.do("give", **good(**{"options.base_url": "", "credential.token": "malformed-7d1e"}))
    assert (page.status_code, "malformed-7d1e" in page.text) == (422, False)
    assert 'id="field-options.base_url-problem"' in page.text
    page = await person.do("give", **good(**{"credential.token": "malformed-7d1e"}))
    assert 'id="field-credential.token-problem"' in page.text
    assert "malformed-7d1e" not in page.text
    assert (await person.do("give", **good())).status_code == 200


async def test_a_session_is_no_place_to_try_many_keys_in(
    house: World, customer: Customer, person: Person, good: Good
) -> None:
    made = await customer.session(providers=["sandbox"])
    await to_form(person, made["url"])
    async with house.parts.db.work(customer.org_id) as work:
        tried = update(connect_sessions).where(connect_sessions.c.id == made["id"]).values(tries=MAX_TRIES - 1)
        await work.connection.execute(tried)
    assert (await person.do("give", **good(**{"credential.token": "malformed"}))).status_code == 422  # is not tried
    assert (await person.do("give", **good(**{"credential.token": WRONG}))).status_code == 422
    assert (await person.do("give", **good())).status_code == 410
    assert ((await customer.stands(made["id"]))["status"], await customer.connections()) == ("cancelled", [])


async def test_who_says_no_gives_another_and_nothing_is_kept(
    house: World, customer: Customer, person: Person, good: Good
) -> None:
    made = await customer.session(providers=["sandbox"])
    await to_account(person, made["url"], good())
    row = await row_of(house, customer, made["id"])
    assert row["key_id"] is not None
    assert SANDBOX_TOKEN.encode() not in row["sealed"]
    await person.do("back")
    assert person.heading == "Give access to Sandbox"
    row = await row_of(house, customer, made["id"])
    assert (row["sealed"], row["key_id"], row["found"]) == (None, None, None)
    await person.do("confirm")  # of nothing
    assert person.heading == "Give access to Sandbox"
    assert await customer.connections() == []
    for heading in ("What will be read from Sandbox", "What will be read from Sandbox"):
        await person.do("back")  # there is no choice before
        assert person.heading == heading


async def test_who_does_not_want_to_ends_it(customer: Customer, person: Person, good: Good, house: World) -> None:
    made = await customer.session(providers=["sandbox"], return_to="/done")
    await to_account(person, made["url"], good())
    last = person.ticket
    await person.do("cancel")
    assert person.heading == "Nothing was connected"
    assert f'href="/done?error=cancelled&amp;session={made["id"]}"' in person.text
    assert ((await customer.stands(made["id"]))["status"], await customer.connections()) == ("cancelled", [])
    assert (await row_of(house, customer, made["id"]))["sealed"] is None
    assert (await person.do("confirm", ticket=last)).status_code == 410


async def test_a_form_that_does_not_fit_the_step_shows_the_step(customer: Customer, person: Person, good: Good) -> None:
    made = await customer.session()
    await person.open(made["url"])
    for step in ("confirm", "give", "leave", "accept", "way", "look", "nonsense", "choose"):
        await person.do(step, **good(by="token"))
        assert person.heading == "What do you want to connect?", step
    assert await customer.connections() == []


async def test_the_way_back_is_a_link_with_the_outcome(customer: Customer, person: Person, good: Good) -> None:
    made = await customer.session(providers=["sandbox"], return_to=f"{HOST_APP}/settings?tab=2")
    await to_account(person, made["url"], good())
    await person.do("confirm")
    (connection,) = await customer.connections()
    told = f"tab=2&amp;connected=1&amp;connection={connection['id']}&amp;session={made['id']}"
    assert f'href="{HOST_APP}/settings?{told}"' in person.text
    person.headers = {"Sec-Fetch-Dest": "iframe"}
    made = await customer.session(providers=["sandbox"], return_to="/x", origins=[SITE])
    await to_account(person, made["url"], good())
    assert 'href="/x' not in (await person.do("confirm")).text


# Tickets


async def test_to_look_changes_nothing_however_often(house: World, customer: Customer, person: Person) -> None:
    made = await customer.session()
    before = await row_of(house, customer, made["id"])
    for _ in range(5):
        assert (await person.open(made["url"])).status_code == 200
        assert person.ticket == made["token"]
    assert await row_of(house, customer, made["id"]) == before


async def test_the_address_is_used_up_by_the_first_who_goes_on(
    house: World, customer: Customer, person: Person
) -> None:
    made = await customer.session(providers=["sandbox"], origins=[SITE])
    await to_form(person, made["url"])
    late = Person(house.client())
    for page in (await late.open(made["url"]), await late.do("accept", ticket=made["token"])):
        assert page.status_code == 409
        assert "This page was used already" in page.text
        assert page.headers["content-security-policy"].endswith(f"frame-ancestors {SITE}")  # readable in the frame
    assert (await person.do("look")).status_code == 200


async def test_of_two_who_send_a_page_one_goes_on(customer: Customer, person: Person) -> None:
    made = await customer.session(providers=["sandbox"])
    await person.open(made["url"])
    form = {"ticket": person.ticket, "do": "accept"}
    answers = await asyncio.gather(*(person.client.post("/connect-session", data=form) for _ in range(12)))
    assert sorted(one.status_code for one in answers) == [200] + [409] * 11


async def test_each_page_can_be_sent_once(customer: Customer, person: Person, good: Good) -> None:
    made = await customer.session(providers=["sandbox"])
    await to_form(person, made["url"])
    used = person.ticket
    await person.do("give", **good())
    replayed = Person(person.client)
    assert (await replayed.do("give", ticket=used, **good())).status_code == 409
    assert (await replayed.open(f"/connect-session/{used}")).status_code == 409
    await person.do("confirm")
    assert len(await customer.connections()) == 1


async def test_a_ticket_opens_no_session_but_its_own(
    house: World, customer: Customer, person: Person, good: Good
) -> None:
    other, second = await customer_of(house), Person(house.client())
    own, foreign = await customer.session(providers=["sandbox"]), await other.session(providers=["sandbox"])
    await to_account(person, own["url"], good())
    await to_form(second, foreign["url"])
    head, tail = person.ticket[:42], second.ticket[42:]
    for swapped in (
        head + tail,
        second.ticket[:42] + person.ticket[42:],
        person.ticket[:-9] + "AAAAAAAA" + person.ticket[-1],
        "x",
        "",
        "é" * 86,
    ):
        tried = Person(house.client())
        answer = await tried.do("confirm", ticket=swapped or "-")
        assert answer.status_code in (404, 409), answer.text
    assert (await other.connections(), await customer.connections()) == ([], [])
    assert (await other.client.get(f"/v1/connect-sessions/{own['id']}")).status_code == 404
    assert (await other.client.delete(f"/v1/connect-sessions/{own['id']}")).status_code == 404
    await person.do("confirm")
    assert len(await customer.connections()) == 1


async def test_what_is_stored_opens_nothing(house: World, customer: Customer, person: Person) -> None:
    made = await customer.session(providers=["sandbox"])
    await to_form(person, made["url"])
    row = repr(await row_of(house, customer, made["id"]))
    assert made["token"] not in row
    assert person.ticket not in row
    listed = (await customer.client.get("/v1/connect-sessions")).text
    assert made["id"] in listed
    assert made["token"] not in listed
    assert person.ticket not in listed


async def test_no_ticket_is_logged(
    customer: Customer, person: Person, caplog: pytest.LogCaptureFixture, good: Good
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await customer.session(providers=["sandbox"])
    tickets = [made["token"]]
    await person.open(made["url"])
    for step in ("accept", "look"):
        await person.do(step)
        tickets.append(person.ticket)
        await person.open(f"/connect-session/{person.ticket}")
    await person.do("give", **good())
    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records if record.name != "httpx2")
    assert "/connect-session/" in logged
    for secret in (*tickets, person.ticket, SANDBOX_TOKEN):
        assert secret not in logged


# Time, and whoever made the session


async def test_a_session_that_nobody_opens_in_time_is_over(house: World, customer: Customer, person: Person) -> None:
    made = await customer.session(providers=["sandbox"], origins=[SITE])
    house.wait(31)
    page = await person.open(made["url"])
    assert page.status_code == 410
    assert "its time is up" in page.text
    assert (await person.do("accept", ticket=made["token"])).status_code == 410
    assert (await customer.stands(made["id"]))["status"] == "expired"
    assert (await customer.client.delete(f"/v1/connect-sessions/{made['id']}")).status_code == 409


async def test_what_waits_too_long_is_destroyed(house: World, customer: Customer, person: Person, good: Good) -> None:
    made = await customer.session(providers=["sandbox"])
    house.wait(29)
    await to_account(person, made["url"], good())  # and there are 30 minutes more
    house.wait(29)
    await person.do("look")
    assert person.heading == "Is this the account?"
    house.wait(2)
    assert (await person.do("confirm")).status_code == 410
    async with house.parts.db.system() as work:
        held = sum((await count_by_key(work)).values())
    assert await prune_sessions(house.parts) >= 1
    assert (await row_of(house, customer, made["id"]))["sealed"] is None
    async with house.parts.db.system() as work:
        assert sum((await count_by_key(work)).values()) < held
    assert await customer.connections() == []
    house.wait(8 * 24 * 60)
    await prune_sessions(house.parts)
    assert (await customer.client.get(f"/v1/connect-sessions/{made['id']}")).status_code == 404


async def test_a_session_that_the_server_cancels_ends_at_once(
    house: World, customer: Customer, person: Person, good: Good
) -> None:
    made = await customer.session(providers=["sandbox"])
    await to_account(person, made["url"], good())
    assert (await customer.client.delete(f"/v1/connect-sessions/{made['id']}")).json()["status"] == "cancelled"
    assert (await row_of(house, customer, made["id"]))["sealed"] is None
    assert (await person.do("confirm")).status_code == 410
    assert await customer.connections() == []


async def test_whoever_made_it_must_still_be_allowed_to(customer: Customer, person: Person, good: Good) -> None:
    made = await customer.session(providers=["sandbox"])
    await to_account(person, made["url"], good())
    ticket = person.ticket
    keys = (await customer.client.get("/v1/api-keys")).json()["items"]
    await customer.client.delete(f"/v1/api-keys/{keys[0]['id']}")
    page = await person.do("confirm", ticket=ticket)
    assert page.status_code == 403
    assert "may not connect accounts any more" in page.text


async def test_everything_is_written_down_in_the_name_of_whoever_made_it(
    customer: Customer, person: Person, good: Good
) -> None:
    made = await customer.session(providers=["sandbox"])
    await to_form(person, made["url"])
    await person.do("give", **good(**{"credential.token": WRONG}))
    await person.do("give", **good())
    await person.do("confirm")
    entries = (await customer.client.get("/v1/audit", params={"limit": 100})).json()["items"]
    mine = [one for one in entries if one["action"].startswith("connect")]
    assert sorted(one["action"] for one in mine) == [
        "connect_session.connected", "connect_session.created", "connect_session.credential_opened",
        "connect_session.failed", "connect_session.opened", "connect_session.verified", "connection.connected",
    ]  # fmt: skip
    assert {one["actor"] for one in mine} == {mine[0]["actor"]}
    assert mine[0]["actor"].startswith("key_")
    events = (await customer.client.get("/v1/events")).json()["items"]
    kinds = [one["type"] for one in events if one["type"].startswith("connect_session")]
    assert sorted(kinds) == ["connect_session.connected", "connect_session.failed"]


# What is offered


async def test_only_what_is_offered_can_be_chosen(house: World, customer: Customer, person: Person) -> None:
    made = await customer.session(providers=["acme", "acme"])
    assert made["providers"] == ["acme"]
    await person.open(made["url"])
    assert person.heading == "What will be read from Acme"
    await person.do("choose", provider="sandbox")
    assert person.heading == "What will be read from Acme"
    made = await customer.session()
    await person.open(made["url"])
    page = await person.do("choose", provider="okta")
    assert page.status_code == 404
    assert person.heading == "What do you want to connect?"  # and there the person goes on
    await person.do("choose", provider="acme")
    assert person.heading == "What will be read from Acme"
    answer = await customer.client.post("/v1/connect-sessions", json={"providers": ["nonsense"]})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "origin",
    [
        "*", "https://*", "https://*.example", "https://app.example/", "https://app.example/x", "https://app.example:443",
        "http://app.example", "HTTPS://app.example", "https://App.example", "https://app.example; script-src *", "null",
        "https://user@app.example", "https://app.example:99999", "https://", "'self'", "http://localhost.evil.example",
        "https://app.example https://evil.example", "https://app.example\nX", "javascript:alert(1)", "data:", "http://127.0.0.1",
    ],
)  # fmt: skip
async def test_what_is_no_exact_origin_is_refused(customer: Customer, origin: str) -> None:
    answer = await customer.client.post("/v1/connect-sessions", json={"origins": [SITE, origin]})
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "origins.1"), answer.text


async def test_exact_origins_are_all_that_may_frame_it(customer: Customer, person: Person) -> None:
    for origins in ([], [SITE], [SITE, "https://b.example:8443", "http://localhost:3000", "http://localhost"]):
        made = await customer.session(origins=origins)
        page = await person.open(made["url"])
        policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
        assert policy["frame-ancestors"] == (" ".join(origins) or "'none'")
        assert policy["default-src"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        assert "x-frame-options" not in page.headers
        assert ("data-origins" in page.text) is bool(origins)


async def test_a_form_that_another_site_sends_is_refused_and_uses_nothing_up(
    customer: Customer, person: Person
) -> None:
    made = await customer.session(providers=["sandbox"], origins=[SITE])
    await person.open(made["url"])
    for headers in (
        {"Origin": SITE}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site", "Origin": PUBLIC},
        {"Sec-Fetch-Site": "same-site"},
    ):  # fmt: skip
        person.headers = headers
        assert (await person.do("accept", ticket=made["token"])).status_code == 403, headers
    for headers in ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, {"Origin": PUBLIC}, {"Origin": "null"}):
        person.headers = headers
        await person.open(
            made["url"] if person.page and person.page.status_code == 403 else f"/connect-session/{person.ticket}"
        )
        assert (await person.do("look")).status_code == 200, headers


async def test_what_is_not_a_form_is_refused(customer: Customer, person: Person) -> None:
    made = await customer.session()
    answer = await person.client.post("/connect-session", json={"ticket": made["token"], "do": "cancel"})
    assert answer.status_code == 415
    assert (await customer.stands(made["id"]))["status"] == "open"


async def test_no_page_has_anything_inline(customer: Customer, person: Person, good: Good) -> None:
    await person.open((await customer.session(origins=[SITE]))["url"])
    steps: list[tuple[str, dict[str, str]]] = [
        ("choose", {"provider": "sandbox"}), ("accept", {}), ("give", {}), ("give", good()), ("confirm", {}),
    ]  # fmt: skip
    for step, fields in steps:
        for wrong in ("<style", "style=", "onclick", "<script>", "javascript:", "http://", "https://"):
            shown = (
                person.text.replace(SITE, "").replace(good()["options.base_url"], "").replace("http://127.0.0.1", "")
            )
            assert wrong not in shown.replace("https?://", "").split("</head>")[1].replace('href="https://', ""), wrong
        await person.do(step, **fields)
    assert person.heading == "Sandbox is connected"


async def test_hostile_names_are_text(house: World, customer: Customer, person: Person) -> None:
    hostile = "<script>alert(1)</script>\"'{{7*7}}"
    made = await customer.session()
    await person.open(made["url"])
    page = await person.do("search", q=hostile)
    assert "<script>alert" not in page.text
    assert "49" not in page.text.split('id="q"')[1][:200]


async def test_the_row_of_a_session_shows_no_secret_when_it_is_printed(house: World, customer: Customer) -> None:
    made = await customer.session()
    async with house.parts.db.work(customer.org_id) as work:
        session = await get_session(work, made["id"])
    assert session.ticket_hash.hex() not in repr(session)
    assert repr(session.ticket_hash) not in repr(session)
