"""GitHub and Okta on the loopback: the npm package `emulate`, seeded with an invented company, run by `runner.mjs`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.emulators.npm import MissingCounterpartError, run_script

__all__ = ["Counterpart", "Emulated", "MissingCounterpartError", "start_emulate"]

PACKAGE = "emulate@0.12.2"  # npm's tag `latest` is an older package of the same name
ORGANIZATION = "acme"
OTHER_ORGANIZATION = "globex"
GITHUB_TOKEN = "gh-owner"
GITHUB_MEMBER_TOKEN = "gh-member"
GITHUB_STRANGER_TOKEN = "gh-stranger"
OKTA_TOKEN = "okta-admin"
REDIRECT_URI = "http://127.0.0.1:8000/v1/oauth/callback"
CLIENT_SECRET = "emulated-client-secret"
GITHUB_INSTALLATION = "100"
OKTA_STATUSES = ("ACTIVE", "SUSPENDED", "STAGED", "PROVISIONED", "DEPROVISIONED")
APPLICATIONS = 25


@dataclass(frozen=True)
class Counterpart:
    """One emulated service, and the strings by which a test pulls it."""

    url: str

    def reset(self) -> None:
        """Start anew from the seed: no faults, no revoked tokens, an empty log."""
        self._control("reset")

    def revoke(self, token: str) -> None:
        """Refuse this token from now on."""
        self._control("revoke", {"token": token})

    def fail(self, *rules: dict[str, Any]) -> None:
        """Answer requests as the rules say; `runner.mjs` tells what a rule may hold."""
        self._control("faults", {"rules": rules})

    def requests(self) -> list[str]:
        """What was asked since the last reset, as `GET /path?query`."""
        return [f"{entry['method']} {entry['path']}" for entry in self.log()]

    def log(self) -> list[dict[str, Any]]:
        """What was asked since the last reset: `method`, `path`, `grant` (the grant type of a token request), `status`."""
        with urlopen(f"{self.url}/_tb/log", timeout=30) as answer:
            requests: list[dict[str, Any]] = json.load(answer)["requests"]
            return requests

    def _control(self, name: str, body: dict[str, Any] | None = None) -> None:
        with urlopen(Request(f"{self.url}/_tb/{name}", data=json.dumps(body or {}).encode()), timeout=30):
            pass


@dataclass(frozen=True)
class Emulated:
    """The running services, and how many people they were seeded with."""

    github: Counterpart
    okta: Counterpart
    users: int

    @property
    def github_url(self) -> str:
        """The base URL of GitHub's API."""
        return self.github.url

    @property
    def okta_url(self) -> str:
        """The URL of the Okta org."""
        return self.okta.url

    def reset(self) -> None:
        """Start both anew from the seed."""
        self.github.reset()
        self.okta.reset()


@contextmanager
def start_emulate(users: int = 60) -> Iterator[Emulated]:
    """Run the services, each on a free port of 127.0.0.1; raises `MissingCounterpartError` without Node or the package."""
    with run_services(configuration(users)) as started:
        yield Emulated(**started, users=users)


@contextmanager
def run_services(configured: dict[str, Any]) -> Iterator[dict[str, Counterpart]]:
    """Run the services of a configuration (see `runner.mjs`), by name; raises `MissingCounterpartError`."""
    with run_script(Path(__file__).with_name("runner.mjs"), PACKAGE, configured) as urls:
        yield {name: Counterpart(url) for name, url in urls.items()}


def configuration(users: int) -> dict[str, Any]:
    """The seed: `users` people in each service, beside an owner at GitHub and a first user that Okta adds itself.

    Person *n* has no second factor at GitHub if 7 divides *n*, is in Okta's group *n* mod `users // 10`, and has the status
    *n* mod 5 of `OKTA_STATUSES`. Of the repositories, the odd are public. Everything of the other organization must stay unseen.
    """
    logins = [f"person{n:05d}" for n in range(users)]
    tokens = {
        GITHUB_TOKEN: {"login": "owner", "scopes": ["repo", "admin:org"]},
        GITHUB_MEMBER_TOKEN: {"login": logins[0], "scopes": ["repo", "read:org"]},
        GITHUB_STRANGER_TOKEN: {"login": "stranger", "scopes": ["repo"]},
        OKTA_TOKEN: {"login": "owner", "scopes": []},
    }
    return {
        "services": ["github", "okta"],
        "seed": {"tokens": tokens, "github": _github(logins), "okta": _okta(logins)},
        "without_second_factor": logins[::7],
    }


def _github(logins: list[str]) -> dict[str, Any]:
    people = [{"login": login, "name": f"Person {login[-5:]}", "email": f"{login}@acme.test"} for login in logins]
    owner = {"login": "owner", "role": "admin"}
    return {
        "users": [
            {"login": "owner", "name": "Olive Owner", "email": "owner@acme.test"},
            {"login": "stranger"},
            *people,
        ],
        "orgs": [
            {"login": ORGANIZATION, "name": "Acme", "members": [owner, *({"login": login} for login in logins)]},
            {"login": OTHER_ORGANIZATION, "name": "Globex", "members": [owner]},
        ],
        "repos": [
            *({"owner": ORGANIZATION, "name": f"repo-{n:04d}", "private": n % 2 == 0} for n in range(len(logins))),
            {"owner": OTHER_ORGANIZATION, "name": "must-not-leak", "private": True},
        ],
        "oauth_apps": [
            {
                "client_id": "emulated-github-app",
                "client_secret": CLIENT_SECRET,
                "name": "Tieline",
                "redirect_uris": [REDIRECT_URI],
            }
        ],
        "apps": [
            {
                "app_id": 12345,
                "slug": "tieline",
                "name": "Tieline",
                "private_key": app_key(),
                "permissions": {"metadata": "read", "members": "read", "administration": "read"},
                "events": [],
                "installations": [
                    {"installation_id": number, "account": account, "repository_selection": "all"}
                    for number, account in ((int(GITHUB_INSTALLATION), ORGANIZATION), (200, OTHER_ORGANIZATION))
                ],
            }
        ],
    }


@cache
def app_key() -> str:
    """The private key of the GitHub App, in PEM."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


def _okta(logins: list[str]) -> dict[str, Any]:
    groups = len(logins) // 10
    return {
        "users": [
            {
                "okta_id": f"00u{n:017d}",
                "login": f"{login}@acme.test",
                "email": f"{login}@acme.test",
                "first_name": "Person",
                "last_name": login[-5:],
                "status": OKTA_STATUSES[n % len(OKTA_STATUSES)],
            }
            for n, login in enumerate(logins)
        ],
        "groups": [{"okta_id": f"00g{n:017d}", "name": f"Group {n}"} for n in range(groups)],
        "group_memberships": [
            {"group_okta_id": f"00g{n % groups:017d}", "user_okta_id": f"00u{n:017d}"} for n in range(len(logins))
        ],
        "apps": [{"okta_id": f"0oa{n:017d}", "name": f"app-{n:02d}"} for n in range(APPLICATIONS)],
        "oauth_clients": [
            {
                "client_id": "emulated-okta-app",
                "client_secret": CLIENT_SECRET,
                "name": "Tieline",
                "redirect_uris": [REDIRECT_URI],
                "auth_server_id": "org",
            }
        ],
    }
