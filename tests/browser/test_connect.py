"""The embeddable Connect in a real browser: three lines in another site's page, under that site's own strict policy."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import FrameLocator, Page, Route, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route as Path_
from tests.api.conftest import parts_of
from tests.api.shapes import SANDBOX_TOKEN
from tests.browser.conftest import Visits, new_database
from tests.browser.house import HOST, House
from tests.browser.looks import faults_of
from tests.emulators.oidc import Oidc
from tests.oauth.conftest import acme

from tieline.access.actor import acting_as
from tieline.api.app import create_api
from tieline.catalog import compile_catalog
from tieline.cli.server import quiet_server
from tieline.connect.app import add_connect
from tieline.flows.connect_sessions import Made, Offer, create_session
from tieline.flows.organizations import create_organization
from tieline.flows.parts import Parts
from tieline.store.connect_sessions import get_session
from tieline.store.connections import list_connections
from tieline.store.db import Db
from tieline.store.listing import Paging
from tieline.vault import LocalKeyRing
from tieline.web.app import add_console

Axe = Callable[..., Awaitable[list[str]]]

_SCRIPT = """
window.heard = [];
const element = document.querySelector("tieline-connect");
for (const kind of ["connected", "failed", "closed"]) {
  element.addEventListener(kind, (event) => heard.push([kind, event.detail]));
}
window.messages = [];
addEventListener("message", (event) => messages.push([event.origin, event.data]));
"""


@dataclass
class Site:
    """A customer's product on a port of its own: one page with the element in it."""

    port: int
    tieline: str
    token: str = ""
    content: str = ""
    policy: str = ""

    @property
    def origin(self) -> str:
        """What its sessions must name."""
        return f"http://{HOST}:{self.port}"

    async def show(self, _request: Request) -> Response:
        """The page."""
        policy = f"default-src 'none'; script-src 'self' {self.tieline}; frame-src {self.tieline}; style-src 'self'"
        return HTMLResponse(
            f'<!doctype html><html lang="en"><head><title>A product</title><meta charset="utf-8"></head><body><main><h1>A product</h1>'
            f'<script type="module" src="{self.tieline}/connect.js"></script>'
            f'<tieline-connect session="{escape(self.token)}">{self.content}</tieline-connect>'
            f'</main><script src="/site.js"></script></body></html>',
            headers={"Content-Security-Policy": policy},
        )

    async def script(self, _request: Request) -> Response:
        """Its script."""
        return Response(_SCRIPT, media_type="text/javascript")


@asynccontextmanager
async def listening(build: Callable[[int], Any]) -> AsyncIterator[None]:
    """Serve an application, built for its port, on the loopback while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = quiet_server(build(listener.getsockname()[1]))
        server.config.timeout_graceful_shutdown = 1
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        yield
        server.should_exit = True
        await task


@asynccontextmanager
async def site_for(tieline: str) -> AsyncIterator[Site]:
    """A customer's product that embeds this Tieline."""
    site = Site(0, tieline)

    def build(port: int) -> Starlette:
        site.port = port
        return Starlette(routes=[Path_("/", site.show), Path_("/site.js", site.script)])

    async with listening(build):
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def site(house: House) -> AsyncIterator[Site]:
    """A customer's product that embeds the house."""
    async with site_for(house.url) as found:
        yield found


@dataclass
class Embedded:
    """The page of the site, and the frame in its dialog."""

    page: Page
    frame: FrameLocator = field(repr=False)

    async def press(self, name: str) -> None:
        """Press a button in the frame."""
        await self.frame.get_by_role("button", name=name, exact=True).click()

    async def at(self, heading: str) -> None:
        """Wait for a heading in the frame."""
        await expect(self.frame.get_by_role("heading", level=1, name=heading)).to_be_focused()

    async def heard(self) -> list[Any]:
        """The element's events."""
        found: list[Any] = await self.page.evaluate("heard")
        return found


async def made_for(parts: Parts, org_id: str, **offer: Any) -> Made:
    """A session."""
    with acting_as("cli:test"):
        return await create_session(parts, org_id, Offer(locale="en", **offer))


async def until(page: Page, holds: str) -> None:
    """Wait until an expression holds on the page, for at most ten seconds."""
    async with asyncio.timeout(10):
        while not await page.evaluate(holds):
            await asyncio.sleep(0.05)


async def embed(page: Page, site: Site) -> Embedded:
    """Open the site's page."""
    await page.goto(f"{site.origin}/")
    await until(page, "Boolean(customElements.get('tieline-connect'))")
    return Embedded(page, page.frame_locator("iframe"))


