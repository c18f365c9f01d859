"""Before a sign-in: the person is asked, only their own answer counts, and whoever began it must still be allowed to."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from sqlalchemy import update
from tests.consent import address_in, agree, form_in
from tests.oauth.conftest import Browser, Tenant, World, query_of

from tieline.access.actor import acting_as
from tieline.access.api_keys import create_key
from tieline.flows.authorize import Wish, begin
from tieline.ids import new_id
from tieline.store.api_keys import api_keys, list_api_keys, revoke_api_key
from tieline.store.attempts import get_attempt
from tieline.store.listing import Paging
from tieline.store.members import Member, add_member, change_member
from tieline.store.organizations import organizations


async def revoke_keys(world: World, tenant: Tenant) -> None:
    """Make the organization's keys useless."""
    async with world.parts.db.work(tenant.org_id) as work:
        for key in (await list_api_keys(work, Paging())).items:
            await revoke_api_key(work, key.id, now=world.clock.now())


async def row_of(world: World, tenant: Tenant, attempt_id: str) -> dict[str, Any]:
    """An attempt as it is stored."""
    async with world.parts.db.work(tenant.org_id) as work:
        attempt = await get_attempt(work, attempt_id)
    return vars(attempt) | {"sealed": attempt.sealed.sealed}


async def test_a_person_is_told_who_wants_to_read_what(world: World, tenant: Tenant, browser: Browser) -> None:
    async with world.parts.db.system() as work:
        named = update(organizations).where(organizations.c.id == tenant.org_id).values(name="<b>Acme & Co</b>")
        await work.connection.execute(named)
    page = await browser.client.get((await tenant.start())["url"])
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for told in (
        "Connect your Acme account?", "“&lt;b&gt;Acme &amp; Co&lt;/b&gt;”", "the API key “k”", "<li>People</li>",
        "openid, read", "Continue to Acme", "This was not me",
    ):  # fmt: skip
        assert told in page.text, told
    assert "<b>" not in page.text
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy


