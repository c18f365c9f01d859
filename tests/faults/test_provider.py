"""A provider that lies, drips, repeats itself and never ends: each run ends right, says why, and what was there before stays."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from tests.faults.conftest import ask
from tests.faults.hostile import GOOD, Hostile, Say, hostile, page, person, start_hostile, whole
from tests.flows.bench import Bench, MovableClock, parts_over
from tests.flows.conftest import NewDatabase

from tieline.catalog.compile import compile_catalog
from tieline.flows import endings, reach, sync
from tieline.flows.connect import Attempt, connect
from tieline.sdk import pages
from tieline.sdk.http import Http
from tieline.store.db import Db
from tieline.store.organizations import create_organization
from tieline.vault import LocalKeyRing

SIX = {f"id-{name}" for name in ("ada", "bob", "cyd", "dee", "eve", "fay")}


@pytest.fixture(scope="module")
def url(new_database: NewDatabase, template: str) -> Iterator[str]:
    """One database for all; each test has an organization of its own in it, whose calendar ends with it."""
    with new_database(template) as made:
        yield made


@pytest.fixture
async def victim(url: str, ring: LocalKeyRing, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Bench, Hostile]]:
    """A connection to a hostile provider, which has behaved so far."""

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(reach, "Http", partial(Http, deadline=3, patience=2, sleep=at_once))
    db, clock = Db(url, pool_size=4), MovableClock()
    parts = dataclasses.replace(parts_over(db, ring, clock), catalog=compile_catalog([hostile], []))
    async with start_hostile() as server:
        async with db.system() as work:
            org = await create_organization(work, slug=f"org-{uuid4().hex[:12]}", name="Test", now=clock.now())
        attempt = Attempt("hostile", {"base_url": server.url}, {"token": "a-token-for-tests"})
        bench = Bench(parts, clock, None, await connect(parts, org.id, attempt))  # type: ignore[arg-type]
        await bench.drain()
        assert set(await bench.entities("account")) == SIX
        server.asked.clear()
        yield bench, server
        await ask(url, "UPDATE schedules SET switched_on = false")
    await db.close()


@contextmanager
def bounded(monkeypatch: pytest.MonkeyPatch, **bounds: int) -> Iterator[None]:
    for name, bound in bounds.items():
        monkeypatch.setattr(pages, f"_{name.upper()}", bound)
    yield


# How it can answer


def sent(body: bytes, *headers: str, **how: Any) -> Say:
    """The second page, as these bytes; the first as ever."""
    return raw(whole(body, *headers, **how))


def raw(answer: bytes, *, closes: bool = False) -> Say:
    async def say(after: str, out: asyncio.StreamWriter) -> None:
        out.write(answer if after else whole(GOOD[""]))
        if after and closes:
            await out.drain()
            out.close()

    return say


async def drip(after: str, out: asyncio.StreamWriter) -> None:
    if not after:
        out.write(whole(GOOD[""]))
        return
    out.write(whole(b"", length=100_000))
    for _ in range(1000):
        out.write(b" ")
        await out.drain()
        await asyncio.sleep(0.05)


async def reset(after: str, out: asyncio.StreamWriter) -> None:
    out.write(whole(GOOD[after])[: None if not after else -20])
    if after:
        await out.drain()
        out.transport.abort()


def endless(items: Any) -> Say:
    """Ever another cursor."""

    async def say(after: str, out: asyncio.StreamWriter) -> None:
        number = int(after or 0)
        out.write(whole(page(items(number), str(number + 1))))

    return say


SAME = [person("ada"), person("bob")]
DEEP = b'{"data": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
UNEXPECTED, AWAY, UNREADABLE = "unexpected-answer", "provider-unavailable", "unreadable-records"
# what it does, then how the run ends, and what a person is told
BROKEN: dict[str, tuple[Say, str, str]] = {
    "the same cursor again": (sent(page([person("dee")], "2")), UNEXPECTED, "repeated its cursor"),
    "one page under ever new cursors": (endless(lambda _: SAME), UNEXPECTED, "the same page again and again"),
    "empty pages without end": (endless(lambda _: []), UNEXPECTED, "the same page again and again"),
    "new pages without end": (endless(lambda n: [person(f"n{n}")]), UNEXPECTED, "has more than 60 pages"),
    "a body that drips": (drip, AWAY, "did not answer GET /v1/people within 3 s"),
    "a body shorter than said": (sent(GOOD["2"], length=len(GOOD["2"]) + 9), AWAY, "did not answer GET /v1/people"),
    "a body shorter than said, and an end": (
        raw(whole(GOOD["2"], length=len(GOOD["2"]) + 9), closes=True), AWAY, "broke off the connection",
    ),
    "a body longer than said": (sent(GOOD["2"], length=len(GOOD["2"]) - 9), UNEXPECTED, "something that is not JSON"),
    "a length that is no number": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}"), AWAY, "broke off"),
    "no HTTP at all": (raw(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", closes=True), AWAY, "broke off the connection"),
    "a connection that is reset": (reset, AWAY, "broke off the connection"),
    "truncated JSON": (sent(GOOD["2"][:-20]), UNEXPECTED, "something that is not JSON"),
    "HTML with 200": (sent(b"<!doctype html><title>Sign in</title>", "X-A: b"), UNEXPECTED, "HTML where JSON"),
    "nothing": (sent(b""), UNEXPECTED, "nothing where JSON was expected"),
    "10,000 levels": (sent(DEEP), UNEXPECTED, "nested too deeply"),
    "10,000 levels and a lone surrogate": (sent(DEEP.replace(b"[]", b'["\\ud800"]')), UNEXPECTED, "nested too deeply"),
    "a number beyond all numbers": (sent(b'{"data": [{"id": 1e999}]}'), UNREADABLE, "whose they are"),
    "a whole number of 400 digits": (sent(page([person("x", size=10**400)])), UNREADABLE, "whose they are"),
    "UTF-16": (sent(GOOD["2"].decode().encode("utf-16")), UNEXPECTED, "something that is not JSON"),
    "Latin-1": (sent(page([person("x")]).replace(b'"x"', b'"\xe9"')), UNEXPECTED, "something that is not JSON"),
    "no list": (sent(b'{"data": {"id-x": {}}, "next": null}'), UNEXPECTED, "no list at 'data'"),
    "a cursor that is an object without end": (sent(b'{"data": [], "next": {"a": [1]}}'), UNEXPECTED, "repeated its"),
    "ids that are numbers": (sent(page([person("x", id=7), person("y", id=None)])), UNREADABLE, "whose they are"),
    "records that are no objects": (sent(page(["x", 7, None, [person("x")]])), UNREADABLE, "whose they are"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_run_that_it_spoils_says_why_and_removes_nothing(
    victim: tuple[Bench, Hostile], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    bench, server = victim
    server.say, slug, told = BROKEN[fault]
    await bench.query(f"UPDATE schedules SET attempt = {endings.MOST_ATTEMPTS - 1}")  # an outage was met before
    before = await bench.entities("account")
    with bounded(monkeypatch, most_pages=60, most_empty=40):
        run = (await bench.sync("people"))["people"]
    assert bench.failures == []
    assert (run.status, run.error_slug, run.removed) == ("partial", slug, 0)
    assert told in (run.error_message or "")
    assert len(server.asked) <= 70
    after = await bench.entities("account")
    assert {name: one for name, one in after.items() if name in before} == before


CLEAN: dict[str, tuple[dict[str, bytes], dict[str, int]]] = {
    "duplicates in a page and across pages": (
        {
            "": page([person("ada"), person("ada"), person("bob"), person("cyd")], "2"),
            "2": page([person("cyd"), person("ada"), person("dee"), person("eve"), person("fay"), person("fay")]),
        },
        {"records": 10, "changed": 0, "created": 0},
    ),
    "pages of other sizes": (
        {
            "": page([person("ada")], "2"),
            "2": page([], "3"),
            "3": page([person(name) for name in ("bob", "cyd", "dee", "eve")], "4"),
            "4": page([person("fay")]),
        },
        {"records": 6, "unchanged": 6},
    ),
    "keys in another order": (
        {
            "": page([dict(reversed(person(name).items())) for name in ("cyd", "bob", "ada")], "2"),
            "2": page([dict(reversed(person(name).items())) for name in ("fay", "eve", "dee")]),
        },
        {"unchanged": 6, "changed": 0, "evidence": 0},
    ),
    "keys given twice": (
        {"": GOOD[""].replace(b'"id": "id-ada"', b'"id": "id-x", "id": "id-ada"'), "2": GOOD["2"]},
        {"unchanged": 6, "created": 0},
    ),
}


@pytest.mark.parametrize("oddity", CLEAN)
async def test_a_run_that_reads_everything_succeeds_however_it_came(victim: tuple[Bench, Hostile], oddity: str) -> None:
    bench, server = victim
    bodies, counts = CLEAN[oddity]

    async def say(after: str, out: asyncio.StreamWriter) -> None:
        out.write(whole(bodies[after]))

    server.say = say
    run = (await bench.sync("people"))["people"]
    assert (run.status, run.removed, run.rejected) == ("succeeded", 0, 0)
    assert {name: getattr(run, name) for name in counts} == counts
    assert set(await bench.entities("account")) == SIX


LONG = "".join(
    random.Random(7).choices("".join(map(chr, range(0x4E00, 0x9FA5))), k=1_000)
)  # 3,000 bytes, incompressible
FIELDS: dict[str, tuple[dict[str, Any], str | None]] = {
    "numbers as text": ({"age": "42", "size": "1e3"}, None),
    "text as numbers": ({"name": 42}, "display_name"),
    "a flag as text": ({"active": "true"}, "active"),
    "a name of 1 MB": ({"name": "x" * 1_000_000}, "display_name"),
    "a name as long as may be": ({"name": LONG}, None),
    "1 MB that nobody maps": ({"photo": "x" * 1_000_000}, None),
    "3 MB that nobody maps": ({"photo": "x" * 3_000_000}, "record"),
    "a NUL": ({"name": "a\0b", "n\0te": "\0"}, None),
    "lone surrogates": ({"name": "a\ud800b", "n\udfffte": "\udc00\ud800"}, None),
    "a number too precise": ({"size": 1.7976931348623157e308}, None),
    "names of the language": ({"__proto__": {}, "constructor": 1, "": "", "payload": {"id": "x"}}, None),
}


@pytest.mark.parametrize("oddity", FIELDS)
async def test_a_field_that_does_not_fit_costs_its_own_record_at_most(
    victim: tuple[Bench, Hostile], oddity: str
) -> None:
    bench, server = victim
    given, refused = FIELDS[oddity]
    odd = {**person("odd"), **given}
    body = page([person(name) for name in ("dee", "eve", "fay")] + [odd])
    server.say = raw(whole(body))
    run = (await bench.sync("people"))["people"]
    assert bench.failures == []
    found = await bench.entities("account")
    assert set(found) >= SIX
    if refused is None:
        assert (run.status, run.created, run.rejected) == ("succeeded", 1, 0)
        assert "\0" not in (found["id-odd"].data.get("display_name") or "")
    else:
        assert (run.created, run.rejected, run.removed) == (0, 1, 0)
        assert [one.field for one in await bench.rejections(run.id)] == [refused]


async def test_a_storm_of_429_is_waited_out_as_long_as_it_says(victim: tuple[Bench, Hostile]) -> None:
    bench, server = victim
    limited = raw(whole(b"", "Retry-After: 3600", status="429 Too Many Requests"))
    server.say = limited
    (queued,) = await bench.request("people")
    for _ in range(2 * endings.MOST_ATTEMPTS):
        await bench.run_due()
        run = await bench.run(queued.id)
        assert (run.status, run.error_slug) == ("queued", "rate-limited")
        assert run.resume_at
        assert 3_500 < (run.resume_at - bench.clock.now()).total_seconds() <= 3_600
        assert await bench.run_due() == 0
        bench.clock.move_to(run.resume_at)
    server.say = raw(whole(GOOD["2"]))
    await bench.drain()
    run = await bench.run(queued.id)
    assert (run.status, run.unchanged, run.error_slug) == ("succeeded", 6, None)
    assert (await bench.standing()).status == "active"
    assert len([one for one in server.asked if "after" not in one]) == 1


async def test_a_provider_that_limits_and_says_at_once_is_not_asked_at_once(victim: tuple[Bench, Hostile]) -> None:
    bench, server = victim
    server.say = raw(whole(b"", "Retry-After: 0", status="429 Too Many Requests"))
    (queued,) = await bench.request("people")
    await bench.run_due()
    run = await bench.run(queued.id)
    assert run.resume_at
    assert (run.resume_at - bench.clock.now()).total_seconds() > 3
    assert await bench.run_due() == 0


async def test_a_connection_that_is_reset_once_is_nothing_to_speak_of(victim: tuple[Bench, Hostile]) -> None:
    bench, server = victim
    left = [reset]

    async def say(after: str, out: asyncio.StreamWriter) -> None:
        how = left.pop() if left and after else raw(whole(GOOD["2"]))
        await how(after, out)

    server.say = say
    run = (await bench.sync("people"))["people"]
    assert (run.status, run.attempts, run.unchanged) == ("succeeded", 1, 6)


async def test_a_run_that_goes_on_again_and_again_has_an_end_too(
    victim: tuple[Bench, Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reading is far from its bound, but a limit ends it, and the next one begins where it stood."""
    bench, server = victim
    monkeypatch.setattr(sync, "MOST_PAGES", 12)
    limited = json.loads("[]")

    async def say(after: str, out: asyncio.StreamWriter) -> None:
        number = int(after or 0)
        if number % 4 == 3 and number not in limited:
            limited.append(number)
            out.write(whole(b"", "Retry-After: 60", status="429 Too Many Requests"))
        else:
            out.write(whole(page([person(f"n{number}")], str(number + 1))))

    server.say = say
    run = (await bench.sync("people"))["people"]
    assert (run.status, run.error_slug, run.removed) == ("partial", UNEXPECTED, 0)
    assert run.error_message == "Hostile does not come to an end: 12 pages were read in one run"
    assert run.attempts > 2
    assert set(await bench.entities("account")) >= SIX
