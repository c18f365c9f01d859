"""The one client: what it sends, what it makes of answers good and bad, what it never gives away."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tieline.errors import Forbidden, Invalid, RateLimited, TielineError, Unauthorised, Unavailable, Unexpected
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.answers import read_json
from tieline.sdk.limits import GENERIC, GITHUB, LINEAR, OKTA, LocalBudget, RateHeaders, Signal, Wait, waited

SECRET = "s3cr3t/+canary value"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def sign(request: httpx2.Request) -> None:
    request.headers["x-api-key"] = SECRET


async def hang(_request: Any, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def vanish(_request: Any, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def break_off(_request: Any, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"half": ')
    await writer.drain()
    writer.close()


async def drip(_request: Any, writer: asyncio.StreamWriter) -> None:
    """A chunked body without end, one byte at a time: no single read ever times out."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


# --- what is sent


async def test_a_path_goes_behind_the_base_url_and_absent_parameters_are_left_out(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({"ok": True}))
    http = bench.client(acme.url + "/api/v1/", sign=sign, headers={"Acme-Version": "7"})
    assert await http.get_json("/users", params={"a": 1, "b": None, "c": True, "d": ["x", "y"]}) == {"ok": True}
    got = acme.received[0]
    assert (got.method, got.path, got.query) == ("GET", "/api/v1/users", "a=1&c=true&d=x&d=y")
    assert (got.headers["x-api-key"], got.headers["acme-version"]) == (SECRET, "7")
    assert "cookie" not in got.headers


async def test_json_and_forms_are_posted_as_such(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}))
    http = bench.client(acme.url)
    await http.post_json("/a", {"n": 1})
    await http.request("POST", "/b", form={"grant_type": "x y"})
    assert acme.received[0].json == {"n": 1}
    assert acme.received[1].body == b"grant_type=x+y"
    assert acme.received[1].headers["content-type"] == "application/x-www-form-urlencoded"


async def test_an_awaitable_signer_is_awaited(bench: Any, acme: Any) -> None:
    async def later(request: httpx2.Request) -> None:
        await asyncio.sleep(0)
        request.headers["authorization"] = "Bearer x"

    acme.will(bench.answer({}))
    await bench.client(acme.url, sign=later).get_json("/")
    assert acme.received[0].headers["authorization"] == "Bearer x"


async def test_cookies_are_not_kept(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, set_cookie="id=1; path=/"))
    http = bench.client(acme.url)
    await http.get_json("/")
    await http.get_json("/")
    assert "cookie" not in acme.received[1].headers


@pytest.mark.parametrize("path", ["/a/../../admin", "/%2e%2e/admin", "/a/./b", "/a#b", "/a\\b", "/a\r\nX: y", "/a\x00"])
async def test_a_path_cannot_climb_or_break_out(bench: Any, acme: Any, path: str) -> None:
    with pytest.raises(Unexpected):
        await bench.client(acme.url + "/v1").get_json(path)
    assert acme.received == []


@pytest.mark.parametrize(
    "link", ["https://evil.example/x", "http://127.0.0.1:1/x", "http://u:p@{host}/x", "https://{host}/x"]
)
async def test_a_link_to_another_origin_is_refused(bench: Any, acme: Any, link: str) -> None:
    http = bench.client(acme.url, sign=sign)
    link = link.format(host=acme.url.removeprefix("http://"))
    for ask in (lambda: http.get_json(link), lambda: asyncio.to_thread(http.link, "/users", link)):
        with pytest.raises(Unexpected, match=r"^Acme's next link leaves its host"):
            await ask()
    assert acme.received == []


async def test_a_link_is_completed_and_loses_the_secret_that_it_echoes(bench: Any, acme: Any) -> None:
    http = bench.client(acme.url + "/v1", secrets=[SECRET])
    assert http.link("/users", "?page=2") == acme.url + "/v1/users?page=2"
    assert http.link("/users", "/v1/other?a=1") == acme.url + "/v1/other?a=1"
    echoed = acme.url + "/v1/users?" + str(httpx2.QueryParams({"key": SECRET, "page": "2"}))
    assert http.link("/users", echoed) == acme.url + "/v1/users?page=2"


