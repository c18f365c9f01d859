"""An OpenID provider on the loopback: the certified npm package `oidc-provider`, run by `oidc.mjs`, and a person for it.

PKCE is required, refresh tokens rotate and kill their grant when one is used twice, callbacks carry `iss`, tokens can be revoked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from tests.emulators.npm import MissingCounterpartError, run_script
from tests.emulators.person import walk

from tieline.sdk import OAuthApp

PACKAGE = "oidc-provider@9.13.3"
REDIRECT = "http://127.0.0.1:8750/callback"
SCOPES = ("profile", "read", "write")
TENANT = "11111111-2222-4333-8444-555555555555"
CLAIMS = {
    "anna": {"tid": TENANT, "oid": "anna", "wids": ["62e90394-69f5-4237-9190-012177145e10"]},
    "bert": {"tid": TENANT, "oid": "bert", "wids": ["b79fbf4d-3ef9-4689-8143-76b194e85509"]},
    "carl": {"tid": "99999999-2222-4333-8444-555555555555", "wids": ["62e90394-69f5-4237-9190-012177145e10"]},
    "dora": {"email": "dora@example.com", "email_verified": True, "name": "Dora"},
    "emil": {"email": "emil@example.com", "email_verified": True},
    "finn": {"email": "finn@example.com", "email_verified": False},
}
"""What the ID token says of some people: Anna administers the tenant, Bert only works there, Carl administers another; of Dora,
Emil and Finn it says an address, which of Finn is not verified."""


@dataclass(frozen=True)
class Oidc:
    """The running provider, its clients by the way in which they show who they are, and the strings by which a test pulls it."""

    issuer: str
    apps: dict[str, OAuthApp]

    def walk(self, url: str, *, login: str = "anna", decline: bool = False) -> dict[str, str]:
        """Sign in and consent as a person would, or decline; what the callback's query is."""
        return walk(url, login=login, decline=decline)

    def allow_redirects(self, *uris: str) -> None:
        """Let the clients use these redirect addresses, and no others."""
        self._control("redirects", {"uris": uris})

    def let_last(self, **seconds: int) -> None:
        """How long what is issued from now on lasts: `let_last(AccessToken=2)`."""
        self._control("ttl", seconds)

    def fail(self, *rules: dict[str, Any]) -> None:
        """Answer or delay requests as the rules say; `oidc.mjs` tells what a rule may hold."""
        self._control("faults", {"rules": rules})

    def reset(self) -> None:
        """No faults, an empty log, the first lifetimes and redirect address."""
        self._control("reset")
        self.allow_redirects(REDIRECT)

    def requests(self, path: str = "/token") -> list[dict[str, Any]]:
        """What was asked at a path since the last reset: `method`, `path`, `grant_type`, `status`."""
        with urlopen(f"{self.issuer}/_tb/log", timeout=30) as answer:
            return [one for one in json.load(answer)["requests"] if one["path"] == path]

    def _control(self, name: str, body: dict[str, Any] | None = None) -> None:
        with urlopen(Request(f"{self.issuer}/_tb/{name}", data=json.dumps(body or {}).encode()), timeout=30):
            pass


@contextmanager
def start_oidc(**ttl: int) -> Iterator[Oidc]:
    """Run it on a free port of 127.0.0.1; raises `MissingCounterpartError` without Node or the package."""
    key = RSAKey.import_key(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    clients = [_client(name, key) for name in _METHODS]
    told = {"clients": clients, "scopes": SCOPES, "ttl": {"AccessToken": 3600, **ttl}, "claims": CLAIMS}
    with run_script(Path(__file__).with_suffix(".mjs"), PACKAGE, told, quiet=True) as ready:
        pem = key.as_pem(private=True).decode()
        oidc = Oidc(ready["issuer"], {name: _app(name, pem) for name in _METHODS})
        oidc.reset()
        yield oidc


@pytest.fixture(scope="session")
def oidc_for_all() -> Iterator[Oidc]:
    """The provider, or a skip that says what is missing."""
    try:
        with start_oidc() as started:
            yield started
    except MissingCounterpartError as error:
        pytest.skip(str(error))


@pytest.fixture
def oidc(oidc_for_all: Oidc) -> Oidc:
    """The provider without faults, its log empty."""
    oidc_for_all.reset()
    return oidc_for_all


_METHODS = {
    "basic": "client_secret_basic",
    "body": "client_secret_post",
    "private_key_jwt": "private_key_jwt",
    "none": "none",
}


def _id(name: str) -> str:
    return f"tieline:{name}"  # with a colon, which the form encoding of basic authentication is for


def _secret(name: str) -> str:
    return f"{name}/secret+of%the client: {'x' * 20}"


def _client(name: str, key: RSAKey) -> dict[str, Any]:
    client: dict[str, Any] = {
        "client_id": _id(name),
        "token_endpoint_auth_method": _METHODS[name],
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token", *(["client_credentials"] if name != "none" else [])],
        "scope": " ".join(("openid", "offline_access", *SCOPES)),
    }
    if name == "private_key_jwt":
        public = {**key.as_dict(private=False), "kid": "client-key", "use": "sig", "alg": "RS256"}
        return client | {"jwks": {"keys": [public]}}
    return client if name == "none" else client | {"client_secret": _secret(name)}


def _app(name: str, pem: str) -> OAuthApp:
    if name == "private_key_jwt":
        return OAuthApp(client_id=_id(name), private_key=SecretStr(pem), key_id="client-key")
    return OAuthApp(client_id=_id(name), client_secret=None if name == "none" else SecretStr(_secret(name)))