async def test_a_key_is_connected_in_the_dialog_and_the_site_hears_of_it(
    visit: Visits, house: House, site: Site
) -> None:
    org_id = await house.new_organization()
    made = await made_for(house.parts, org_id, providers=["sandbox", "okta"], origins=[site.origin])
    site.token = made.token
    there = await embed(await visit(None, url=site.origin), site)
    await there.page.get_by_role("button", name="Connect an account").click()
    await there.at("What do you want to connect?")
    await there.frame.get_by_label("Search").fill("okta")
    await expect(there.frame.get_by_role("button", name="Sandbox")).to_be_hidden()
    await there.frame.get_by_label("Search").fill("invented")
    await there.frame.get_by_role("button", name="Sandbox").click()
    await there.at("What will be read from Sandbox")
    await there.press("Go on")
    await there.at("Give access to Sandbox")
    await there.frame.get_by_label("Address").fill(house.sandbox_url)
    await there.frame.get_by_role("textbox", name="Token").fill("lks_wrong")
    await there.press("Try it")
    await expect(there.frame.get_by_role("alert")).to_be_focused()
    await there.frame.get_by_role("textbox", name="Token").fill(SANDBOX_TOKEN)
    await there.press("Try it")
    await there.at("Is this the account?")
    await there.press("Yes, connect it")
    await there.at("Sandbox is connected")
    async with house.parts.db.work(org_id) as work:
        (connection,) = (await list_connections(work, Paging())).items
    told = {"connection": connection.id, "provider": "sandbox", "account": connection.account_name}
    assert await there.heard() == [["failed", {"reason": "credential-rejected"}], ["connected", told]]
    assert {origin for origin, _ in await there.page.evaluate("messages")} == {house.url}
    assert SANDBOX_TOKEN not in json.dumps(await there.page.evaluate("messages"))
    await there.press("Close")
    await expect(there.page.locator("dialog")).to_be_hidden()
    await until(there.page, "heard.at(-1)[0] === 'closed'")


async def test_escape_closes_it_from_within_and_the_focus_returns(visit: Visits, house: House, site: Site) -> None:
    made = await made_for(house.parts, await house.new_organization(), origins=[site.origin])
    site.token, site.content = made.token, "<button>Add an account</button>"
    there = await embed(await visit(None, url=site.origin), site)
    own = there.page.get_by_role("button", name="Add an account")
    for _ in range(2):
        await own.press("Enter")
        await there.at("What do you want to connect?")
        await there.page.keyboard.press("Escape")
        await expect(there.page.locator("dialog")).to_be_hidden()
        await expect(own).to_be_focused()
        await there.page.evaluate("document.querySelector('tieline-connect').open()")
        await expect(there.page.locator("dialog")).to_be_visible()
        await there.page.keyboard.press("Escape")
        await expect(there.page.locator("dialog")).to_be_hidden()


async def test_no_other_origin_can_frame_it(visit: Visits, house: House, site: Site) -> None:
    made = await made_for(house.parts, await house.new_organization(), origins=["https://app.example"])
    site.token = made.token
    page = await visit(None, url=site.origin)
    there = await embed(page, site)
    async with page.expect_event("console", lambda one: "frame-ancestors" in one.text):
        await page.get_by_role("button", name="Connect an account").click()
    await expect(there.frame.get_by_role("heading")).to_have_count(0)
    visit.watch_of(page).forgive("frame-ancestors")
    async with house.parts.db.work(made.session.org_id) as work:
        assert (await get_session(work, made.session.id)).status == "open"


async def test_what_another_window_says_is_not_believed(visit: Visits, house: House, site: Site) -> None:
    made = await made_for(house.parts, await house.new_organization(), origins=[site.origin])
    site.token = made.token
    there = await embed(await visit(None, url=site.origin), site)
    await there.page.get_by_role("button", name="Connect an account").click()
    await there.at("What do you want to connect?")
    await there.page.evaluate("postMessage({tieline: 'connected', connection: 'conn_forged'}, location.origin)")
    await until(there.page, "messages.length > 0")
    assert await there.heard() == []


