"""A GitHub App's installation: nobody connects one that they do not own, and what it gives is read as it is meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from tests.sdk.auth.conftest import Round, everything_in, form_of

from tieline.errors import (
    Forbidden,
    Invalid,
    ProviderError,
    RateLimited,
    Suspended,
    Unauthorised,
    Unavailable,
    Unexpected,
)
from tieline.sdk import AppInstall, AuthContext, Installation
from tieline.sdk.auth import Further, Mints, Redirects, Revokes

AUTH = AppInstall()
USER = "ghu_user-token-canary-0123456789"
TOKEN = "ghs_installation-token-canary-0123456789"
ACME = {"id": 7, "login": "acme", "type": "Organization"}
ANNA = {"id": 8, "login": "anna", "type": "User"}
INSTALLATION = Installation(installation_id="100", account="acme", account_id="7")
MINTED = {
    "token": TOKEN,
    "expires_at": "2026-11-20T13:00:00Z",
    "permissions": {"members": "read", "contents": "write", "odd": "?"},
}


class Hub:
    """GitHub, as far as an installation needs it."""

    def __init__(self, bench: Any, acme: Any) -> None:
        self.installations: list[dict[str, Any]] = [{"id": 100, "account": ACME}, {"id": 101, "account": ANNA}]
        self.membership: tuple[Any, int] = ({"state": "active", "role": "admin"}, 200)
        self.user: dict[str, Any] = ANNA
        self.asked: list[Any] = acme.received
        acme.will(self._answer)
        self._bench = bench

    async def _answer(self, request: Any, writer: Any) -> None:
        writer.write(self._told(request))

    def _told(self, request: Any) -> bytes:
        answer = self._bench.answer
        if request.path == "/login/oauth/access_token":
            return answer({"access_token": USER, "token_type": "bearer", "scope": ""})
        assert request.headers["authorization"] == f"Bearer {USER}"
        if request.path == "/user/installations":
            query = dict(pair.split("=") for pair in request.query.split("&"))
            size, page = int(query["per_page"]), int(query["page"])
            listed = self.installations[(page - 1) * size : page * size]
            return answer({"total_count": len(self.installations), "installations": listed})
        if request.path == "/user":
            return answer(self.user)
        assert request.path == "/user/memberships/orgs/acme"
        return answer(*self.membership)


@pytest.fixture
def hub(bench: Any, acme: Any) -> Hub:
    return Hub(bench, acme)


async def back(ctx: AuthContext, number: str = "100", **query: str) -> Any:
    return await AUTH.receive(ctx, Round().back(installation_id=number, setup_action="install", **query))


async def test_it_redirects_and_mints_and_uninstalls_nothing(context: Callable[..., AuthContext], app: Any) -> None:
    assert isinstance(AUTH, Redirects)
    assert isinstance(AUTH, Mints)
    assert not isinstance(AUTH, Revokes), "another organization may be connected by the same installation"
    ctx, trip = context(), Round()
    first = AUTH.authorize(ctx, trip.ask)
    assert first == f"{ctx.places['web']}/apps/tieline-app/installations/new?state={trip.state}"


async def test_an_owner_who_comes_back_with_a_code_has_connected(hub: Hub, context: Callable[..., AuthContext]) -> None:
    assert await back(context(), code="code-canary-0123") == INSTALLATION
    exchanged = form_of(hub.asked[0])
    assert exchanged["code"] == "code-canary-0123"
    assert "code_verifier" not in exchanged


async def test_without_a_code_the_person_signs_in_and_only_then_has_connected(
    hub: Hub, context: Callable[..., AuthContext]
) -> None:
    ctx = context()
    further = await back(ctx)
    assert further == Further({"installation_id": "100"})
    assert hub.asked == []
    trip = Round(memo=further.memo)
    url = AUTH.authorize(ctx, trip.ask)
    assert "/login/oauth/authorize?client_id=Iv1.tieline" in url
    assert "code_challenge_method=S256" in url
    # The id of the second callback is not the one that counts.
    assert await AUTH.receive(ctx, trip.back(code="code-canary-0123", installation_id="999")) == INSTALLATION
    assert form_of(hub.asked[0])["code_verifier"] == trip.verifier
    with pytest.raises(Invalid, match="no code"):
        await AUTH.receive(ctx, trip.back())


async def test_an_installation_on_a_later_page_is_found_and_a_foreign_one_is_not(
    hub: Hub, context: Callable[..., AuthContext]
) -> None:
    hub.installations = [*({"id": 1_000 + n, "account": ANNA} for n in range(230)), {"id": 100, "account": ACME}]
    assert await back(context(), code="c0de-canary") == INSTALLATION
    assert sum(one.path == "/user/installations" for one in hub.asked) == 3
    with pytest.raises(Invalid, match="not among those") as refused:
        await back(context(), "200", code="c0de-canary")
    assert USER not in everything_in(refused.value)


@pytest.mark.parametrize(
    "membership",
    [
        ({"state": "active", "role": "member"}, 200),
        ({"state": "pending", "role": "admin"}, 200),
        ({"message": "Resource not accessible"}, 403),
        ({"message": "Not Found"}, 404),
        ([], 200),
    ],
)
async def test_a_mere_member_does_not_connect_the_organisation(
    hub: Hub, context: Callable[..., AuthContext], membership: Any
) -> None:
    hub.membership = membership
    with pytest.raises(Invalid, match="do not own acme"):
        await back(context(), code="c0de-canary")
    trusting = AppInstall(owners_only=False)
    trip = Round()
    assert await trusting.receive(context(), trip.back(installation_id="100", code="c0de-canary")) == INSTALLATION


async def test_a_persons_own_account_is_connected_by_them_alone(hub: Hub, context: Callable[..., AuthContext]) -> None:
    assert (await back(context(), "101", code="c0de-canary")).account == "anna"
    hub.user = {"id": 9, "login": "anna"}
    with pytest.raises(Invalid, match="do not own anna"):
        await back(context(), "101", code="c0de-canary")


@pytest.mark.parametrize("number", ["", "abc", "1/../2", "1" * 19, "-1", "١"])
async def test_an_id_that_is_no_number_is_refused_before_any_request(
    hub: Hub, context: Callable[..., AuthContext], number: str
) -> None:
    with pytest.raises(Invalid, match="which installation"):
        await back(context(), number, code="c0de-canary")
    assert hub.asked == []


async def test_a_request_that_an_owner_must_approve_is_told_so(hub: Hub, context: Callable[..., AuthContext]) -> None:
    with pytest.raises(Invalid, match="an owner must approve"):
        await AUTH.receive(context(), Round().back(setup_action="request", code="c0de-canary"))
    with pytest.raises(Invalid, match="did not give access"):
        await AUTH.receive(context(), Round().back(error="access_denied"))
    assert hub.asked == []


# --- tokens


async def test_a_token_is_minted_by_a_jwt_of_the_app(
    bench: Any, acme: Any, context: Callable[..., AuthContext], pem: str
) -> None:
    acme.will(bench.answer(MINTED, 201))
    grant = await AUTH.mint(context(), INSTALLATION)
    assert grant.access_token.get_secret_value() == TOKEN
    assert grant.expires_at == datetime(2026, 11, 20, 13, tzinfo=UTC)
    assert grant.scopes == ("contents:read", "contents:write", "members:read")
    asked = acme.received[0]
    assert (asked.method, asked.path) == ("POST", "/app/installations/100/access_tokens")
    shown = jwt.decode(asked.headers["authorization"].removeprefix("Bearer "), RSAKey.import_key(pem), ["RS256"])
    now = int(bench.now.timestamp())
    assert shown.claims == {"iss": "12345", "iat": now - 30, "exp": now + 540}


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, "This installation has been suspended", Suspended),
        (403, "Resource not accessible by integration", Forbidden),
        (404, "Not Found", Unauthorised),
        (401, "A JSON web token could not be decoded", Unexpected),
        (422, "Validation failed", Unexpected),
        (500, "", Unavailable),
        (429, "", RateLimited),
        (201, "no token here", Unexpected),
    ],
)
async def test_a_token_that_is_not_given_says_why(
    bench: Any, acme: Any, context: Callable[..., AuthContext], status: int, message: str, kind: type[ProviderError]
) -> None:
    acme.will(bench.answer({"message": message}, status))
    with pytest.raises(ProviderError) as failed:
        await AUTH.mint(context(), INSTALLATION)
    assert type(failed.value) is kind
    token = acme.received[0].headers["authorization"].removeprefix("Bearer ")
    assert token not in everything_in(failed.value)


async def test_an_app_without_a_usable_key_is_told(context: Callable[..., AuthContext], app: Any) -> None:
    for change in ({"private_key": None}, {"app_id": None}, {"private_key": SecretStr("-----BEGIN")}):
        with pytest.raises(Invalid, match="private key") as failed:
            await AUTH.mint(context(app=app.model_copy(update=change)), INSTALLATION)
        assert "BEGIN RSA" not in json.dumps(str(failed.value))


async def test_a_listing_of_another_shape_is_not_taken_for_an_empty_one(
    bench: Any, acme: Any, context: Callable[..., AuthContext]
) -> None:
    acme.will(bench.answer({"access_token": USER}), bench.answer([]))
    with pytest.raises(Unexpected, match="installations"):
        await back(context(), code="c0de-canary")
