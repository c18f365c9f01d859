"""Secrets only go in: credentials that a person gives go through every journey, its failures included, and surface nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import make_url
from tests.canaries import MARK, hatch, sightings
from tests.leaks.careless import MODES, STATUSES, Careless
from tests.leaks.house import House, living, provider
from tests.leaks.watching import Watch

from tieline.access.api_keys import check_key
from tieline.clock import SystemClock
from tieline.errors import DatabaseError, TielineError
from tieline.sdk import ApiKey, Basic, Context, Identity, PersonalToken
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.http import Http
from tieline.sdk.limits import LocalBudget
from tieline.sdk.provider import Options
from tieline.store.db import Db
from tieline.store.migrate import migrate
from tieline.vault import LocalKeyRing

AUTHS: dict[str, tuple[Any, Callable[[], dict[str, Any]]]] = {
    "bearer": (PersonalToken(pattern=r"tok_.+"), lambda: {"token": hatch("bearer token", before="tok_", after="/+=\"&'\\<").text}),
    "header": (ApiKey(header="X-Api-Key", prefix="SSWS "), lambda: {"api_key": hatch("API key in a header", after="~%41").text}),
    "query": (ApiKey(query="key"), lambda: {"api_key": hatch("API key in the query", after="&?=+ /").text}),
    "basic": (Basic(), lambda: {"username": "anna", "password": hatch("password", after=":/@").text}),
}  # fmt: skip
KINDS = {
    "token", "api_key", "password", "secret_access_key", "session_token", "key ring", "database password", "API key", "API key's secret",
}  # fmt: skip


def aws_credential() -> dict[str, Any]:
    """An access key, which is temporary."""
    key = hatch("AWS secret access key", after="/+/=", length=28)
    return {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": key.text, "session_token": hatch("AWS session token").text}  # fmt: skip


@pytest.fixture
async def house(fresh_database_url: str, ring: LocalKeyRing, watch: Watch, careless: Careless) -> AsyncIterator[House]:
    providers = [provider(slug, auth) for slug, (auth, _) in AUTHS.items()]
    async with living(fresh_database_url, ring, watch, careless, providers=providers) as made:
        yield made


async def test_nothing_that_is_given_comes_out(house: House, watch: Watch, careless: Careless) -> None:
    """Each way to authenticate: connect, rotate, test, sync; each with every kind of answer, and everything read afterwards."""
    ways = {slug: make for slug, (_, make) in AUTHS.items()} | {"aws": aws_credential}

    async def refuse_to_connect(slug: str, mode: str) -> None:
        account = f"no-{slug}-{mode[:4].strip()}"
        careless.modes[account] = mode
        answer = await house.connect(slug, account, watch.let_loose(ways[slug]()), **by(slug))
        assert answer.status_code >= 400, (slug, mode)

    def by(slug: str) -> dict[str, str]:
        return {"by": "access_key"} if slug == "aws" else {}

    async def live(slug: str, mode: str) -> None:
        account = f"yes-{slug}-{mode[:4].strip()}"
        made = await house.connect(slug, account, watch.let_loose(ways[slug]()), **by(slug))
        assert made.status_code == 201, made.text
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
    await asyncio.gather(*(live("bearer", mode) for mode in ("good", *some)))
    await asyncio.gather(*(live("basic", mode) for mode in ("401", "403", "html", "redirect")))
    await asyncio.gather(live("header", "html"), live("query", "403"), live("aws", "403"))
    await house.run_what_is_due()
    for made in (await house.ask("GET", "/v1/connections?limit=1000")).json()["items"]:
        for act in ("test", "roll-back"):
            await house.ask("POST", f"/v1/connections/{made['id']}/{act}")
    await house.look_everywhere()

    heard = "".join(careless.heard)
    assert watch.kinds >= KINDS
    assert len([one for one in watch.canaries if sightings(heard, [one])]) > 50, "the provider was given them"
    ends = {run["status"] for run in (await house.ask("GET", "/v1/runs?limit=1000")).json()["items"]}
    assert ends >= {"succeeded", "failed", "queued"}
    assert await house.count("SELECT count(*) FROM runs WHERE exchange IS NOT NULL") >= 10
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
        await house.connect("bearer", "a", {"token": "tok_x"}, by=token),
        await house.connect("bearer", "a", {"token": "tok_x"}, unknown=token),
        await house.connect("bearer", "a", {"token": "tok_x"}, expires_at=token),
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


async def test_an_import_tells_of_each_row_and_of_no_secret(house: House, watch: Watch, careless: Careless) -> None:
    """Columns in the wrong order, secrets in the wrong place, and what is kept of the answer for a repetition."""
    rows, url = [], careless.url
    for number, mode in enumerate(("good", "401", "html", "shape", "redirect")):
        careless.modes[f"row-{number}"] = mode
        rows.append({"provider": "bearer", "options": {"base_url": f"{url}/row-{number}"}, "credential": watch.let_loose(AUTHS["bearer"][1]())})  # fmt: skip
    misplaced = hatch("token", before="tok_").text
    watch.let_loose({"token": misplaced})
    good = {"provider": "bearer", "options": {"base_url": f"{url}/row-0"}}
    rows += [
        {"provider": misplaced, "credential": {"token": "bearer"}},
        {**good, "by": misplaced}, {**good, "expires_at": misplaced}, {**good, "credential": misplaced}, {**good, misplaced: "token"},
        {**good, "credential": {misplaced: "token"}}, {**good, "options": {"base_url": misplaced}}, {"provider": [misplaced]},
        {**good, "name": [misplaced]}, {**good, "name": misplaced * 30},
    ]  # fmt: skip
    csv = f"provider,options.base_url,credential.token\n{misplaced},{url}/row-0,bearer\nbearer,{misplaced}\n"
    bad = [
        {"csv": csv},
        {"csv": f"provider,{misplaced}\nbearer,x\n"},
        {"csv": f'provider\n"{misplaced}\n'},
        {"rows": misplaced},
    ]
    for number, dry_run in enumerate((True, False, False)):
        repeated = {"Idempotency-Key": f"import-{number > 0}"}
        told = await house.ask(
            "POST", "/v1/connections/import", json={"rows": rows, "dry_run": dry_run}, headers=repeated
        )
        assert (told.status_code, told.json()["refused"]) == (200, len(rows) - 1), told.text
    for number, one in enumerate(bad):
        told = await house.ask("POST", "/v1/connections/import", json=one, headers={"Idempotency-Key": f"bad-{number}"})
        assert told.status_code in {200, 422}, told.text
    assert await house.count("SELECT count(*) FROM idempotency_keys") >= 4
    await house.look_everywhere()
    assert MARK in "".join(careless.heard)


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
    """Open a database and see whether it answers."""
    db = Db(url)
    try:
        await db.verify()
    finally:
        await db.close()
