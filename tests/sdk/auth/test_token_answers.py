"""What token endpoints answer in the wild: every misbehaviour has its outcome, and no token is ever shown."""

from __future__ import annotations

import asyncio
import json
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.sdk.auth.conftest import Round, everything_in, form_of, make_context

from tieline.errors import Forbidden, Invalid, ProviderError, RateLimited, Unauthorised, Unavailable, Unexpected
from tieline.sdk import AuthContext, ClientCredentials, Grant, OAuth2, OAuthApp
from tieline.sdk.answers import Answer, Asked, Redactor
from tieline.sdk.auth.token_answer import (
    LONGEST_LIFE,
    Reading,
    read_answer,
    read_grant,
    read_lifetime,
    read_scopes,
    read_time,
)

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
TOKEN = "new-token-canary-0123456789"
REFRESH = "new-refresh-canary-0123456789"
OLD = "old-refresh-canary-0123456789"
SECRET = "client-secret-canary-0123456789"
GOOD = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
AUTH = OAuth2(authorize_url="{op}/auth", token_url="{op}/token", client_auth="body")


def grant(**fields: Any) -> Grant:
    told = {"refresh_token": OLD, "scopes": ("read",), "details": {"team": "T1"}} | fields
    return Grant(access_token=SecretStr("old-access-canary-0123456789"), **told)


def context(bench: Any, acme: Any) -> AuthContext:
    app = OAuthApp(client_id="tieline", client_secret=SecretStr(SECRET))
    return make_context({"op": acme.url}, app=app, clock=bench.clock)


def told(value: Any, status: int = 200, **headers: str) -> Answer:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Answer(Asked("Acme", "POST", "/token"), status, headers, body, NOW)


# --- good answers in odd forms


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600),
        ("3600", 3600),
        (" 3600 ", 3600),
        (3599.9, 3599),
        ("3600.0", 3600),
        (LONGEST_LIFE, LONGEST_LIFE),
        *((absent, None) for absent in (None, "", "soon", 0, -1, "-3600", True, [], {}, 1e300, "1e999", "nan")),
        *((absurd, None) for absurd in (LONGEST_LIFE + 1, 10**30, 1_795_000_000_000, "99999999999999999999")),
    ],
)
def test_a_lifetime_is_read_if_it_is_a_sensible_one(value: Any, seconds: int | None) -> None:
    assert read_lifetime(value) == seconds
    made = read_grant(told({**GOOD, "expires_in": value}), Reading())
    assert made.expires_at == (NOW + timedelta(seconds=seconds) if seconds else None)
    assumed = read_grant(told({**GOOD, "expires_in": value}), Reading(lifetime=7200))
    assert assumed.expires_at == NOW + timedelta(seconds=seconds or 7200)


@pytest.mark.parametrize(
    ("value", "scopes"),
    [
        ("read write", ("read", "write")),
        ("read,write", ("read", "write")),
        ("read, write  read", ("read", "write")),
        (["read", 7, "", "write"], ("read", "write")),
        ("", ()),
        ("https://graph.example/.default", None),  # which names none of those that it stands for
        (None, None),
        (7, None),
        ({"read": True}, None),
    ],
)
def test_scopes_are_read_however_they_are_separated(value: Any, scopes: tuple[str, ...] | None) -> None:
    assert read_scopes(value) == scopes
    assert read_grant(told({**GOOD, "scope": value}), Reading()).scopes == scopes


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER", "bot", "", None, 7, ["bearer"]])
def test_the_type_of_a_token_may_be_written_in_any_way(kind: Any) -> None:
    assert read_grant(told({**GOOD, "token_type": kind}), Reading()).access_token.get_secret_value() == TOKEN


@pytest.mark.parametrize("kind", ["DPoP", "mac", "pop"])
def test_a_token_that_is_bound_to_a_key_is_refused(kind: str) -> None:
    with pytest.raises(Unexpected, match="bound to a key"):
        read_grant(told({**GOOD, "token_type": kind}), Reading())


def test_a_form_is_read_like_json() -> None:
    body = urlencode({"access_token": TOKEN, "scope": "repo,user", "token_type": "bearer"}).encode()
    made = read_grant(told(body, content_type="application/x-www-form-urlencoded"), Reading())
    assert (made.access_token.get_secret_value(), made.scopes) == (TOKEN, ("repo", "user"))
    with pytest.raises(Unauthorised):
        read_grant(told(b"error=bad_verification_code&error_description=The+code"), Reading())


