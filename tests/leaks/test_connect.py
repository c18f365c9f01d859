"""Connect sessions: what is entered on the hosted pages waits for a yes, and neither it nor what opens the session surfaces anywhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from tests.leaks.careless import MODES, Careless
from tests.leaks.house import House, living, provider
from tests.leaks.test_given import AUTHS
from tests.leaks.watching import Watch

from tieline.connect.app import add_connect
from tieline.vault import LocalKeyRing

_TICKET = re.compile(r'name="ticket" value="([\w-]{86})"')


@pytest.fixture
async def house(fresh_database_url: str, ring: LocalKeyRing, watch: Watch, careless: Careless) -> AsyncIterator[House]:
    providers = [provider(slug, auth) for slug, (auth, _) in AUTHS.items()]
    async with living(fresh_database_url, ring, watch, careless, providers=providers) as made:
        add_connect(made.app)
        yield made


@dataclass
class Person:
    """Somebody at the pages; what each must show, its own ticket, is shown to the watch without that."""

    house: House
    browser: httpx2.AsyncClient
    ticket: str = ""
    text: str = ""

    async def begin(self, slug: str, **offer: Any) -> str:
        """Make a session and open it; its id."""
        body = {"providers": [slug], "origins": ["https://app.example"], "locale": "en"} | offer
        made = (await self.house.client.post("/v1/connect-sessions", json=body)).json()
        self.house.watch.add("connect ticket", made["token"])
        await self.see("GET", f"/connect-session/{made['token']}")
        await self.do("accept")
        return str(made["id"])

    async def do(self, step: str, **fields: str) -> int:
        """Send a form of the page."""
        return await self.see("POST", "/connect-session", data={"ticket": self.ticket, "do": step, **fields})

    async def see(self, method: str, path: str, **how: Any) -> int:
        """Ask for a page, and note all of it but its own ticket."""
        answer = await self.browser.request(method, path, **how)
        shown = answer.text
        if found := _TICKET.search(answer.text):
            self.ticket = found[1]
            self.house.watch.add("connect ticket", self.ticket)
            shown = shown.replace(self.ticket, "")
        self.house.watch.note(f"{method} a page → {answer.status_code}", f"{answer.headers!r} {shown}")
        self.text = answer.text
        return answer.status_code


async def test_nothing_that_is_entered_or_opens_a_session_comes_out(
    house: House, watch: Watch, careless: Careless
) -> None:
    """Each way, each kind of answer; left waiting, confirmed, given up, cancelled, and sent again."""

    def filled(slug: str, account: str) -> dict[str, str]:
        credential = watch.let_loose(AUTHS[slug][1]())
        return {"options.base_url": f"{careless.url}/{account}"} | {
            f"credential.{name}": value for name, value in credential.items()
        }

    async with house.browser() as browser:
        person = Person(house, browser)
        for number, mode in enumerate(one for one in MODES if one not in {"good", "hang up"}):
            careless.modes[f"no-{number}"] = mode
            await person.begin("bearer")
            assert await person.do("give", **filled("bearer", f"no-{number}")) >= 400, mode
        endings = [("bearer", ending) for ending in ("back", "cancel", "look", "withdrawn")]
        for slug, ending in [*endings, *((slug, "confirm") for slug in AUTHS)]:
            session_id = await person.begin(slug)
            assert await person.do("give", **filled(slug, f"{slug}-{ending}")) == 200, person.text
            used = person.ticket
            if ending == "withdrawn":
                await house.ask("DELETE", f"/v1/connect-sessions/{session_id}")
            await person.do(ending)
            person.ticket = used
            await person.do("give", **filled(slug, "again"))
        await person.begin("bearer")
        token = filled("bearer", "misplaced")["credential.token"]
        for fields in (
            {"credential.token": token * 9}, {"credential.token": token[4:]}, {"provider": token, "do": "choose"},
            {"by": token, "do": "way"}, {"do": token},
        ):  # fmt: skip
            before = person.ticket
            await person.do("give", **{"options.base_url": "x", **fields})
            assert person.ticket != before
        await person.see("GET", f"/connect-session/{token}")
    assert await house.count("SELECT count(*) FROM connect_sessions WHERE sealed IS NOT NULL") == 1
    assert await house.count("SELECT count(*) FROM connections") == len(AUTHS)
    await house.look_everywhere()
    assert watch.kinds >= {"token", "api_key", "password", "connect ticket"}
