"""The OAuth sides of six services on the loopback, as the npm package `emulate` plays them; `oauth.mjs` runs them as they are.

Left alone they take any token for the first person's, so that tests may only conclude from what a token endpoint answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from tests.emulators.emulate import PACKAGE
from tests.emulators.npm import MissingCounterpartError, run_script

from tieline.sdk import OAuthApp

REDIRECT = "http://127.0.0.1:8750/callback"
PERSON = "anna@acme.test"
INSTALLATION = 100
FOREIGN_INSTALLATION = 200


@dataclass(frozen=True)
class Services:
    """Their URLs by name, and the app that each of them knows."""

    urls: dict[str, str]
    apps: dict[str, OAuthApp]


@contextmanager
def start_services() -> Iterator[Services]:
    """Run them, each on a free port of 127.0.0.1; raises `MissingCounterpartError` without Node or the package."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    seed = _seed(pem)
    apps = {name: OAuthApp(client_id=name, client_secret=SecretStr(_secret(name))) for name in seed}
    apps["github"] = apps["github"].model_copy(
        update={"private_key": SecretStr(pem), "app_id": "12345", "slug": "tieline-app"}
    )
    with run_script(Path(__file__).with_suffix(".mjs"), PACKAGE, {"seed": seed}) as urls:
        yield Services(urls, apps)


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """The services, or a skip that says what is missing."""
    try:
        with start_services() as started:
            yield started
    except MissingCounterpartError as error:
        pytest.skip(str(error))


def _secret(name: str) -> str:
    return f"{name}-secret-canary-0123456789"


def _client(name: str, **more: Any) -> list[dict[str, Any]]:
    client = {"client_id": name, "client_secret": _secret(name), "name": "Tieline", "redirect_uris": [REDIRECT]}
    return [client | more]


def _seed(pem: str) -> dict[str, Any]:
    people = [{"email": PERSON, "name": "Anna"}]
    okta_person = {
        "okta_id": "00u1",
        "login": PERSON,
        "email": PERSON,
        "first_name": "A",
        "last_name": "B",
        "status": "ACTIVE",
    }
    return {
        "github": {
            "users": [{"login": "anna", "name": "Anna", "email": PERSON}],
            "orgs": [
                {"login": name, "name": name, "members": [{"login": "anna", "role": "admin"}]}
                for name in ("acme", "globex")
            ],
            "oauth_apps": _client("github"),
            "apps": [
                {
                    "app_id": 12345,
                    "slug": "tieline-app",
                    "name": "Tieline",
                    "private_key": pem,
                    "permissions": {"metadata": "read", "members": "read"},
                    "events": [],
                    "installations": [
                        {"installation_id": INSTALLATION, "account": "acme", "repository_selection": "all"},
                        {"installation_id": FOREIGN_INSTALLATION, "account": "globex", "repository_selection": "all"},
                    ],
                }
            ],
        },
        "google": {"users": people, "oauth_clients": _client("google")},
        "microsoft": {"users": people, "oauth_clients": _client("microsoft")},
        "okta": {
            "users": [okta_person],
            "authorization_servers": [{"id": "default", "name": "default", "audiences": ["api://default"]}],
            "oauth_clients": _client("okta", auth_server_id="default"),
        },
        "slack": {
            "team": {"name": "Acme", "domain": "acme"},
            "users": [{"name": "anna", "real_name": "Anna", "email": PERSON, "is_admin": True}],
            "oauth_apps": _client("slack", app_id="A1", scopes=["users:read", "team:read"], bot_name="tieline"),
        },
        "linear": {
            "organization": {"name": "Acme", "url_key": "acme"},
            "users": [{"email": PERSON, "name": "Anna", "admin": True}],
            "oauth_apps": _client("linear", scopes=["read"], actor="user"),
        },
    }