def test_names_may_be_dotted_and_details_are_kept() -> None:
    answer = {
        "ok": True,
        "access_token": "another-token",
        "team": {"id": "T1", "flag": True, "text": "a\nb", "long": "x" * 501, "number": 7},
        "authed_user": {"access_token": TOKEN, "refresh_token": REFRESH, "expires_in": 60, "scope": "a,b"},
    }
    keep = {name: f"team.{name}" for name in ("id", "flag", "text", "long", "number", "missing")}
    reading = Reading(token_at="authed_user.access_token", scope_at="authed_user.scope", keep=keep, ok_field="ok")
    made = read_grant(told(answer), reading)
    assert made.access_token.get_secret_value() == TOKEN
    assert made.refresh_token
    assert made.refresh_token.get_secret_value() == REFRESH
    assert (made.scopes, made.expires_at) == (("a", "b"), NOW + timedelta(seconds=60))
    assert made.details == {"id": "T1", "number": "7"}


def test_an_end_may_be_told_as_a_time() -> None:
    made = read_grant(
        told({"token": TOKEN, "expires_at": "2026-11-20T13:00:00Z"}), Reading("token", ends_at="expires_at")
    )
    assert made.expires_at == NOW + timedelta(hours=1)
    assert [read_time(odd) for odd in ("tomorrow", None, 7, "2026-11-20T13:00:00")] == [None] * 4


# --- the misbehaviours, over the wire

MISBEHAVIOURS: list[tuple[str, Any, type[Exception]]] = [
    ("HTML with 200", ("<html>Sign in</html>", 200), Unexpected),
    ("HTML with 403", ("<html>WAF</html>", 403), Forbidden),
    ("nothing with 200", ("", 200), Unexpected),
    ("no content", ("", 204), Unexpected),
    ("truncated JSON", (json.dumps({**GOOD, "refresh_token": REFRESH})[:-20], 200), Unexpected),
    ("a list", ([GOOD], 200), Unexpected),
    ("nested too deeply", ("[" * 500 + "]" * 500, 200), Unexpected),
    ("no access token", ({"token_type": "Bearer"}, 200), Unexpected),
    ("a token that is a number", ({**GOOD, "access_token": 7}, 200), Unexpected),
    ("a token that is empty", ({**GOOD, "access_token": ""}, 200), Unexpected),
    ("a token with a line break", ({**GOOD, "access_token": f"{TOKEN}\r\nx-evil: 1"}, 200), Unexpected),
    ("a token with NUL", ({**GOOD, "access_token": f"{TOKEN}\0"}, 200), Unexpected),
    ("a token beyond ASCII", ({**GOOD, "access_token": f"{TOKEN}ü"}, 200), Unexpected),
    ("a token of 30 kB", ({**GOOD, "access_token": TOKEN * 1_200}, 200), Unexpected),
    ("a refresh token that is an object", ({**GOOD, "refresh_token": {"value": REFRESH}}, 200), Unexpected),
    ("an answer of 2 MB", ({**GOOD, "padding": "x" * 2_000_000}, 200), Unexpected),
    ("an error with 200, as GitHub", ({"error": "bad_refresh_token", "error_description": OLD}, 200), Unauthorised),
    ("a dead grant", ({"error": "invalid_grant", "error_description": f"{OLD} is revoked"}, 400), Unauthorised),
    ("a dead grant with 401", ({"error": "invalid_grant"}, 401), Unauthorised),
    ("a dead grant with 403", ({"error": "invalid_grant"}, 403), Unauthorised),
    ("a dead grant in capitals", ({"error": "INVALID_GRANT"}, 400), Unauthorised),
    ("a refused app", ({"error": "invalid_client"}, 401), Unexpected),
    ("a refused app with 200", ({"error": "incorrect_client_credentials"}, 200), Unexpected),
    ("a 401 without a word", ("", 401), Unexpected),
    ("a forbidden app", ({"error": "unauthorized_client"}, 400), Unexpected),
    ("an unknown scope", ({"error": "invalid_scope"}, 400), Forbidden),
    ("an unregistered address", ({"error": "redirect_uri_mismatch"}, 400), Unexpected),
    ("an error object, as Google's", ({"error": {"code": 403, "status": "PERMISSION_DENIED"}}, 403), Forbidden),
    ("an error of another kind", ({"error": "invalid_request", "error_description": SECRET}, 400), Unexpected),
    ("an error that is a secret", ({"error": OLD}, 400), Unexpected),
    ("an error without a code", ({"error": ["?"]}, 400), Unexpected),
    ("a pause", ({"error": "temporarily_unavailable"}, 400), Unavailable),
    ("too many", ({"error": "slow_down"}, 400), RateLimited),
    ("429", ("", 429), RateLimited),
    ("429 with a dead grant", ({"error": "invalid_grant"}, 429), RateLimited),
    ("500 with a dead grant", ({"error": "invalid_grant"}, 500), Unavailable),
    ("503 in HTML", ("<html>down</html>", 503), Unavailable),
    ("408", ("", 408), Unavailable),
    ("a redirect", ("", 307), Unexpected),
    ("a page that is gone", ("", 404), Unexpected),
]


