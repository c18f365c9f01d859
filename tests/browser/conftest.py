"""Tests in a real browser: Debian's chromium (or a Chrome), driven by Playwright; skipped where there is none.

`TIELINE_TEST_BROWSER=required` makes them fail instead of being skipped. A test is an ordinary `async def`; it runs on the one event
loop of the session (this file sees to that), on which the server runs too, so flows can be called beside the browser.

- `house`: a whole Tieline at `house.url` (`http://localhost:PORT`), its database furnished: `house.scene.org_id`, `.other_org_id`, and
  `.ids["finding_id"]` and so on. `house.parts` for flows; `await house.new_organization()`; `await house.invite(org_id, role)` is a
  sign-in link; `async with house.working():` lets a worker carry out what is due; `house.sandbox_url` with `SANDBOX_TOKEN`.
- `visit`: `page = await visit("admin")` is a Playwright `Page` of a new member of the furnished organization, in a context (cookies and
  all) of its own; `await visit(None)` is a stranger's. Further: `org_id=`, `name=`, `width=1440`, `height=900`, `dark=False`, `script=True`
  (JavaScript), and for strangers `url=` (of another server). Addresses may be relative: `await page.goto("/runs")`.
- A watch is kept over every page: when the test is over it fails if any had an error in its console or a script, broke the content
  security policy, did not get a part of itself, or asked for anything but the loopback. `visit.watch_of(page).forgive("part of it")` takes
  back what the test provoked.
- `axe`: `assert await axe(page) == []` at WCAG 2.2 AA, as the page stands now. `faults_of_layout(page)` in `looks.py`: what overflows, is cut
  or is too small a target; `faults_of(page, axe)` there is all that is looked for on a screen.
- `chromium`: the Playwright `Browser` of the session. For the DevTools protocol: `await page.context.new_cdp_session(page)`.

`page.wait_for_function` does not work: it evaluates text, which the policy forbids; `expect` and `page.evaluate` do.

`assert`s on locators: `from playwright.async_api import expect`; it waits up to 30 s and is quick when the thing is there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect
from tests.api.conftest import furnish, sandbox_url  # noqa: F401  a fixture
from tests.browser import axe as axes
from tests.browser.house import House, opened
from tests.browser.visits import ADVICE, Visit, Watch, find_chromium, options_here
from tests.conftest import named
from tests.emulators.npm import MissingCounterpartError

from tieline.access.roles import Role

PATIENCE = 30_000
HERE = Path(__file__).parent
expect.set_options(timeout=PATIENCE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process has the one browser and the one loop."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.xdist_group("browser"))
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The browser, or a skip that says what is missing."""
    path = find_chromium()
    if path is None:
        if os.environ.get("TIELINE_TEST_BROWSER") == "required":
            pytest.fail(ADVICE)
        pytest.skip(ADVICE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=options_here())
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(
    server: str,
    template: str,
    sandbox_url: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[House]:
    """A whole Tieline with a furnished organization, another without anything, and nobody signed in."""
    url = await new_database(server, template)
    async with opened(url, tmp_path_factory.mktemp("house"), sandbox_url) as found:
        found.scene = await furnish(url, found.tieline.ring, sandbox_url)
        yield found


class Visits:
    """Opens pages, and at the end says what they did wrong."""

    def __init__(self, chromium: Browser, house: House) -> None:
        self._chromium, self._house = chromium, house
        self.visits: list[Visit] = []

    async def __call__(
        self,
        role: Role | None,
        *,
        org_id: str | None = None,
        name: str | None = None,
        width: int = 1440,
        height: int = 900,
        dark: bool = False,
        script: bool = True,
        url: str | None = None,
    ) -> Page:
        """A page at nowhere yet, in a context of its own; of a new member with a role, or of a stranger."""
        house = self._house
        context = await self._chromium.new_context(
            base_url=url or house.url,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            java_script_enabled=script,
            service_workers="block",
        )
        context.set_default_timeout(PATIENCE)
        if role:
            cookie = await house.member(org_id or house.scene.org_id, role, name)
            await context.add_cookies([{"name": "tieline_session", "value": cookie, "url": house.url}])
        watch = Watch()
        watch.keep(context)
        page = await context.new_page()
        self.visits.append(Visit(page, watch))
        return page

    def watch_of(self, page: Page) -> Watch:
        """The watch kept over a page and all others of its context."""
        return next(one.watch for one in self.visits if one.page.context == page.context)


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser, house: House) -> AsyncIterator[Visits]:
    """Opens pages: `page = await visit("admin")`; see this file's first lines."""
    visits = Visits(chromium, house)
    yield visits
    for one in visits.visits:
        await one.page.context.close()
    assert [wrong for one in visits.visits for wrong in one.watch.wrong] == []


@pytest.fixture(scope="session")
def axe() -> Callable[..., Awaitable[list[str]]]:
    """`await axe(page)`: what axe finds against WCAG 2.2 AA, one line each, or a skip that says what is missing."""
    try:
        return axes.load()
    except MissingCounterpartError as error:
        pytest.skip(str(error))


async def new_database(server: str, template: str) -> str:
    """The URL of a migrated database for one house."""
    name = f"house_{uuid4().hex[:12]}"
    connection: Any = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    finally:
        await connection.close()
    return named(server, name)
