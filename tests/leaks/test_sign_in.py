"""Nothing of a sign-in comes out: its ticket, state, cookie, code and verifier, the tokens that come of it, and the app's own secrets.

The good ways go to a certified OpenID server, through somebody careless; the bad ones end with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest
from pydantic import SecretStr
from tests.canaries import Canary, hatch, sightings
from tests.consent import address_in, agree
from tests.emulators.oidc import TENANT, Oidc
from tests.flows.bench import MovableClock
from tests.leaks.careless import TOKEN_MODES, Careless
from tests.leaks.house import PUBLIC, House, living, provider
from tests.leaks.watching import Watch, new_pem

from tieline.flows.carried import open_carried
from tieline.flows.upkeep import upkeep
from tieline.sdk import Context, Identified, Identity, OAuthApp, Options
from tieline.sdk.auth import AdminConsent, AppInstall, OAuth2
from tieline.store.attempts import get_attempt
from tieline.vault import LocalKeyRing

KINDS = {
    "OAuth client secret", "OAuth app private key", "signed ticket", "state", "cookie of an attempt", "PKCE verifier", "nonce",
    "authorization code", "access token", "refresh token", "rotated refresh token", "id token", "installation token", "JWT that signs",
}  # fmt: skip

GRANT = OAuth2(
    authorize_url="{web}/auth", token_url="{api}/{place}/token", revoke_url="{api}/{place}/revoke", scopes=("openid", "offline_access", "read"),
    authorize_params={"prompt": "consent"},
)  # fmt: skip
CONSENT = AdminConsent(
    consent_url="{web}/auth", sign_in_url="{web}/auth", token_url="{api}/{place}/token", issuer="{web}", keys_url="{api}/{place}/jwks",
    scopes=("read",),
)  # fmt: skip
INSTALL = AppInstall(
    install_url="{api}/{place}/install", authorize_url="{api}/{place}/auth", token_url="{api}/{place}/token",
    installations_url="{api}/{place}/user/installations", membership_url="{api}/{place}/user/memberships/orgs/{account}",
    mint_url="{api}/{place}/app/installations/{installation_id}/access_tokens",
)  # fmt: skip
MINT = "app/installations/123/access_tokens"


class Within(Options):
    """Where the account is at the hosts, to which alone the organization's app is shown."""

    place: str


async def blurt(ctx: Context[Any]) -> Identified:
    """A provider's own code that fails and says with what."""
    token = (await ctx.fresh()).access_token.get_secret_value()
    raise RuntimeError(f"cannot use {token}: {ctx.credential!r}", {"token": token})


@pytest.fixture
async def house(
    fresh_database_url: str, ring: LocalKeyRing, watch: Watch, careless: Careless, oidc: Oidc
) -> AsyncIterator[House]:
    web: dict[str, Any] = {
        "hosts": {"web": "https://web.example", "api": "https://api.example"}, "base_url": "{api}/{place}", "options": Within,
    }  # fmt: skip
    providers = [
        provider("certified", GRANT, identity=Identity("/me", id="sub", name="sub"), **web),
        provider("tenant", CONSENT, identity=Identity("/who", id="id", name="name"), **web),
        provider("install", INSTALL, **web),
        provider("blurting", GRANT, identity=blurt, **web),
    ]
    oidc.allow_redirects(*(f"{PUBLIC}/v1/oauth/callback/{one.slug}" for one in providers))
    careless.behind = oidc.issuer
    pem, secret = new_pem(), hatch("OAuth client secret", after='/+ "&<%')
    watch.canaries.append(secret)
    watch.add_key("OAuth app private key", pem)
    github = OAuthApp(
        client_id="Iv1.0123",
        client_secret=SecretStr(secret.text),
        private_key=SecretStr(pem),
        app_id="1",
        slug="tieline",
    )
    for one in (oidc.apps["basic"], oidc.apps["body"]):
        watch.add("OAuth client secret", *one.secrets())
    apps = {
        "certified": oidc.apps["basic"],
        "tenant": oidc.apps["body"],
        "install": github,
        "blurting": oidc.apps["basic"],
    }
    hosts = {one.slug: {"web": oidc.issuer, "api": careless.url} for one in providers}
    given: dict[str, Any] = {"providers": providers, "hosts": hosts, "clock": MovableClock()}
    async with living(fresh_database_url, ring, watch, careless, **given) as made:
        watch.note_objects("apps", [*apps.values(), apps])
        for slug, app in apps.items():
            fields = {name: one.get_secret_value() if isinstance(one, SecretStr) else one for name, one in app if one}
            for told, status in (
                ({**fields, "key": secret.text}, 422),
                ({**fields, "client_secret": [secret.text]}, 422),
                (fields, 200),
            ):
                assert (await made.ask("PUT", f"/v1/oauth-apps/{slug}", json=told)).status_code == status
        yield made
    oidc.reset()