@pytest.mark.parametrize(
    ("answer", "kind"), [case[1:] for case in MISBEHAVIOURS], ids=[case[0] for case in MISBEHAVIOURS]
)
async def test_a_misbehaviour_has_its_outcome_and_shows_no_secret(
    bench: Any, acme: Any, answer: Any, kind: Any
) -> None:
    value, status = answer
    body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
    wait = {"retry_after": "40"} if kind is RateLimited else {}
    acme.will(bench.raw(body, status, location=f"https://attacker.example/?{OLD}", **wait))
    with pytest.raises(ProviderError) as failed:
        await AUTH.refresh(context(bench, acme), grant())
    assert type(failed.value) is kind
    shown = everything_in(failed.value)
    for secret in (TOKEN, REFRESH, OLD, SECRET):
        assert secret not in shown
    assert len(acme.received) == 1
    if isinstance(failed.value, RateLimited):
        assert failed.value.until == bench.now + timedelta(seconds=40)


async def test_a_refused_app_and_an_unregistered_address_come_with_advice(bench: Any, acme: Any) -> None:
    for code, advice in (("invalid_client", "operator"), ("redirect_uri_mismatch", "callback address")):
        acme.will(bench.answer({"error": code}, 400))
        with pytest.raises(Unexpected) as failed:
            await AUTH.refresh(context(bench, acme), grant())
        assert advice in failed.value.what_to_do


async def test_an_error_in_a_200_is_told_by_the_declared_field(bench: Any, acme: Any) -> None:
    slack = OAuth2(authorize_url="{op}/a", token_url="{op}/t", client_auth="body", ok_field="ok")
    acme.will(bench.answer({"ok": False, "error": "invalid_refresh_token", **GOOD}))
    with pytest.raises(Unauthorised):
        await slack.refresh(context(bench, acme), grant())
    acme.will(bench.answer({"ok": False, **GOOD}))
    with pytest.raises(Unexpected, match="unknown"):
        await slack.refresh(context(bench, acme), grant())


