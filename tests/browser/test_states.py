"""The states of screens that no address alone leads to: refused, wrong, gone, not found, shown once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from playwright.async_api import Page, expect
from tests.browser.conftest import Visits
from tests.browser.house import House
from tests.browser.looks import faults_of

from tieline.access.roles import Role
from tieline.flows.sign_in import make_first_link

Axe = Callable[..., Awaitable[list[str]]]

WAYS = ("github", "aws", "gcp", "okta", "entra", "jira-dc")
"""Providers whose forms differ most: an app that is missing, a role's trust, a key file, a sign-in, trust without a key, a server."""


STRANGE = {"/sign-in": 200, "/sign-in/link/nothing": 410, "/sign-in/sso": 404, "/nowhere": 404}
"""What a stranger may meet."""
TOLD: dict[tuple[Role, str], int] = {
    ("auditor", "/operator"): 403,
    ("auditor", "/connections/{connection_id}"): 200,
    ("auditor", "/connections/conn_01k0c4m2w8eyv9x3f5t7h1n6qp"): 404,
    ("member", "/findings/{finding_id}"): 200,
    ("admin", "/findings?status=nonsense"): 422,
    ("admin", "/findings?check=nothing"): 200,
}
"""What a role may not see or do, and what nobody can."""


async def test_what_a_stranger_meets_has_no_fault(visit: Visits, axe: Axe) -> None:
    page = await visit(None)
    for path, status in STRANGE.items():
        assert await open_at(page, path) == status
        assert (path, await faults_of(page, axe)) == (path, "")


async def test_the_first_link_has_no_fault_nor_has_its_form_with_a_problem(
    visit: Visits, house: House, axe: Axe
) -> None:
    link = await make_first_link(house.parts, await house.new_organization())
    assert link
    page = await visit(None)
    await page.goto(link.url(house.url))
    assert await faults_of(page, axe) == ""
    await send(page, "Sign in", email="nobody")
    await expect(page.get_by_label("E-mail")).to_have_attribute("aria-invalid", "true")
    assert await faults_of(page, axe) == ""


async def test_an_invitation_has_no_fault(visit: Visits, house: House, axe: Axe) -> None:
    page = await visit(None)
    await page.goto(await house.invite(house.scene.org_id, "member"))
    assert await faults_of(page, axe) == ""


async def test_what_a_role_may_not_see_or_nobody_can_has_no_fault(visit: Visits, house: House, axe: Axe) -> None:
    for (role, path), status in TOLD.items():
        page = await visit(role)
        assert await open_at(page, path.format(**house.scene.ids)) == status
        assert (path, await faults_of(page, axe)) == (path, "")


async def test_the_form_of_a_provider_has_no_fault(visit: Visits, axe: Axe) -> None:
    page = await visit("admin")
    for slug in WAYS:
        assert await open_at(page, f"/connect/{slug}") == 200
        assert (slug, await faults_of(page, axe)) == (slug, "")


async def test_forms_with_problems_have_no_fault(visit: Visits, house: House, axe: Axe) -> None:
    page = await visit("admin")
    await page.goto("/connect/sandbox")
    await send(page, "Try it and connect", base_url="nowhere", token="")
    await expect(page.get_by_role("alert")).to_contain_text("Something in the form is not right")
    assert await faults_of(page, axe) == ""
    await send(page, "Try it and connect", base_url=house.sandbox_url, token="lks_wrong")
    await expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    assert await faults_of(page, axe) == ""
    await page.goto(f"/findings/{house.scene.ids['finding_id']}")
    await send(page, "Mute the finding", reason="")
    await expect(page.get_by_role("textbox", name="Why", exact=True)).to_have_attribute("aria-invalid", "true")
    assert await faults_of(page, axe) == ""


async def test_what_is_shown_once_has_no_fault(visit: Visits, axe: Axe) -> None:
    page = await visit("admin")
    await page.goto("/access/api-keys")
    await send(page, "Make a key", name="For the test")
    await expect(page.locator("output.secret")).to_be_visible()
    assert await faults_of(page, axe) == ""


async def open_at(page: Page, path: str) -> int:
    """Open a page; its status."""
    await page.set_viewport_size({"width": 1440, "height": 900})
    answer = await page.goto(path)
    assert answer
    return answer.status


async def send(page: Page, button: str, **fields: str) -> None:
    """Fill fields of a form and send it, as a browser that asks nothing of fields itself."""
    pressed = page.get_by_role("button", name=button, exact=True)
    form = page.locator("form").filter(has=pressed)
    for name, value in fields.items():
        await form.locator(f"[name$='{name}']").fill(value)
    await form.evaluate("form => { form.noValidate = true }")
    async with page.expect_navigation():
        await pressed.click()