@dataclass
class Trip:
    """One person's way to the provider and back; what must be shown on it is shown to the watch without that."""

    house: House
    slug: str
    account: str
    browser: httpx2.AsyncClient
    id: str = ""
    url: str = ""
    there: str = ""

    @property
    def state(self) -> str:
        """The state of the present round."""
        return parse_qs(urlsplit(self.there).query)["state"][0]

    async def begin(self, **wish: Any) -> Trip:
        """Begin: the ticket is told to whoever asked, and never again."""
        body = {"provider": self.slug, "options": {"place": self.account}, "name": self.account} | wish
        answer = await self.house.client.post("/v1/oauth/start", json=body)
        assert answer.status_code == 201, answer.text
        self.id, self.url = answer.json()["id"], answer.json()["url"]
        ticket = self.url.rpartition("/")[2]
        self.house.watch.add("signed ticket", ticket)
        self.house.watch.note("POST /v1/oauth/start", f"{answer.headers!r} {answer.text.replace(ticket, '')}")
        await self._go_on(await agree(self.browser, self.url))
        return self

    async def back(self, **query: str) -> httpx2.Response:
        """Come back, with the state unless another is given."""
        given = {"state": self.state} | query
        if "code" in given:
            self.house.watch.add("authorization code", given["code"])
        answer = await self.browser.get(f"/v1/oauth/callback/{self.slug}", params=given)
        if answer.headers.get("location", PUBLIC).startswith(("/", PUBLIC)):
            self.house.watch.note(
                f"callback of {self.slug} → {answer.status_code}", f"{answer.headers!r} {answer.text}"
            )
        else:
            await self._go_on(answer)
        return answer

    async def _go_on(self, answer: httpx2.Response) -> None:
        """To the provider: the state and the nonce are meant for it and the cookie for the browser, and nothing else is shown."""
        watch, shown, parts = self.house.watch, dict(answer.headers), self.house.parts
        self.there = shown.pop("location", "") or address_in(answer.text)
        cookie = shown.pop("set-cookie").split(";")[0].partition("=")[2]
        async with parts.db.work(self.house.org_id) as work:
            carried = await open_carried(parts, await get_attempt(work, self.id))
        for kind, secret in {"state": self.state, "cookie of an attempt": cookie, "nonce": carried.nonce, "PKCE verifier": carried.verifier}.items():  # fmt: skip
            watch.add(kind, secret)
        watch.note("on to the provider", f"{shown!r} {answer.text.replace(escape(self.there), '')} {carried!r}")
        hidden = [
            Canary("in the address", one.encode()) for one in (cookie, carried.verifier, self.url.rpartition("/")[2])
        ]
        assert sightings(self.there, hidden) == []


async def new_trip(house: House, slug: str, account: str, **wish: Any) -> Trip:
    """A person who has been sent to the provider."""
    return await Trip(house, slug, account, house.browser()).begin(**wish)


def code() -> str:
    """A code that looks as plain as can be."""
    return hatch("authorization code").text


async def test_nothing_of_a_sign_in_that_fails_comes_out(house: House, watch: Watch, careless: Careless) -> None:
    """Each way in which a token endpoint may fail, with an address to go back to and without."""

    async def fail(slug: str, what: str, mode: str) -> None:
        account = f"no-{slug}-{what[-5:]}-{mode.replace(' ', '-')}"
        careless.modes[f"{account}/{what}"] = mode
        wish = {"return_to": "/settings?x=1"} if mode in {"quoted", "html"} else {}
        trip = await new_trip(house, slug, account, **wish)
        extra = {"installation_id": "123"} if slug == "install" else {}
        answer = await trip.back(code=code(), **extra)
        assert answer.status_code >= 400 or "error=" in answer.headers["location"], (account, answer.text)
        assert (await trip.back(code=code(), **extra)).status_code == 400
        told = (await house.ask("GET", f"/v1/oauth/attempts/{trip.id}")).json()
        assert told["status"] == "failed"

    await asyncio.gather(*(fail("certified", "token", mode) for mode in TOKEN_MODES))
    await asyncio.gather(*(fail("install", what, mode) for what in ("token", MINT) for mode in TOKEN_MODES[:6]))
    await asyncio.gather(
        *(fail("install", what, mode) for what in ("user/installations", "me") for mode in ("403", "html"))
    )
    await house.look_everywhere()