def test_a_base_url_that_is_not_allowed_makes_no_client(bench: Any) -> None:
    with pytest.raises(Invalid, match="address not allowed"):
        bench.client("http://10.0.0.1/", policy=AddressPolicy())


async def test_a_credential_that_no_header_can_hold_is_told_without_showing_it(bench: Any, acme: Any) -> None:
    for value in (SECRET + "\r\nX-Other: 1", SECRET + "\0"):

        def bad(request: httpx2.Request, value: str = value) -> None:
            request.headers["x-api-key"] = value

        with pytest.raises(Invalid, match="characters that HTTP does not allow") as caught:
            await bench.client(acme.url, sign=bad).get_json("/")
        assert SECRET not in _everything(caught.value)
    assert acme.received == []


# --- statuses


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Unexpected), (401, Unauthorised), (402, Forbidden), (403, Forbidden), (404, Unexpected), (409, Unexpected),
     (410, Unexpected), (422, Unexpected), (429, RateLimited), (500, Unavailable), (503, Unavailable), (599, Unavailable),
     (300, Unexpected), (418, Unexpected)],
)  # fmt: skip
async def test_a_status_becomes_the_error_that_it_means(
    bench: Any, acme: Any, status: int, kind: type[TielineError]
) -> None:
    acme.will(bench.answer({"error": "no"}, status))
    with pytest.raises(kind, match=r"^Acme ") as caught:
        await bench.client(acme.url).get_json("/users/7", params={"email": "a@b.example"})
    assert type(caught.value) is kind
    assert acme.url not in str(caught.value)
    assert "a@b.example" not in _everything(caught.value)
    exchange = caught.value.details["exchange"]
    assert (exchange["method"], exchange["path"], exchange["params"]) == ("GET", "/users/7", ["email"])
    assert (exchange["status"], json.loads(exchange["body"])) == (status, {"error": "no"})


async def test_a_missing_scope_is_named(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 403, www_authenticate='Bearer error="insufficient_scope", scope="read:users"'))
    with pytest.raises(Forbidden) as caught:
        await bench.client(acme.url).get_json("/")
    assert caught.value.scope == "read:users"


async def test_what_is_missing_may_be_an_answer(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 404))
    http = bench.client(acme.url)
    assert await http.get_json("/x", missing=None) is None
    with pytest.raises(KeyError):
        await http.get_json("/x", missing=KeyError("x"))
    assert (await http.request("GET", "/x", accept=[404])).status == 404


async def test_a_no_content_answer_is_none(bench: Any, acme: Any) -> None:
    acme.will(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await bench.client(acme.url).request("DELETE", "/x")).json is None


# --- limits


LATER = datetime(2026, 11, 20, 12, 0, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "rate", "headers"),
    [
        (429, GENERIC, {"retry_after": "50"}),
        (429, GENERIC, {"retry_after": format_datetime(LATER, usegmt=True)}),
        (429, GENERIC, {"retry_after": "Friday, 20-Nov-26 12:00:50 GMT"}),
        (429, GENERIC, {"retry_after": "Fri Nov 20 12:00:50 2026"}),
        (429, GENERIC, {"ratelimit_reset": "50"}),
        (429, GENERIC, {"ratelimit_reset": str(int(LATER.timestamp()))}),
        (429, GITHUB, {"x_ratelimit_reset": str(int(LATER.timestamp())), "x_ratelimit_remaining": "0"}),
        (403, GITHUB, {"x_ratelimit_reset": str(int(LATER.timestamp())), "x_ratelimit_remaining": "0"}),
        (403, GITHUB, {"retry_after": "50", "x_ratelimit_remaining": "4000"}),
        (429, OKTA, {"x_rate_limit_reset": str(int(LATER.timestamp())), "x_rate_limit_remaining": "0"}),
        (400, LINEAR, {"x_ratelimit_requests_reset": str(int(LATER.timestamp() * 1000)), "x_ratelimit_requests_remaining": "0"}),
        # a provider whose clock is an hour ahead means its own time
        (429, GENERIC, {"retry_after": format_datetime(LATER + timedelta(hours=1), usegmt=True),
                        "date": format_datetime(LATER + timedelta(hours=1, seconds=-50), usegmt=True)}),
    ],
)  # fmt: skip
async def test_a_provider_that_limits_says_until_when(
    bench: Any, acme: Any, status: int, rate: RateHeaders, headers: dict[str, str]
) -> None:
    acme.will(bench.answer({}, status, **headers))
    with pytest.raises(RateLimited) as caught:
        await bench.client(acme.url, rate=rate).get_json("/")
    assert caught.value.until == LATER
    assert len(acme.received) == 1


