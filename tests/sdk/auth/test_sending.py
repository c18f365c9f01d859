"""What auth asks outside of a provider's API, and how the client renews a credential and learns new secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from tests.sdk.auth.conftest import POLICY, everything_in

from tieline.errors import Invalid, Unauthorised, Unavailable, Unexpected
from tieline.sdk import AuthContext, Context
from tieline.sdk.auth import make_send

SECRET = "sent-secret-canary/0123456789"


@pytest.mark.parametrize("status", [200, 204, 301, 307, 400, 401, 403, 404, 429, 500, 599])
async def test_every_status_is_an_answer_and_nothing_is_tried_again(bench: Any, acme: Any, status: int) -> None:
    acme.will(bench.raw(b"", status, location="http://127.0.0.1:1/elsewhere", retry_after="1"))
    send = make_send(POLICY, bench.clock, "Acme")
    for method in ("GET", "POST"):
        assert (await send(method, f"{acme.url}/token?x=1")).status == status
    assert [one.target for one in acme.received] == ["/token?x=1"] * 2


async def test_forms_json_and_headers_are_sent(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({}))
    send = make_send(POLICY, bench.clock, "Acme")
    await send("POST", acme.url, form={"a": "b c"}, headers={"X-One": "1"})
    await send("POST", acme.url, json={"a": 1})
    assert acme.received[0].body == b"a=b+c"
    assert acme.received[0].headers["x-one"] == "1"
    assert acme.received[1].json == {"a": 1}


async def test_what_is_too_large_or_never_comes_is_told_without_secrets(
    bench: Any, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tieline.sdk.auth.sending.DEADLINE", 0.2)

    async def hang(_request: Any, _writer: Any) -> None:
        await asyncio.sleep(3600)

    send = make_send(POLICY, bench.clock, "Acme")
    for reply, kind in ((bench.raw(b"x" * 1_100_000), Unexpected), (hang, Unavailable)):
        acme.will(reply)
        with pytest.raises(kind) as failed:
            await send("POST", f"{acme.url}/{SECRET}", form={"token": SECRET}, secrets=(SECRET,))
        assert SECRET not in everything_in(failed.value)


@pytest.mark.parametrize("url", ["http://10.0.0.7/", "file:///etc/passwd", "https://user@127.0.0.1/", "", "//x"])
async def test_only_allowed_addresses_are_asked(bench: Any, url: str) -> None:
    with pytest.raises(Invalid):
        await make_send(POLICY, bench.clock, "Acme")("GET", url)


async def test_recorded_answers_take_the_networks_place(bench: Any) -> None:
    class Recorded(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, stream=httpx2.ByteStream(b'"%s"' % str(request.url).encode()))

    send = make_send(POLICY, bench.clock, "Acme", transport=Recorded())
    assert (await send("GET", "https://login.example/token")).json == "https://login.example/token"


# --- renewal


class Wallet:
    """A credential that can be renewed."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.renewals = 0

    def sign(self, request: httpx2.Request) -> None:
        request.headers["authorization"] = f"Bearer {self.tokens[0]}"

    async def renew(self) -> bool:
        self.renewals += 1
        if len(self.tokens) > 1:
            self.tokens.pop(0)
            return True
        return False


async def test_a_refused_request_is_made_once_more_with_the_renewed_credential(bench: Any, acme: Any) -> None:
    wallet = Wallet("old", "new", "newer")
    http = bench.client(acme.url, sign=wallet.sign, renew=wallet.renew)
    acme.will(bench.answer({}, 401), bench.answer({"n": 1}))
    assert await http.post_json("/things", {"a": 1}) == {"n": 1}
    assert [one.headers["authorization"] for one in acme.received] == ["Bearer old", "Bearer new"]
    assert {one.body for one in acme.received} == {b'{"a":1}'}
    acme.will(bench.answer({}, 401))
    with pytest.raises(Unauthorised):
        await http.get_json("/things")
    assert (wallet.renewals, len(acme.received)) == (2, 4)


async def test_a_credential_that_cannot_be_renewed_is_refused_at_once(bench: Any, acme: Any) -> None:
    wallet = Wallet("only")
    acme.will(bench.answer({}, 401))
    http = bench.client(acme.url, sign=wallet.sign, renew=wallet.renew)
    with pytest.raises(Unauthorised):
        await http.get_json("/things")
    assert (wallet.renewals, len(acme.received)) == (1, 1)
    with pytest.raises(Unauthorised):
        await bench.client(acme.url).get_json("/things")


async def test_only_a_refusal_renews(bench: Any, acme: Any) -> None:
    wallet = Wallet("old", "new")
    http = bench.client(acme.url, sign=wallet.sign, renew=wallet.renew)
    for status in (400, 403, 404):
        acme.will(bench.answer({}, status))
        with pytest.raises(Exception, match="Acme"):
            await http.get_json("/things")
    acme.will(bench.answer({}, 401))
    assert (await http.request("GET", "/things", accept=(401,))).status == 401
    assert wallet.renewals == 0


async def test_a_dead_credential_that_cannot_even_sign_is_not_renewed(bench: Any, acme: Any) -> None:
    wallet = Wallet("old", "new")

    def refuse(_request: httpx2.Request) -> None:
        raise Unauthorised("the grant is dead")

    with pytest.raises(Unauthorised, match="the grant is dead"):
        await bench.client(acme.url, sign=refuse, renew=wallet.renew).get_json("/things")
    assert (wallet.renewals, acme.received) == (0, [])


async def test_a_renewal_is_not_cut_short_by_the_deadline(bench: Any, acme: Any) -> None:
    finished = []

    async def slowly() -> bool:
        await asyncio.sleep(0.3)
        finished.append(True)
        return True

    acme.will(bench.answer({}, 401), bench.answer({"n": 1}))
    http = bench.client(acme.url, renew=slowly, deadline=0.2)
    assert await http.get_json("/things") == {"n": 1}
    assert finished == [True]


async def test_a_secret_that_came_later_is_concealed_in_what_follows(bench: Any, acme: Any) -> None:
    acme.will(bench.answer({"echo": "first-canary second-canary third-canary"}, 400))
    http = bench.client(acme.url, secrets=["first-canary"])
    http.conceal("second-canary", "third-canary", "")
    http.conceal("second-canary")
    with pytest.raises(Unexpected) as failed:
        await http.get_json("/second-canary")
    assert "canary" not in everything_in(failed.value)


async def test_an_operation_asks_for_what_signs_now(bench: Any, acme: Any) -> None:
    async def fresh() -> str:
        return "fresh"

    def made(**how: Any) -> Context[Any]:
        http = bench.client(acme.url)
        return Context(options=None, credential="stored", http=http, policy=POLICY, clock=bench.clock, **how)

    assert await made().fresh() == "stored"
    assert await made(fresh=fresh).fresh() == "fresh"


async def test_a_context_fills_in_places(context: Callable[..., AuthContext], acme: Any) -> None:
    assert context().url("{web}/a/{api}", api="b c") == f"{acme.url}/a/b%20c"