async def test_a_callback_repeats_nothing_of_what_came_with_it(house: House, watch: Watch, careless: Careless) -> None:
    """What a provider, or whoever wrote the address, says there is shown without the secrets of the sign-in."""
    for slug in ("certified", "install", "tenant"):
        for error in ("access_denied", "state", "code", "server_error"):
            trip = await new_trip(
                house, slug, f"told-{slug}-{error}", **({"return_to": "/x"} if error == "code" else {})
            )
            secret = {"state": trip.state, "code": code()}
            watch.add("authorization code", secret["code"])
            words = f"The code {secret['code']} of <{trip.state}> is unknown, {quote(trip.state)} too"
            asked = {"error": secret.get(error, error), "error_description": words, "code": secret["code"]}
            answer = await trip.back(**asked)
            assert answer.status_code in {303, 422, 502}, answer.text
            await house.ask("GET", f"/v1/oauth/attempts/{trip.id}")
    trip, other = await new_trip(house, "certified", "odd"), house.browser()
    ticket = trip.url.rpartition("/")[2]
    for path in (
        f"/v1/oauth/begin/{ticket[:-3]}", f"/v1/oauth/begin/{ticket}", f"/v1/oauth/begin/{ticket}/", f"/v1/oauth/begin/{ticket}?x={trip.state}",
        f"/v1/oauth/callback/certified?state={trip.state}&code={code()}", f"/v1/oauth/callback/certified?state={trip.state}&state=x",
        f"/v1/oauth/callback/certified?state={trip.state}x", f"/v1/oauth/callback/nobody?state={trip.state}&code={code()}",
        f"/v1/oauth/callback/certified/?state={trip.state}", f"/v1/oauth/callback?code={code()}",
    ):  # fmt: skip
        for method in ("GET", "POST"):
            answer = await other.request(method, path)
            assert answer.status_code >= 400
            watch.note(f"{method} of a stranger", f"{answer.headers!r} {answer.text}")
    house.parts.clock.move_to(house.parts.clock.now() + timedelta(minutes=11))  # type: ignore[attr-defined]
    assert (await trip.back(code=code())).status_code == 410
    await house.look_everywhere()


async def test_nothing_of_a_sign_in_that_succeeds_comes_out(
    house: House, watch: Watch, careless: Careless, oidc: Oidc
) -> None:
    """Signed in, synced, refreshed, refused, reconnected and disconnected, with an other side that fails in between."""
    ids = {}
    for slug, account in (
        ("certified", "oidc-anna"),
        ("tenant", "oidc-tenant"),
        ("install", "acme"),
        ("blurting", "oidc-x"),
    ):
        trip = await new_trip(house, slug, account)
        if slug == "install":
            await trip.back(installation_id="123")
            query = {"code": code()}
        else:
            if slug == "tenant":
                await trip.back(admin_consent="True", tenant=TENANT)
            query = await asyncio.to_thread(oidc.walk, trip.there)
        done = await trip.back(**query)
        assert done.status_code == (500 if slug == "blurting" else 200), (slug, done.text)
        if slug != "blurting":
            ids[slug] = (await house.ask("GET", f"/v1/oauth/attempts/{trip.id}")).json()["connection_id"]
    careless.modes |= {"oidc-anna/people": "html", "oidc-tenant/people": "403", "acme/people": "401"}
    await house.run_what_is_due()
    await _refresh(house, careless, ids["certified"])
    trip = await new_trip(house, "certified", "oidc-anna", connection_id=ids["certified"])
    assert (await trip.back(**await asyncio.to_thread(oidc.walk, trip.there))).status_code == 200
    careless.modes |= {"oidc-anna/revoke": "quoted", f"acme/{MINT}": "quoted"}
    await house.ask("POST", f"/v1/connections/{ids['install']}/test")
    for one in ids.values():
        assert (await house.ask("DELETE", f"/v1/connections/{one}")).status_code == 200
    await upkeep(house.parts)
    await house.look_everywhere()
    assert watch.kinds >= KINDS
    assert await house.count("SELECT count(*) FROM runs WHERE exchange IS NOT NULL") >= 3


async def _refresh(house: House, careless: Careless, connection_id: str) -> None:
    """Refresh the grant, first in vain."""
    clock = house.parts.clock
    for mode in ("quoted", "half", "bound", "carried off", "shape", "html", "500", "good"):
        careless.modes["oidc-anna/token"] = mode
        clock.move_to(clock.now() + timedelta(minutes=61))  # type: ignore[attr-defined]
        answer = await house.ask("POST", f"/v1/connections/{connection_id}/test")
        assert (answer.status_code == 200) == (mode == "good"), answer.text
