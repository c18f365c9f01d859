"""Secrets only go in: canaries of every kind go through every journey, its failures included, and surface nowhere.

The provider here is as careless as can be: it gives back each request that it gets, headers and all, in its own headers and in HTML,
JSON and XML bodies, with every status.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import httpx2
import pytest
from sqlalchemy import make_url
from tests.canaries import MARK, Canary, codings, convict, hatch, sightings
from tests.sdk.conftest import raw

from tieline import log
from tieline.access.api_keys import check_key, create_key
from tieline.api.app import create_api
from tieline.catalog import compile_catalog, load_catalog
from tieline.clock import SystemClock
from tieline.engine import Engine
from tieline.errors import DatabaseError, TielineError
from tieline.flows.parts import Parts
from tieline.flows.sync import run_sync
from tieline.sdk import Account, ApiKey, Basic, Context, Identity, LinkHeader, PersonalToken, Provider
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget
from tieline.sdk.provider import Options
from tieline.store.db import Db
from tieline.store.migrate import migrate
from tieline.store.organizations import create_organization
from tieline.vault import LocalKeyRing, Vault

# The careless provider

AWS = {
    "Action=GetCallerIdentity": "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/t</Arn>"
    "<UserId>AIDA</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
    "Action=ListAccountAliases": "<ListAccountAliasesResponse><ListAccountAliasesResult><IsTruncated>false</IsTruncated>"
    "<AccountAliases/></ListAccountAliasesResult></ListAccountAliasesResponse>",
}  # fmt: skip
STATUSES = {"401": 401, "403": 403, "404": 404, "418": 418, "429": 429, "500": 500}
MODES = ("good", *STATUSES, "html", "shape", "truncated", "redirect", "hang up")


@dataclass
class Careless:
    """Answers by the first part of the path, which names the account; `modes` says how, for an account, from which request on."""

    url: str = ""
    modes: dict[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0
                )
                body = (await reader.readexactly(length)).decode("latin-1")
                self.heard.append(head + body)
                answer = self.answer(head, body)
                if answer is None:
                    break
                if answer == b"":
                    await asyncio.sleep(60)
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def answer(self, head: str, body: str) -> bytes | None:
        target = head.split(" ")[1]
        account = urlsplit(target).path.split("/")[1]
        mode = self.modes.get(account, "good")
        if mode in {"hang up", "silence"}:
            return None if mode == "hang up" else b""
        echo = " ".join((head + body).split())
        told = {"x_echo": echo, "retry_after": "60", "x_request_id": echo[-60:]}
        if mode == "good":
            return self.good(account, target, body)
        if mode in STATUSES:
            told["www_authenticate"] = f'Bearer realm="{echo[:300]}"'
            return raw(f"<html><b>{escape(echo)}</b><i>{echo}</i>".encode(), STATUSES[mode], "text/html", **told)
        if mode == "html":
            return raw(f"<html>{echo}".encode(), 200, "text/html", **told)
        if mode == "redirect":
            return raw(
                b"", 302, "text/html", location=f"{self.url}/{account}/elsewhere?{echo.replace(' ', '+')[:900]}", **told
            )
        whole = json.dumps({"error": echo, "headers": [echo], "token": echo}).encode()
        return raw(whole if mode == "shape" else whole[:-9], 200, **told)

    def good(self, account: str, target: str, body: str) -> bytes:
        for action, answer in AWS.items():
            if action in body:
                return raw(answer.encode(), 200, "text/xml")
        if urlsplit(target).path.endswith("/me"):
            return raw(json.dumps({"id": account, "name": f"Account {account}"}).encode())
        return raw(json.dumps([{"id": "1", "email": "a@b.example", "mfa": False}, {"id": "5", "email": 5}]).encode())


@pytest.fixture
async def careless() -> AsyncIterator[Careless]:
    serving = Careless()
    server = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield serving
    server.close()
    for task in serving.tasks:
        task.cancel()
    await asyncio.gather(*serving.tasks)


class Address(Options):
    base_url: str


def provider(slug: str, auth: Any) -> Provider[Any]:
    made: Provider[Any] = Provider(
        slug=slug, name=slug.title(), category="hr", base_url="{base_url}", options=Address, auth=auth,
        identity=Identity("/me", id="id", name="name"),
    )  # fmt: skip
    made.listing(
        "people",
        "/people",
        into=Account.map(external_id="payload.id", email="payload.email", mfa="payload.mfa"),
        every="1h",
        pages=LinkHeader(),
    )
    return made


AUTHS: dict[str, tuple[Any, Callable[[], dict[str, Any]]]] = {
    "bearer": (PersonalToken(pattern=r"tok_.+"), lambda: {"token": hatch("bearer token", before="tok_", after="/+=\"&'\\<").text}),
    "header": (ApiKey(header="X-Api-Key", prefix="SSWS "), lambda: {"api_key": hatch("API key in a header", after="~%41").text}),
    "query": (ApiKey(query="key"), lambda: {"api_key": hatch("API key in the query", after="&?=+ /").text}),
    "basic": (Basic(), lambda: {"username": "anna", "password": hatch("password", after=":/@").text}),
}  # fmt: skip


def aws_credential() -> dict[str, Any]:
    key = hatch("AWS secret access key", after="/+/=", length=28)
    return {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": key.text, "session_token": hatch("AWS session token").text}  # fmt: skip


# All that goes in, and all places to look

KINDS = {
    "token", "api_key", "password", "secret_access_key", "session_token", "key ring", "database password", "API key", "API key's secret",
}  # fmt: skip


@dataclass
class Watch:
    """The canaries let loose, and everything that was shown meanwhile."""

    canaries: list[Canary] = field(default_factory=list)
    shown: list[tuple[str, str]] = field(default_factory=list)

    def let_loose(self, credential: dict[str, Any]) -> dict[str, Any]:
        """Remember the secrets of a credential."""
        secret = [Canary(name, value.encode()) for name, value in credential.items() if MARK in value]
        self.canaries += secret
        return credential

    def note(self, where: str, what: Any) -> None:
        self.shown.append((where, what if isinstance(what, str) else repr(what)))

    def note_error(self, where: str, error: BaseException) -> None:
        """Every way in which an error is printed."""
        self.note(where, "\n".join([str(error), repr(error), repr(error.args), repr(vars(error))]))
        self.note(f"{where}, traceback", "".join(traceback.format_exception(error)))

    def leaks(self) -> list[str]:
        return [f"{where}: {seen}" for where, text in self.shown for seen in sightings(text, self.canaries)]


class Records(logging.Handler):
    """Our own loggers' records, as raw as they are made."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        self._watch.note(f"record of {record.name}", f"{record.getMessage()} {vars(record)!r}")


