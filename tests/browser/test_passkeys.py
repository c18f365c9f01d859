"""Passkeys in a real browser, with Chromium's own authenticator in the place of a device: a counterpart that nobody here wrote."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from playwright.async_api import CDPSession, Page, expect
from tests.browser.conftest import Visits
from tests.browser.house import House

Axe = Callable[..., Awaitable[list[str]]]


@dataclass(frozen=True)
class Device:
    """A device that holds passkeys, as the DevTools protocol drives it."""

    tools: CDPSession
    id: str

    async def passkeys(self) -> list[dict[str, Any]]:
        """What it holds."""
        told = await self.tools.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        found: list[dict[str, Any]] = told["credentials"]
        return found

    async def recognise(self, *, known: bool) -> None:
        """Whether it knows the face in front of it."""
        await self.tools.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": known})


async def device_of(page: Page) -> Device:
    """A device of its own for a page's browser, which knows the face in front of it."""
    tools = await page.context.new_cdp_session(page)
    await tools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }  # fmt: skip
    made = await tools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return Device(tools, made["authenticatorId"])


async def add(page: Page, name: str) -> None:
    """Add a passkey under a name."""
    await page.goto("/access/passkeys")
    await page.get_by_label("What to call it").fill(name)
    await page.get_by_role("button", name="Add a passkey").click()


async def sign_out(page: Page) -> None:
    await page.context.clear_cookies()
    await page.goto("/sign-in?next=/runs")


async def test_a_member_adds_a_passkey_signs_in_with_it_and_removes_it(visit: Visits, house: House, axe: Axe) -> None:
    page = await visit("member", name="Pia Larkfield", width=320)
    device = await device_of(page)
    await add(page, "Work laptop")
    await expect(page.get_by_text("Work laptop signs you in from now on.")).to_be_visible()
    (held,) = await device.passkeys()
    assert (held["rpId"], held["isResidentCredential"], len(held["userHandle"])) == ("localhost", True, 44)
    assert await axe(page) == []
    await sign_out(page)
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await page.wait_for_url(re.compile(r"\d/runs$"))
    await page.goto("/access/sessions")
    await expect(page.get_by_role("row", name="Pia Larkfield This one")).to_contain_text("Passkey")
    await page.goto("/access/passkeys")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("Work laptop signs nobody in any more")).to_be_visible()
    await sign_out(page)
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_text("The passkey was not accepted")).to_be_visible()


async def test_a_device_that_does_not_know_its_user_signs_nobody_in_and_the_page_says_so(
    visit: Visits, house: House, axe: Axe
) -> None:
    page = await visit("member")
    device = await device_of(page)
    await add(page, "Phone")
    await expect(page.get_by_text("Phone signs you in from now on.")).to_be_visible()
    await sign_out(page)
    await device.recognise(known=False)
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert")).to_have_text(re.compile("No passkey was chosen"))
    assert await axe(page) == []
    await device.recognise(known=True)
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await page.wait_for_url(re.compile(r"\d/runs$"))


async def test_a_device_makes_no_second_passkey_for_the_same_member(visit: Visits) -> None:
    page = await visit("admin")
    device = await device_of(page)
    await add(page, "Phone")
    await expect(page.get_by_text("Phone signs you in from now on.")).to_be_visible()
    await add(page, "Phone again")
    await expect(page.get_by_role("alert")).to_have_text(re.compile("holds a passkey of yours already"))
    assert len(await device.passkeys()) == 1


async def test_a_name_that_cannot_be_kept_is_told_before_the_device_is_asked(visit: Visits) -> None:
    page = await visit("admin")
    device = await device_of(page)
    await add(page, "   ")
    await expect(page.get_by_role("alert")).to_have_text(re.compile("Give the passkey a name"))
    assert await device.passkeys() == []
    visit.watch_of(page).forgive("422 for")


async def test_a_copy_of_a_passkey_is_found_out_by_its_counter(visit: Visits, house: House) -> None:
    page = await visit("member")
    device = await device_of(page)
    await add(page, "Key")
    await expect(page.get_by_text("Key signs you in from now on.")).to_be_visible()
    (copy,) = await device.passkeys()
    await sign_out(page)
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await page.wait_for_url(re.compile(r"\d/runs$"))
    given = {
        name: copy[name]
        for name in ("credentialId", "isResidentCredential", "rpId", "privateKey", "userHandle", "signCount")
    }
    await device.tools.send("WebAuthn.clearCredentials", {"authenticatorId": device.id})
    await device.tools.send("WebAuthn.addCredential", {"authenticatorId": device.id, "credential": given})
    await sign_out(page)
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_text("This passkey may have been copied")).to_be_visible()


async def test_without_script_the_pages_say_what_else_there_is(visit: Visits) -> None:
    stranger = await visit(None, script=False)
    await stranger.goto("/sign-in")
    await expect(stranger.get_by_text("To sign in with a passkey, switch script on")).to_be_visible()
    await expect(stranger.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
    member = await visit("member", script=False)
    await member.goto("/access/passkeys")
    await expect(member.get_by_text("can only be made with script")).to_be_visible()
    await expect(member.get_by_role("button", name="Add a passkey")).to_be_hidden()


async def test_at_another_address_the_page_says_where_passkeys_work(visit: Visits, house: House) -> None:
    page = await visit(None)
    await page.goto(f"{house.url.replace('localhost', '127.0.0.1')}/sign-in")
    await expect(page.get_by_role("alert")).to_have_text(re.compile(f"Passkeys work at {house.url} alone"))
    await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_disabled()