async def test_a_broken_connection_and_a_silent_server_are_outages(
    bench: Any, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tieline.sdk.auth.sending.DEADLINE", 0.2)

    async def vanish(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def hang(_request: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    for behaviour in (vanish, hang):
        acme.will(behaviour)
        with pytest.raises(Unavailable) as failed:
            await AUTH.refresh(context(bench, acme), grant())
        assert OLD not in everything_in(failed.value)
    assert len(acme.received) == 2


async def test_an_address_that_may_not_be_called_is_not(bench: Any, acme: Any) -> None:
    acme.will(bench.answer(GOOD))
    for url in ("http://10.0.0.7/token", "https://169.254.169.254/token", "ftp://example.com/token"):
        auth = OAuth2(authorize_url=url, token_url=url, client_auth="body")
        with pytest.raises(Invalid, match="address not allowed"):
            await auth.refresh(context(bench, acme), grant())


# --- what a refresh keeps, and what is sent


async def test_a_refresh_keeps_what_its_answer_leaves_out(bench: Any, acme: Any) -> None:
    acme.will(bench.answer(GOOD), bench.answer({**GOOD, "refresh_token": REFRESH, "scope": "read write"}))
    kept = await AUTH.refresh(context(bench, acme), grant())
    assert kept.refresh_token
    assert (kept.refresh_token.get_secret_value(), kept.scopes, kept.details) == (OLD, ("read",), {"team": "T1"})
    assert (kept.obtained_at, kept.expires_at) == (bench.now, bench.now + timedelta(hours=1))
    rotated = await AUTH.refresh(context(bench, acme), grant())
    assert rotated.refresh_token
    assert (rotated.refresh_token.get_secret_value(), rotated.scopes) == (REFRESH, ("read", "write"))


async def test_without_a_refresh_token_nothing_is_asked(bench: Any, acme: Any) -> None:
    with pytest.raises(Unauthorised, match="no refresh token"):
        await AUTH.refresh(context(bench, acme), grant(refresh_token=None))
    assert acme.received == []


async def test_a_client_shows_who_it_is_as_declared(bench: Any, acme: Any) -> None:
    acme.will(bench.answer(GOOD))
    ctx = context(bench, acme)
    how = {"authorize_url": "{op}/auth", "token_url": "{op}/token", "refresh_url": "{op}/refresh"}
    await OAuth2(**how, client_auth="basic", token_params={"resource": "at/{op}"}).refresh(ctx, grant())
    await OAuth2(**how, client_auth="body", token_json=True, token_headers={"acme-version": "7"}).refresh(ctx, grant())
    await OAuth2(**how, client_auth="none").refresh(ctx, grant())
    await OAuth2(**how, client_auth="federated").refresh(ctx, grant())
    basic, body, none, federated = acme.received
    assert {one.target for one in acme.received} == {"/refresh"}
    assert basic.headers["authorization"].startswith("Basic ")
    assert form_of(basic) == {"grant_type": "refresh_token", "refresh_token": OLD, "resource": f"at/{acme.url}"}
    assert body.json["client_secret"] == SECRET
    assert body.headers["acme-version"] == "7"
    assert form_of(none)["client_id"] == "tieline"
    assert "client_secret" not in form_of(none)
    assert form_of(federated)["client_assertion"].startswith("identity-token-canary")
    assert "authorization" not in federated.headers


async def test_a_provider_may_revoke_in_a_way_of_its_own(bench: Any, acme: Any) -> None:
    async def forget(ctx: AuthContext, grant: Grant) -> bool:
        token = grant.access_token.get_secret_value()
        return (await ctx.send("DELETE", ctx.url("{op}/grant"), json={"token": token})).status == 204

    acme.will(bench.raw(b"", 204), bench.raw(b"", 404))
    auth = OAuth2(authorize_url="{op}/a", token_url="{op}/t", revoke_by=forget)
    assert await auth.revoke(context(bench, acme), grant())
    assert not await auth.revoke(context(bench, acme), grant())
    assert acme.received[0].json == {"token": "old-access-canary-0123456789"}


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([("", 200), ("", 200)], True),
        ([({"error": "unsupported_token_type"}, 400), ({"error": "unsupported_token_type"}, 400)], False),
        ([({"error": "unsupported_token_type"}, 400), ("", 200)], True),
        ([({"error": "invalid_token"}, 400), ("", 200)], True),
        ([("", 503)], Unavailable),
        ([("", 429)], RateLimited),
        ([({"error": "invalid_client"}, 401)], Unexpected),
        ([("", 404)], Unexpected),
    ],
)
async def test_revocation_tells_the_refresh_token_then_the_access_token(
    bench: Any, acme: Any, replies: Any, expected: Any
) -> None:
    acme.will(*(bench.raw(json.dumps(body).encode() if body else b"", status) for body, status in replies))
    auth = OAuth2(authorize_url="{op}/a", token_url="{op}/t", revoke_url="{op}/revoke", client_auth="body")
    if not isinstance(expected, bool):
        with pytest.raises(expected) as failed:
            await auth.revoke(context(bench, acme), grant())
        assert OLD not in everything_in(failed.value)
        return
    assert await auth.revoke(context(bench, acme), grant()) is expected
    assert [form_of(one)["token_type_hint"] for one in acme.received] == ["refresh_token", "access_token"]


async def test_an_app_that_lacks_its_secret_is_told_before_anything_is_sent(bench: Any, acme: Any) -> None:
    for way, missing in (("basic", "client secret"), ("body", "client secret"), ("private_key_jwt", "private key")):
        auth = OAuth2(authorize_url="{op}/a", token_url="{op}/t", client_auth=way)  # type: ignore[arg-type]
        ctx = make_context({"op": acme.url}, app=OAuthApp(client_id="tieline"))
        with pytest.raises(Invalid, match=missing):
            await auth.refresh(ctx, grant())
    with pytest.raises(Invalid, match="no OAuth app"):
        await AUTH.refresh(make_context({"op": acme.url}), grant())
    assert acme.received == []


async def test_an_authorize_url_holds_what_is_declared_and_cannot_be_overridden(bench: Any, acme: Any) -> None:
    auth = OAuth2(
        authorize_url="{op}/auth?tenant={tenant}",
        token_url="{op}/t",
        scopes=("{op}/.default", "b"),
        scope_separator=",",
        authorize_params={"audience": "api.{tenant}", "state": "theirs", "prompt": "consent"},
    )
    ctx = make_context({"op": "https://acme.example", "tenant": "a b&c"}, app=OAuthApp(client_id="tie&line"))
    trip = Round()
    url = auth.authorize(ctx, trip.ask)
    assert url.startswith("https://acme.example/auth?tenant=a%20b%26c&")
    assert f"state={trip.state}" in url
    assert "theirs" not in url
    assert "scope=https%3A%2F%2Facme.example%2F.default%2Cb" in url
    assert "audience=api.a+b%26c" in url
    assert "client_id=tie%26line" in url


async def test_the_persons_own_client_that_is_refused_is_a_dead_credential(bench: Any, acme: Any) -> None:
    auth = ClientCredentials(token_url="{op}/token")
    given = auth.credential.model_validate({"client_id": "a", "client_secret": SECRET})
    for code in ("invalid_client", "unauthorized_client"):
        acme.will(bench.answer({"error": code}, 401))
        with pytest.raises(Unauthorised) as refused:
            await auth.mint(context(bench, acme), given)
        assert SECRET not in everything_in(refused.value)


# --- anything at all


def outcome(read: Callable[..., Any], *given: Any) -> Any:
    """What is read, or the error that a provider's answer may mean; any other is a bug."""
    try:
        return read(*given)
    except ProviderError as error:
        return error


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
_NAMES = st.sampled_from(
    ["access_token", "refresh_token", "expires_in", "scope", "token_type", "error", "error_description", "ok", "team"]
)
_VALUES = st.recursive(
    _LEAVES | st.sampled_from([TOKEN, "invalid_grant", "Bearer"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    _VALUES | st.dictionaries(_NAMES, _VALUES, max_size=8),
    st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 429, 503]),
)
def test_any_json_is_a_sound_grant_or_a_provider_error(value: Any, status: int) -> None:
    made = outcome(read_grant, told(json.dumps(value).encode(), status), Reading(keep={"team": "team"}, ok_field="ok"))
    if isinstance(made, ProviderError):
        told_by_them = str(value.get("error_description")) if isinstance(value, dict) else ""
        assert TOKEN not in everything_in(made) or TOKEN in told_by_them
        return
    assert 200 <= status < 300
    for token in made.secrets():
        assert token
        assert set(token) <= set(string.printable[:94])
    assert made.expires_at is None or NOW < made.expires_at <= NOW + timedelta(seconds=LONGEST_LIFE)


@given(st.binary(max_size=300), st.sampled_from([200, 400, 500]))
def test_any_bytes_are_read_or_refused_in_words(body: bytes, status: int) -> None:
    made = outcome(read_answer, told(body, status), Reading())
    assert isinstance(made, dict) or str(made).isprintable()


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=200))
def test_no_token_that_was_sent_is_ever_shown(secret: str) -> None:
    asked = Asked("Acme", "POST", "/token", redact=Redactor([secret]))
    for value in ({"error": secret}, {"error": "invalid_request", "error_description": f"no such token: {secret}"}):
        answer = Answer(asked, 400, {}, json.dumps(value).encode(), NOW)
        with pytest.raises(ProviderError) as failed:
            read_grant(answer, Reading())
        assert f'"{secret}"' not in json.dumps(failed.value.details["exchange"]["body"])