async def test_the_plain_link_works_without_script_and_every_page_has_no_fault(
    visit: Visits, house: House, axe: Axe
) -> None:
    made = await made_for(house.parts, await house.new_organization(), providers=["sandbox", "okta"], theme="auto")
    page = await visit(None, script=False)
    looked = await visit(None)
    await page.goto(made.url)
    for heading, button in (
        ("What do you want to connect?", "Sandbox"),
        ("What will be read from Sandbox", "Go on"),
        ("Give access to Sandbox", "Try it"),
        ("Is this the account?", "Yes, connect it"),
        ("Sandbox is connected", ""),
    ):
        await expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        await looked.route("**/looked-at", partial(as_page, text=await page.content()))
        await looked.goto("/looked-at")
        assert await faults_of(looked, axe) == "", heading
        await looked.unroute_all()
        if button == "Try it":
            await page.get_by_label("Address").fill(house.sandbox_url)
            await page.get_by_role("textbox", name="Token").fill(SANDBOX_TOKEN)
        if button:
            await page.get_by_role("button", name=button).first.click()


async def as_page(route: Route, *, text: str) -> None:
    """The same page in a browser with script, for axe is one."""
    await route.fulfill(body=text.replace("<noscript>", "").replace("</noscript>", ""), content_type="text/html")


@dataclass
class Elsewhere:
    """A Tieline with an OAuth app at the OpenID server."""

    url: str
    parts: Parts
    oidc: Oidc


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere(
    server: str, template: str, ring: LocalKeyRing, oidc: Oidc, tmp_path: Path
) -> AsyncIterator[Elsewhere]:
    """Such a Tieline."""
    db = Db(await new_database(server, template), pool_size=5)
    found: list[Elsewhere] = []

    def build(port: int) -> Any:
        url = f"http://{HOST}:{port}"
        provider = acme("acme", *acme("acme").modes[1:])
        oidc.allow_redirects(f"{url}/v1/oauth/callback/acme")
        base = parts_of(db, ring)
        parts = Parts(
            db,
            compile_catalog([provider], []),
            base.vault,
            base.clock,
            base.policy,
            ring,
            apps={"acme": oidc.apps["basic"]},
            hosts={"acme": {"web": oidc.issuer}},
            public_url=url,
        )
        app = create_api(parts, ring)
        add_console(app)
        add_connect(app)
        found.append(Elsewhere(url, parts, oidc))
        return app

    async with listening(build):
        yield found[0]
    await db.close()
    oidc.reset()


@pytest.mark.parametrize("script", [True, False])
async def test_a_sign_in_in_another_window_reaches_the_frame_though_that_window_is_closed(
    visit: Visits, elsewhere: Elsewhere, axe: Axe, script: bool
) -> None:
    org = await create_organization(elsewhere.parts, slug="signs-in", name="Signs in")
    async with site_for(elsewhere.url) as site:
        made = await made_for(elsewhere.parts, org.id, origins=[site.origin] if script else [])
        site.token = made.token
        page = await visit(None, url=site.origin, script=script)
        await page.context.route(f"{elsewhere.oidc.issuer}/**", lambda route: sign_in(route, elsewhere))
        if script:
            there = await embed(page, site)
            await page.get_by_role("button", name="Connect an account").click()
            await there.press("Go on")
            await there.press("Go on to Acme")
            await there.at("Sign in at Acme")
            async with page.context.expect_page() as opening:
                await there.frame.get_by_role("link", name="Sign in at Acme").click()
            window = await opening.value
            assert await faults_of(window, axe) == ""
            await window.get_by_role("button", name="Continue to Acme").click()
            await window.get_by_role("link", name="Done").click()
            await expect(window.get_by_text("You can close this window")).to_be_visible()
            await window.close()
            await there.at("Is this the account?")
            await there.press("Yes, connect it")
            await there.at("Acme is connected")
            assert [kind for kind, _ in await there.heard()] == ["connected"]
            return
        await page.goto(made.url)
        for button in ("Go on", "Go on to Acme"):
            await page.get_by_role("button", name=button, exact=True).click()
        await page.get_by_role("link", name="Sign in at Acme").click()
        await page.get_by_role("button", name="Continue to Acme").click()
        await page.get_by_role("link", name="Done").click()
        await page.get_by_role("button", name="Yes, connect it").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Acme is connected")


async def sign_in(route: Route, elsewhere: Elsewhere) -> None:
    """The person signs in at the OpenID server; what it shows at the end is a link back."""
    query = await asyncio.to_thread(elsewhere.oidc.walk, route.request.url)
    address = f"{elsewhere.url}/v1/oauth/callback/acme?" + "&".join(f"{name}={value}" for name, value in query.items())
    await route.fulfill(body=f'<title>Acme</title><a href="{escape(address)}">Done</a>', content_type="text/html")