async def test_to_look_at_the_address_changes_nothing(world: World, tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start()
    before = await row_of(world, tenant, begun["id"])
    for _ in range(12):
        looked = await world.browser().client.get(begun["url"])
        assert "location" not in looked.headers
        assert browser.oidc.issuer not in looked.text
    assert await row_of(world, tenant, begun["id"]) == before
    assert (await browser.come_back(await browser.walk(begun["url"]))).status_code == 200


async def test_the_way_on_is_a_page_that_no_policy_of_forms_holds_up(tenant: Tenant, browser: Browser) -> None:
    sent = await browser.open((await tenant.start())["url"])
    assert sent.status_code == 200
    assert address_in(sent.text).startswith(browser.oidc.issuer)
    assert "form-action 'none'" in sent.headers["content-security-policy"]


async def test_a_form_that_another_site_sends_binds_no_browser(world: World, tenant: Tenant, browser: Browser) -> None:
    """Whoever began the sign-in can read the page in their own browser, but not make another's answer it."""
    begun, attacker = await tenant.start(), world.browser().client
    read = form_in((await attacker.get(begun["url"])).text) | {"answer": "continue"}
    other = form_in((await attacker.get((await tenant.start())["url"])).text) | {"answer": "continue"}

    async def send(client: httpx2.AsyncClient, form: dict[str, str]) -> None:
        answer = await client.post(begun["url"], data=form)
        assert (answer.status_code, "set-cookie" in answer.headers) == (400, False), answer.text
        assert browser.oidc.issuer not in answer.text

    victim = browser.client
    await send(victim, read)  # that never saw the page
    await victim.get(begun["url"])
    for form in (read, read | {"answer": "decline"}, {"answer": "continue"}, {"consent": "é"}, {}):
        await send(victim, form)
    await send(attacker, other)  # of another sign-in
    assert (await tenant.attempt(begun["id"]))["status"] == "pending"
    assert (await browser.come_back(await browser.walk(begun["url"]))).status_code == 200


async def test_who_declines_ends_it(world: World, tenant: Tenant, browser: Browser) -> None:
    begun = await tenant.start()
    first = await browser.walk(begun["url"])
    page = await agree(browser.client, begun["url"], "decline")
    assert (page.status_code, "Nothing was connected" in page.text) == (200, True)
    attempt = await tenant.attempt(begun["id"])
    assert (attempt["status"], attempt["reason"]["slug"]) == ("failed", "sign-in-declined")
    assert (await browser.come_back(first)).status_code == 400
    assert (await browser.open(begun["url"])).status_code == 400
    assert browser.oidc.requests() == []


async def test_a_new_credential_is_told_with_the_connection_that_it_is_for(tenant: Tenant, browser: Browser) -> None:
    await browser.come_back(await browser.walk((await tenant.start(name="Ours"))["url"]))
    (connection,) = await tenant.connections()
    page = await browser.client.get((await tenant.start(connection_id=connection["id"]))["url"])
    assert "It renews the connection “Ours”" in page.text


async def test_a_key_that_was_revoked_opens_and_finishes_nothing(
    world: World, tenant: Tenant, browser: Browser
) -> None:
    begun, late = await tenant.start(return_to="/x"), await tenant.start()
    query = await browser.walk(begun["url"])
    await revoke_keys(world, tenant)
    assert query_of(await browser.come_back(query)) == "error=not-allowed"
    assert browser.oidc.requests() == []
    for answer in (await browser.client.get(late["url"]), await browser.open(late["url"])):
        assert (answer.status_code, "may not do so any more" in answer.text) == (403, True)
    attempt = await row_of(world, tenant, begun["id"])
    assert (attempt["status"], attempt["error_slug"], attempt["connected_id"]) == ("failed", "not-allowed", None)


@pytest.mark.parametrize("change", [{"role": "member"}, {"expires_at": "soon"}])
async def test_a_key_of_too_low_a_role_or_that_has_expired_finishes_nothing(
    world: World, tenant: Tenant, browser: Browser, change: dict[str, Any]
) -> None:
    query = await browser.walk((await tenant.start(return_to="/x"))["url"])
    values = {"expires_at": world.clock.now()} if "expires_at" in change else change
    async with world.parts.db.work(tenant.org_id) as work:
        await work.connection.execute(update(api_keys).where(api_keys.c.org_id == tenant.org_id).values(**values))
    assert query_of(await browser.come_back(query)) == "error=not-allowed"


async def test_a_member_who_was_removed_finishes_nothing(world: World, tenant: Tenant, browser: Browser) -> None:
    now = world.clock.now()
    anna = Member(new_id("mem"), tenant.org_id, "anna@example.com", "Anna", "admin", "active", now)
    async with world.parts.db.work(tenant.org_id) as work:
        await add_member(work, anna)
    with acting_as(anna.id):
        begun, other = [await begin(world.parts, tenant.org_id, Wish("acme", return_to="/x")) for _ in range(2)]
    assert "Anna (anna@example.com)" in (await browser.client.get(begun.url)).text
    assert "connected=1" in query_of(await browser.come_back(await browser.walk(begun.url)))
    query = await browser.walk(other.url)
    async with world.parts.db.work(tenant.org_id) as work:
        await change_member(work, anna.id, status="removed")
    assert query_of(await browser.come_back(query)) == "error=not-allowed"


async def test_a_sign_in_of_the_command_line_needs_no_key(world: World, tenant: Tenant, browser: Browser) -> None:
    with acting_as("cli:root"):
        begun = await begin(world.parts, tenant.org_id, Wish("acme"))
    assert "root, at Tieline" in (await browser.client.get(begun.url)).text
    await revoke_keys(world, tenant)
    assert (await browser.come_back(await browser.walk(begun.url))).status_code == 200


async def test_another_organizations_key_is_not_the_one_that_counts(world: World, tenant: Tenant) -> None:
    """The row is looked for among the organization's own."""
    other = await world.tenant()
    async with world.parts.db.work(other.org_id) as work:
        key = await create_key(work, world.ring.api_key_pepper, name="x", role="admin", now=world.clock.now())
    with acting_as(key.row.id):
        begun = await begin(world.parts, tenant.org_id, Wish("acme"))
    assert (await world.browser().open(begun.url)).status_code == 404


async def test_a_failure_at_the_provider_speaks_of_no_run(tenant: Tenant, browser: Browser) -> None:
    query = await browser.walk((await tenant.start())["url"])
    browser.oidc.fail({"path": "/token", "times": 1, "status": 200, "body": "neither fish nor fowl"})
    page = await browser.come_back(query)
    assert page.status_code == 502
    assert "report it" in page.text
    assert "run" not in page.text.split("<h1>")[1]
