"""What the tests of auth share: contexts over the real `Send`, and a person's round trip to a provider."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from tests.emulators.oauth import services  # noqa: F401  a fixture

from tieline.clock import Clock, SystemClock
from tieline.sdk import AuthContext, OAuthApp
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import Ask, Back, make_send

IDENTITY_TOKEN = "identity-token-canary.of.tieline"
POLICY = AddressPolicy.parse("127.0.0.1")


@dataclass(frozen=True)
class Round:
    """One round trip to a provider, with secrets of its own."""

    redirect_uri: str = "http://127.0.0.1:8750/callback"
    state: str = field(default_factory=lambda: f"state-{uuid4().hex}")
    verifier: str = field(default_factory=lambda: f"{uuid4().hex}{uuid4().hex}")
    nonce: str = field(default_factory=lambda: f"nonce-{uuid4().hex}")
    memo: Mapping[str, str] = field(default_factory=dict)

    @property
    def ask(self) -> Ask:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return Ask(self.redirect_uri, self.state, challenge, self.nonce, self.memo)

    def back(self, **query: str) -> Back:
        query.pop("state", None)
        return Back(query, self.redirect_uri, self.verifier, self.nonce, self.memo)


def make_context(
    places: Mapping[str, str] | None = None,
    *,
    app: OAuthApp | None = None,
    clock: Clock | None = None,
    external_id: str = "tieline-external-id",
) -> AuthContext:
    clock = clock or SystemClock()

    async def identity_token(audience: str) -> str:
        return f"{IDENTITY_TOKEN}.{audience}"

    send = make_send(POLICY, clock, "Acme")
    return AuthContext("Acme", places or {}, clock, send, identity_token, external_id=external_id, app=app)


def form_of(request: Any) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode(), strict_parsing=True))


def everything_in(error: BaseException) -> str:
    """All that an error says of itself anywhere."""
    details = json.dumps(getattr(error, "details", {}), default=str)
    return f"{error!r} {error} {details} {getattr(error, 'what_to_do', '')}"


@pytest.fixture(scope="session")
def pem() -> str:
    """An RSA private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture
def app(pem: str) -> OAuthApp:
    """An app that has everything."""
    return OAuthApp(
        client_id="Iv1.tieline",
        client_secret=SecretStr("client-secret-canary"),
        private_key=SecretStr(pem),
        app_id="12345",
        slug="tieline-app",
    )


@pytest.fixture
def context(bench: Any, acme: Any, app: OAuthApp) -> Callable[..., AuthContext]:
    """Make a context whose hosts are all the loopback, at a clock that stands still."""
    hosts = dict.fromkeys(("web", "api", "login", "graph", "oauth", "sts", "iamcredentials"), acme.url)

    def make(**how: Any) -> AuthContext:
        return make_context(hosts, **({"app": app, "clock": bench.clock} | how))

    return make