@pytest.mark.parametrize(
    "value", ["soon", "-5", "1e9", "٣٠", "", "9" * 400, "Fri, 99 Foo 2026 12:00:00 GMT", "1;2", "0x10"]
)
async def test_a_malformed_wait_counts_as_none(bench: Any, acme: Any, value: str) -> None:
    reply = bench.answer({}, 429, retry_after="@", ratelimit_reset="@").replace(b"@", value.encode())
    acme.will(reply)
    with pytest.raises(RateLimited) as caught:
        await bench.client(acme.url).get_json("/")
    assert caught.value.until == bench.now + timedelta(seconds=60)


async def test_a_wait_is_never_longer_than_a_day(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 429, retry_after="99999999"))
    with pytest.raises(RateLimited) as caught:
        await bench.client(acme.url).get_json("/")
    assert caught.value.until == bench.now + timedelta(hours=24)


async def test_a_short_wait_is_slept_through_for_any_method(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 429, retry_after="2"), bench.answer({"ok": 1}))
    assert await bench.client(acme.url).post_json("/x", {}) == {"ok": 1}
    assert sum(bench.waits.seconds) >= 2
    assert len(acme.received) == 2


async def test_each_wait_is_told_once_with_its_cause_and_how_long_it_was(bench: Any, acme: Any) -> None:
    http = bench.client(acme.url)
    acme.will(bench.answer({}, 429, retry_after="2"), bench.answer({}, 503, retry_after="3"), bench.answer({}))
    await http.get_json("/")
    found = http.waits.take()
    # The budget learned of the limit, so that the second try waits for what is left of it.
    assert {one.cause for one in found} == {"limit", "retry"}
    told = waited(found)
    assert told["limit"] >= 2000
    assert told["retry"] >= 3000
    assert http.waits.take() == []


async def test_waiting_for_a_permit_is_a_wait_for_the_limit(bench: Any, acme: Any) -> None:
    budget = LocalBudget(bench.clock, sleep=bench.waits)
    await budget.learn(Signal(blocked_until=bench.now + timedelta(seconds=2)))
    http = bench.client(acme.url, budget=budget)
    acme.will(bench.answer({}))
    await http.get_json("/")
    assert waited(http.waits.take()) == {"limit": 2000, "retry": 0}
    await http.get_json("/")
    assert http.waits.take() == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["limit", "retry"]), st.integers(0, 50), st.integers(0, 50)).map(
            lambda one: Wait(
                one[0],
                NOON + timedelta(seconds=one[1]),
                NOON + timedelta(seconds=one[1] + one[2]),  # type: ignore[arg-type]
            )
        ),
        max_size=8,
    )
)
def test_what_was_waited_for_side_by_side_counts_once(waits: list[Wait]) -> None:
    seconds = {at for one in waits for at in range((one.begun - NOON).seconds, (one.ended - NOON).seconds)}
    assert sum(waited(waits).values()) == 1000 * len(seconds)


async def test_short_waits_are_counted_as_tries(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 429, retry_after="1"))
    with pytest.raises(RateLimited):
        await bench.client(acme.url, max_tries=3).get_json("/")
    assert len(acme.received) == 3


@pytest.mark.parametrize(
    "body", ["You have exceeded a secondary rate limit", "userRateLimitExceeded", "Quota exceeded"]
)
async def test_a_403_whose_body_says_too_many_is_a_limit(bench: Any, acme: Any, body: str) -> None:
    acme.will(bench.answer({"message": body}, 403))
    with pytest.raises(RateLimited) as caught:
        await bench.client(acme.url).get_json("/")
    assert caught.value.until == bench.now + timedelta(seconds=60)