@pytest.fixture
def watch(ring: LocalKeyRing) -> Iterator[Watch]:
    """Watches the log at DEBUG, as it is written and, of our own loggers, as it is made."""
    made, stream, own = Watch(), io.StringIO(), logging.getLogger("tieline")
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level, own.level)
    kept = ring.reveal()
    material = [*kept["keys"].values(), *(kept[name] for name in ("fingerprint_key", "api_key_pepper", "cursor_key"))]
    made.canaries += [Canary("key ring", base64.b64decode(key)) for key in material]
    raw_records = Records(made)
    log.set_up("debug", stream)
    own.addHandler(raw_records)
    yield made
    own.removeHandler(raw_records)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])
    made.note("log", stream.getvalue())
    assert made.leaks() == []


@dataclass
class House:
    """A whole Tieline over a database of its own, as its API shows it."""

    parts: Parts
    client: httpx2.AsyncClient
    watch: Watch
    careless: Careless
    url: str

    async def ask(self, method: str, path: str, **how: Any) -> Any:
        answer = await self.client.request(method, path, **how)
        self.watch.note(f"{method} {path} → {answer.status_code}", f"{answer.headers!r} {answer.text}")
        return answer

    async def connect(self, slug: str, account: str, credential: Any, **more: Any) -> Any:
        address = f"{self.careless.url}/{account}"
        options = {"endpoint_url": address} if slug == "aws" else {"base_url": address}
        return await self.ask("POST", "/v1/connections", json={"provider": slug, "options": options, "credential": credential} | more)  # fmt: skip

    async def run_what_is_due(self) -> None:
        """Let a worker run until nothing runs or waits for one."""

        async def sync(hold: Any) -> None:
            await run_sync(self.parts, hold)

        stop = asyncio.Event()
        engine = asyncio.create_task(Engine(self.parts.db, {"sync": sync}, clock=SystemClock()).run(until=stop))
        while await self.count(
            "SELECT count(*) FROM schedules WHERE held_by IS NOT NULL OR (enabled AND next_run_at <= now())"
        ):
            await asyncio.sleep(0.1)
        stop.set()
        await engine

    async def count(self, query: str) -> int:
        connection = await asyncpg.connect(self.url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    async def look_everywhere(self) -> None:
        """Every row of every table as text, and every page of the API."""
        connection = await asyncpg.connect(self.url)
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in tables:
            out = io.BytesIO()
            await connection.copy_from_query(f'SELECT * FROM "{table}"', output=out)
            self.watch.note(f"table {table}", out.getvalue().decode())
        await connection.close()
        nouns = ("connections", "runs", "entities", "findings", "evidence", "events", "api-keys")
        for path in ("openapi.json", "v1/providers", "v1/engine", *(f"v1/{noun}?limit=1000" for noun in nouns)):
            assert (await self.ask("GET", f"/{path}")).status_code == 200, path
        for run in (await self.ask("GET", "/v1/runs?limit=1000")).json()["items"]:
            for tail in ("", "/rejections"):
                await self.ask("GET", f"/v1/runs/{run['id']}{tail}")
        for connected in (await self.ask("GET", "/v1/connections?limit=1000")).json()["items"]:
            await self.ask("GET", f"/v1/connections/{connected['id']}")


@pytest.fixture
async def house(fresh_database_url: str, ring: LocalKeyRing, watch: Watch, careless: Careless) -> AsyncIterator[House]:
    password = hatch("database password", after="/@:")
    watch.canaries.append(password)
    url = make_url(fresh_database_url).set(password=password.text).render_as_string(hide_password=False)
    catalog = compile_catalog(
        [*(provider(slug, auth) for slug, (auth, _) in AUTHS.items()), load_catalog().provider("aws")],
        [one for one in load_catalog().checks if one.provider is None],
    )
    clock, db = SystemClock(), Db(url)
    parts = Parts(db, catalog, Vault(ring), clock, AddressPolicy.parse("127.0.0.1"), ring)
    async with db.system() as work:
        organization = await create_organization(work, slug="acme", name="Acme", now=clock.now())
    async with db.work(organization.id) as work:
        key = await create_key(work, ring.api_key_pepper, name="tests", role="operator", now=clock.now())
    watch.canaries += [Canary("API key", key.plain.encode()), Canary("API key's secret", key.plain[16:].encode())]
    for where, what in (("parts", parts), ("db", db), ("key", key), ("ring", ring)):
        watch.note(where, what)
    transport = httpx2.ASGITransport(create_api(parts, ring))
    async with httpx2.AsyncClient(transport=transport, base_url="http://t", headers={"X-API-Key": key.plain}) as client:
        yield House(parts, client, watch, careless, fresh_database_url)
    await db.close()


# The journeys


async def test_nothing_that_goes_in_comes_out(house: House, watch: Watch, careless: Careless) -> None:
    """Each way to authenticate: connect, rotate, test, sync; each with every kind of answer, and everything read afterwards."""
    ways = {slug: make for slug, (_, make) in AUTHS.items()} | {"aws": aws_credential}

    async def refuse_to_connect(slug: str, mode: str) -> None:
        careless.modes[f"no-{slug}-{mode[:4].strip()}"] = mode
        answer = await house.connect(slug, f"no-{slug}-{mode[:4].strip()}", watch.let_loose(ways[slug]()))
        assert answer.status_code >= 400, (slug, mode)

    async def live(slug: str, mode: str) -> None:
        account = f"yes-{slug}-{mode[:4].strip()}"
        made = await house.connect(slug, account, watch.let_loose(ways[slug]()))
        assert made.status_code in {201, 409}, made.text
        if made.status_code == 409:  # the AWS account is one and the same
            return
        path = f"/v1/connections/{made.json()['id']}"
        rotated = await house.ask("POST", f"{path}/rotate", json={"credential": watch.let_loose(ways[slug]())})
        assert rotated.status_code == 200
        careless.modes[account] = mode
        if mode != "good":
            again = await house.ask("POST", f"{path}/rotate", json={"credential": watch.let_loose(ways[slug]())})
            assert again.status_code >= 400

    some = [mode for mode in MODES if mode not in {"good", "hang up"}]
    await asyncio.gather(*(refuse_to_connect(slug, mode) for slug in AUTHS for mode in some))
    await asyncio.gather(*(refuse_to_connect("aws", mode) for mode in ("403", "404", "html", "redirect")))
    await refuse_to_connect("bearer", "hang up")
    await asyncio.gather(*(live(slug, mode) for slug in ("bearer", "basic") for mode in ("good", *some)))
    await asyncio.gather(live("header", "html"), live("query", "403"), live("aws", "403"))
    await house.run_what_is_due()
    for made in (await house.ask("GET", "/v1/connections?limit=1000")).json()["items"]:
        await house.ask("POST", f"/v1/connections/{made['id']}/test")
    await house.look_everywhere()

    heard = "".join(careless.heard)
    assert {one.kind for one in watch.canaries} >= KINDS
    assert len([one for one in watch.canaries if sightings(heard, [one])]) > 70, "the provider was given them"
    ends = {run["status"] for run in (await house.ask("GET", "/v1/runs?limit=1000")).json()["items"]}
    assert ends >= {"succeeded", "failed", "queued"}
    assert await house.count("SELECT count(*) FROM runs WHERE exchange IS NOT NULL") >= 15
    assert await house.count("SELECT count(*) FROM credentials WHERE retired_at IS NOT NULL") >= 4
    assert await house.count("SELECT count(*) FROM pgqueuer_log") > 0


async def test_what_is_refused_is_not_repeated(house: House, watch: Watch, ring: LocalKeyRing) -> None:
    """Bad input: the answer names the field, never its value."""
    token = watch.let_loose(AUTHS["bearer"][1]())["token"]
    answers = [
        await house.connect("bearer", "a", credential)
        for credential in (
            {"token": token[5:]}, {"token": [token]}, {"token": {"value": token}}, {"token": token, "more": token}, {"more": token},
            {"token": token + "\n" + token}, {"token": token * 9_000}, token, [token], None,
        )
    ]  # fmt: skip
    answers += [
        await house.connect(token, "a", {}),
        await house.connect("bearer", "a", {"token": "tok_x"}, name=[token]),
        await house.connect("bearer", "a", {"token": "tok_x"}, unknown=token),
        await house.ask("POST", "/v1/connections", json={"provider": "bearer", "options": {"base_url": 5, "x": token}, "credential": {"token": token}}),
        await house.ask("POST", "/v1/connections", content=f'{{"credential": {{"token": "{token[:20]}'.encode(), headers={"content-type": "application/json"}),
        await house.ask("POST", "/v1/connections", content=f'{{"provider": "bearer", "credential": {{"token": "{token[:20]}\\ud800"}}}}'.encode(), headers={"content-type": "application/json"}),
        await house.ask("GET", "/v1/runs", headers={"X-API-Key": watch.canaries[-2].text + "x"}),
    ]  # fmt: skip
    assert {answer.status_code for answer in answers} <= {400, 401, 404, 413, 422}
    for plain in ("tl_" + "a" * 12 + "_" + "b" * 32, token):
        with pytest.raises(TielineError) as refused:
            await check_key(house.parts.db, ring.api_key_pepper, plain, now=SystemClock().now())
        watch.note_error("a wrong key", refused.value)


@pytest.mark.parametrize("mode", [*STATUSES, "html", "shape", "truncated", "redirect", "hang up", "silence"])
async def test_no_error_of_a_request_shows_the_credential(watch: Watch, careless: Careless, mode: str) -> None:
    careless.modes["acme"] = mode

    async def no_wait(_: float) -> None:
        """Try again at once."""

    for slug, (auth, make) in AUTHS.items():
        credential = auth.credential(**watch.let_loose(make()))
        http = Http(
            base_url=f"{careless.url}/acme", provider=slug, clock=SystemClock(), sleep=no_wait,
            policy=AddressPolicy.parse("127.0.0.1"), budget=LocalBudget(SystemClock(), sleep=no_wait), patience=0.1 if mode == "silence" else 30.0,
            sign=lambda request, auth=auth, credential=credential: auth.sign(request, credential), secrets=credential.secrets(),
        )  # fmt: skip
        async with http:
            ctx = Context(
                options=Options(), credential=credential, http=http, policy=AddressPolicy.parse(""), clock=SystemClock()
            )
            with pytest.raises(TielineError) as failed:
                await Identity("/me", id="id", name="name")(ctx)
            watch.note_error(f"{slug}, {mode}", failed.value)
            watch.note("context", [ctx, vars(ctx), http, vars(http), credential, auth])


async def test_no_error_of_the_database_shows_its_password(watch: Watch) -> None:
    password = hatch("database password", after=":/@#")
    watch.canaries.append(password)
    url = make_url("postgresql://tieline@127.0.0.1:1/none").set(password=password.text)
    for text in (url.render_as_string(hide_password=False), f"postgresql://t:{password.text}@[::1/none", password.text):
        for act in (migrate, verify):
            with pytest.raises(DatabaseError) as failed:
                await act(text)
            watch.note_error(act.__name__, failed.value)


async def verify(url: str) -> None:
    db = Db(url)
    try:
        await db.verify()
    finally:
        await db.close()


# That the search finds what there is to find


@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: b"user:" + value, lambda value: b"12" + value + b"3"]
)
def test_the_search_finds_each_coding(wrap: Callable[[bytes], bytes]) -> None:
    canary = hatch("test", after='/+="&\\ü')
    whole = wrap(canary.value)
    spoken = {
        "plain": whole.decode(), "URL": quote(whole, safe=""), "JSON": json.dumps({"a": whole.decode()}), "hex": whole.hex().upper(),
        "base64": base64.b64encode(whole).decode(), "base64 ": base64.urlsafe_b64encode(whole).decode(),
    }  # fmt: skip
    for coding, text in spoken.items():
        assert [seen for seen in sightings(f"before {text} after", [canary]) if coding.strip() in seen], coding
    assert len(codings(canary.value)) == 7
    assert sightings("nothing", [canary]) == []


@pytest.mark.parametrize("section", ["Captured stdout call", "Captured log call", "the account of a failure"])
@pytest.mark.parametrize("coding", ["plain", "hex", "base64 at offset 1"])
def test_the_plugin_fails_a_test_that_lets_a_canary_out_and_does_not_repeat_it(section: str, coding: str) -> None:
    text = f"before {codings(hatch('test').value)[coding]} after"
    sections = [] if "failure" in section else [(section, text)]
    report = pytest.TestReport(
        "a_test", ("a.py", 1, "a_test"), {}, "passed", text if not sections else None, "call", sections
    )
    convict(report)
    assert report.outcome == "failed"
    assert report.longreprtext.startswith("a_test showed a canary (")
    assert text not in report.longreprtext + repr(report.sections)


def test_the_plugin_leaves_other_tests_alone() -> None:
    report = pytest.TestReport(
        "a_test", ("a.py", 1, "a_test"), {}, "passed", None, "call", [("Captured stdout call", "fine")]
    )
    convict(report)
    assert report.outcome == "passed"
    assert report.sections == [("Captured stdout call", "fine")]