async def test_callers_that_share_a_budget_all_stop_at_its_end(bench: Any, acme: Any) -> None:
    budget = LocalBudget(bench.clock, sleep=bench.waits)
    clients = [bench.client(acme.url, budget=budget) for _ in range(3)]
    acme.will(bench.answer({}, ratelimit_limit="100, 100;w=60", ratelimit_remaining="4", ratelimit_reset="30"))
    await clients[0].get_json("/")
    for n in range(4):
        await clients[n % 3].get_json("/")
    with pytest.raises(RateLimited) as caught:
        await clients[1].get_json("/")
    assert len(acme.received) == 5
    assert caught.value.until == bench.now + timedelta(seconds=30)
    bench.clock.at = caught.value.until
    await clients[1].get_json("/")


async def test_one_limited_answer_stops_the_others(bench: Any, acme: Any) -> None:
    budget = LocalBudget(bench.clock, sleep=bench.waits)
    acme.will(bench.answer({}, 429, retry_after="120"))
    for _ in range(2):
        with pytest.raises(RateLimited) as caught:
            await bench.client(acme.url, budget=budget).get_json("/")
        assert caught.value.until == bench.now + timedelta(seconds=120)
    assert len(acme.received) == 1


async def test_a_budget_hears_only_what_is_notable(bench: Any, acme: Any) -> None:
    heard: list[Signal] = []

    class Listening(LocalBudget):
        async def learn(self, signal: Signal) -> None:
            heard.append(signal)

    acme.will(
        bench.answer({}),
        bench.answer({}, ratelimit_limit="100", ratelimit_remaining="50", ratelimit_reset="30"),
        bench.answer({}, ratelimit_limit="100", ratelimit_remaining="19", ratelimit_reset="30"),
    )
    http = bench.client(acme.url, budget=Listening(bench.clock))
    for _ in range(3):
        await http.get_json("/")
    assert heard == [Signal(limit=100, remaining=19, reset_at=bench.now + timedelta(seconds=30))]


async def test_late_answers_do_not_give_permits_back(bench: Any) -> None:
    budget = LocalBudget(bench.clock, sleep=bench.waits)
    reset = bench.now + timedelta(seconds=60)
    await budget.learn(Signal(remaining=1, reset_at=reset))
    await budget.learn(Signal(remaining=5, reset_at=reset))
    await budget.take()
    with pytest.raises(RateLimited):
        await budget.take()


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "date", "ratelimit-reset", "ratelimit-remaining"]), st.text(max_size=40)
    )
)
def test_any_headers_give_a_wait_within_bounds_or_none(headers: dict[str, str]) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    wait = GENERIC.wait(headers, now)
    GENERIC.read(headers, now)
    assert wait is None or timedelta(0) <= wait <= timedelta(hours=24)


# --- failures and retries


@pytest.mark.parametrize(
    "failure", [vanish, break_off, b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n", b"nonsense\r\n\r\n"]
)
async def test_a_read_is_tried_again_after_a_failure(bench: Any, acme: Any, failure: Any) -> None:
    acme.will(failure, failure, failure, bench.answer({"ok": 1}))
    assert await bench.client(acme.url).get_json("/") == {"ok": 1}
    assert len(acme.received) == 4
    assert len(bench.waits.seconds) == 3
    assert all(0 <= seconds <= 5 for seconds in bench.waits.seconds)


@pytest.mark.parametrize("failure", [vanish, break_off, b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n"])
async def test_a_read_that_keeps_failing_is_given_up(bench: Any, acme: Any, failure: Any) -> None:
    acme.will(failure)
    with pytest.raises(Unavailable, match=r"^Acme "):
        await bench.client(acme.url).get_json("/")
    assert len(acme.received) == 4


@pytest.mark.parametrize("failure", [vanish, break_off, b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n"])
async def test_a_write_that_may_have_been_done_is_not_repeated(bench: Any, acme: Any, failure: Any) -> None:
    acme.will(failure)
    with pytest.raises(Unavailable):
        await bench.client(acme.url).post_json("/x", {})
    assert len(acme.received) == 1


async def test_a_write_declared_idempotent_is_repeated(bench: Any, acme: Any) -> None:
    acme.will(vanish, bench.answer({"ok": 1}))
    assert await bench.client(acme.url).post_json("/x", {}, idempotent=True) == {"ok": 1}


async def test_a_connection_that_is_refused_is_tried_again_for_any_method(bench: Any) -> None:
    gone = await bench.serve()
    server = await asyncio.start_server(gone.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(Unavailable, match=r"^Acme cannot be reached"):
        await bench.client(f"http://127.0.0.1:{port}").post_json("/x", {})
    assert len(bench.waits.seconds) == 3


async def test_a_long_outage_that_is_announced_is_not_waited_for(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 503, retry_after="600"))
    with pytest.raises(Unavailable) as caught:
        await bench.client(acme.url).get_json("/")
    assert caught.value.details["retry_at"] == bench.now + timedelta(seconds=600)
    assert len(acme.received) == 1


@pytest.mark.parametrize("behaviour", [hang, drip])
async def test_an_answer_that_does_not_end_is_given_up_at_the_deadline(bench: Any, acme: Any, behaviour: Any) -> None:
    acme.will(behaviour)
    with pytest.raises(Unavailable, match=r"within 0\.2 s"):
        await bench.client(acme.url, deadline=0.2, patience=5).get_json("/")
    assert len(acme.received) == 1


async def test_a_try_that_hangs_leaves_time_for_another(bench: Any, acme: Any) -> None:
    acme.will(hang, bench.answer({"ok": 1}))
    assert await bench.client(acme.url, patience=0.1).get_json("/") == {"ok": 1}


async def test_a_signer_is_asked_again_for_each_try(bench: Any, acme: Any) -> None:
    def count(request: httpx2.Request) -> None:
        request.headers["x-try"] = str(len(acme.received))

    acme.will(vanish, bench.answer({}))
    await bench.client(acme.url, sign=count).get_json("/")
    assert [received.headers["x-try"] for received in acme.received] == ["0", "1"]


# --- bodies


def packed(bench: Any, body: bytes, encoding: str = "gzip") -> bytes:
    return bench.raw(body, content_encoding=encoding)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (("<html>Login</html>", "text/html"), "HTML where JSON was expected"),
        (("  <!doctype html>", "application/json"), "HTML where JSON was expected"),
        (("", "application/json"), "nothing where JSON was expected"),
        (('{"a": [1, 2', "application/json"), "something that is not JSON"),
        (("{'a': 1}", "application/json"), "something that is not JSON"),
        (('{"a": NaN}', "application/json"), "something that is not JSON"),
        (("1e999", "application/json"), "something that is not JSON"),
        (('{"a": "\\ud800", "b": NaN}', "application/json"), "something that is not JSON"),
        (("[" * 101 + "]" * 101, "application/json"), "nested too deeply"),
        (("[" * 10_000 + "]" * 10_000, "application/json"), "nested too deeply"),
        (('["\\ud800",' + "[" * 10_000 + "]" * 10_000 + "]", "application/json"), "nested too deeply"),
        (('["\\ud800",' + "[" * 100 + "]" * 100 + "]", "application/json"), "nested too deeply"),
        ((('{"a":' * 101) + "1" + "}" * 101, "application/json"), "nested too deeply"),
    ],
)
async def test_what_is_not_json_is_told_for_what_it_is(
    bench: Any, acme: Any, reply: tuple[str, str], told: str
) -> None:
    acme.will(bench.raw(reply[0].encode(), kind=reply[1]))
    with pytest.raises(Unexpected, match=f"^Acme answered .*{told}"):
        await bench.client(acme.url).get_json("/")
    assert len(acme.received) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
async def test_json_in_another_charset_is_refused(bench: Any, acme: Any, encoding: str) -> None:
    acme.will(bench.raw('{"name": "Zoë"}'.encode(encoding), kind=f"application/json; charset={encoding}"))
    with pytest.raises(Unexpected, match="something that is not JSON"):
        await bench.client(acme.url).get_json("/")


async def test_a_byte_order_mark_is_passed_over(bench: Any, acme: Any) -> None:
    acme.will(bench.raw(b'\xef\xbb\xbf{"a": 18446744073709551615}'))
    assert await bench.client(acme.url).get_json("/") == {"a": 18446744073709551615}


async def test_characters_that_cannot_be_stored_are_replaced(bench: Any, acme: Any) -> None:
    acme.will(bench.raw(rb'{"a\u0000": ["x\u0000y", {"b": "\ud83d\ude00"}], "c": "\\u0000", "d": "\ud800z"}'))
    assert await bench.client(acme.url).get_json("/") == {
        "a\ufffd": ["x\ufffdy", {"b": "\U0001f600"}], "c": "\\u0000", "d": "\ufffdz"
    }  # fmt: skip


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(), st.lists, max_leaves=20))
def test_any_json_comes_back_as_it_was_but_for_what_cannot_be_stored(value: Any) -> None:
    def storable(found: Any) -> Any:
        if isinstance(found, str):
            return found.replace("\0", "\ufffd")
        return [storable(child) for child in found] if isinstance(found, list) else found

    assert read_json(json.dumps(value).encode()) == storable(value)


@pytest.mark.parametrize("depth", [1, 8, 12, 21, 99, 100, 101, 150])
@given(
    shapes=st.lists(st.sampled_from(["list", "map"]), min_size=1, max_size=3),
    before=st.text('[]{}"\\a', max_size=3),
    after=st.text('[]{}"\\a', max_size=3),
)
@example(shapes=["list"], before="]", after="[")
@example(shapes=["map"], before="}", after="{")
@example(shapes=["list"], before='"]', after='["')
@example(shapes=["list"], before='"]"', after='"["')
@example(shapes=["list"], before="\\", after="]\\")
def test_no_text_hides_how_deeply_json_is_nested(depth: int, shapes: list[str], before: str, after: str) -> None:
    value: Any = 1
    for level in range(depth):
        value = (
            [before, value, after]
            if shapes[level % len(shapes)] == "list"
            else {before: before, "deeper": value, after: after}
        )
    body = json.dumps(value).encode()
    if depth > 100:
        with pytest.raises(ValueError, match="nested too deeply"):
            read_json(body)
    else:
        assert read_json(body) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_a_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_json(body)


async def test_gzip_is_read(bench: Any, acme: Any) -> None:
    acme.will(packed(bench, gzip.compress(b'{"a": 1}')))
    assert await bench.client(acme.url).get_json("/") == {"a": 1}
    assert acme.received[0].headers["accept-encoding"] == "gzip"


async def test_a_decompression_bomb_is_not_blown_up(bench: Any, acme: Any) -> None:
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    assert len(bomb) < 100_000
    acme.will(packed(bench, bomb))
    with pytest.raises(Unexpected, match="more than 1 MiB"):
        await bench.client(acme.url, max_bytes=1024 * 1024).get_json("/")


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_is_too_large_is_not_read_on(bench: Any, acme: Any, chunked: bool) -> None:
    body = b'"' + b"x" * 2_000_000 + b'"'
    reply = bench.raw(body)
    if chunked:
        reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    acme.will(reply)
    with pytest.raises(Unexpected, match="more than 1 MiB"):
        await bench.client(acme.url, max_bytes=1024 * 1024).get_json("/")


async def test_a_body_of_exactly_the_limit_is_read(bench: Any, acme: Any) -> None:
    body = json.dumps("x" * 998).encode()
    acme.will(bench.raw(body), packed(bench, gzip.compress(body)))
    http = bench.client(acme.url, max_bytes=1000)
    assert await http.get_json("/") == await http.get_json("/") == "x" * 998


async def test_gzip_that_ends_too_early_is_tried_again(bench: Any, acme: Any) -> None:
    whole = gzip.compress(b'{"a": 1}')
    acme.will(packed(bench, whole[:-9]), packed(bench, whole))
    assert await bench.client(acme.url).get_json("/") == {"a": 1}
    assert len(acme.received) == 2


@pytest.mark.parametrize(
    ("body", "encoding", "told"),
    [(b"{}", "br", "not asked for"), (zlib.compress(b"{}"), "deflate", "not asked for"),
     (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", "not asked for"), (b"{}", "gzip", "broken gzip")],
    ids=["brotli", "deflate", "twice", "broken"],
)  # fmt: skip
async def test_other_encodings_are_refused(bench: Any, acme: Any, body: bytes, encoding: str, told: str) -> None:
    acme.will(packed(bench, body, encoding))
    with pytest.raises(Unexpected, match=told):
        await bench.client(acme.url).get_json("/")


# --- redirects


async def test_a_redirect_on_the_same_origin_keeps_the_credential(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 302, location="/new?x=1"), bench.answer({"ok": 1}))
    assert await bench.client(acme.url + "/v1", sign=sign).get_json("/old") == {"ok": 1}
    assert acme.received[1].target == "/new?x=1"
    assert acme.received[1].headers["x-api-key"] == SECRET


async def test_a_redirect_to_another_host_loses_the_credential(bench: Any, acme: Any) -> None:
    other = await bench.serve()
    acme.will(bench.answer({}, 307, location=other.url + "/stolen"))
    other.will(bench.answer({"ok": 1}))
    http = bench.client(acme.url, sign=sign, headers={"dd-application-key": SECRET})
    assert await http.get_json("/a", params={"q": "1"}, headers={"X-Other-Key": SECRET}) == {"ok": 1}
    assert acme.received[0].headers["x-api-key"] == acme.received[0].headers["x-other-key"] == SECRET
    assert SECRET not in str(other.received)
    assert other.received[0].headers["host"] == other.url.removeprefix("http://")


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest",
        "http://10.0.0.1/",
        "file:///etc/passwd",
        "https://127.0.0.2/",
        "http://a@127.0.0.1/",
    ],
)
async def test_a_redirect_to_a_refused_address_is_not_followed(bench: Any, acme: Any, location: str) -> None:
    acme.will(bench.answer({}, 302, location=location))
    with pytest.raises(Invalid, match="address not allowed"):
        await bench.client(acme.url).get_json("/")
    assert len(acme.received) == 1


async def test_redirects_end(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 302, location="/again"))
    with pytest.raises(Unexpected, match="more than 5 times"):
        await bench.client(acme.url).get_json("/")
    assert len(acme.received) == 6


async def test_a_write_is_not_redirected(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 307, location="/new"))
    with pytest.raises(Unexpected, match="only a read"):
        await bench.client(acme.url).post_json("/x", {})


@pytest.mark.parametrize("headers", [{}, {"location": "http://[::1"}])
async def test_a_redirect_to_nowhere_is_told(bench: Any, acme: Any, headers: dict[str, str]) -> None:
    acme.will(bench.answer({}, 302, **headers))
    with pytest.raises(Unexpected, match="no valid place"):
        await bench.client(acme.url).get_json("/")


# --- what is told and what is not


def _everything(error: BaseException) -> str:
    seen, parts = set(), []
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        parts += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment]
    return " ".join(parts)


async def test_no_secret_is_in_an_error_in_any_spelling(bench: Any, acme: Any) -> None:
    import base64
    from urllib.parse import quote, quote_plus

    forms = [SECRET, quote(SECRET, safe=""), quote_plus(SECRET), base64.b64encode(SECRET.encode()).decode()]
    body = {"echo": forms, "access_token": "unknown-to-us", "said": "Bearer unknown-to-us-either"}
    cut = bench.raw(b"x" * 1_990 + SECRET.encode(), 400, "text/plain")
    echoed = {"set_cookie": "unknown-to-us", "x_auth_token": "unknown-to-us", "x_echo": SECRET, "x_request_id": "r-1"}
    acme.will(bench.answer(body, 400, **echoed), cut)
    http = bench.client(acme.url, sign=sign, secrets=[SECRET])
    for path in (f"/hook/{quote(SECRET, safe='')}", "/b"):
        with pytest.raises(Unexpected) as caught:
            await http.get_json(path, params={"key": SECRET})
        told = _everything(caught.value)
        for form in (*forms, "unknown-to-us", SECRET[:9]):
            assert form not in told
        exchange = caught.value.details["exchange"]
        assert len(exchange["body"]) <= 2_000
        assert exchange["params"] == ["key"]
        assert "***" in str(exchange)


async def test_query_values_in_headers_are_not_told(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}, 400, link='<https://a.example/x?cursor=abc>; rel="next"', x_request_id="r-1"))
    with pytest.raises(Unexpected) as caught:
        await bench.client(acme.url).get_json("/")
    headers = caught.value.details["exchange"]["headers"]
    assert headers["link"] == '<https://a.example/x?…>; rel="next"'
    assert headers["x-request-id"] == "r-1"


async def test_nothing_of_an_exchange_is_logged(bench: Any, acme: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    acme.will(bench.answer({"body": "canary"}), bench.answer({"body": "canary"}, 400))
    http = bench.client(acme.url, sign=sign)
    await http.get_json("/", params={"q": "canary"})
    with pytest.raises(Unexpected):
        await http.get_json("/", params={"q": "canary"})
    assert "canary" not in caplog.text
    assert acme.url not in caplog.text
