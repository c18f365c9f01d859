"""Six vendors at which people sign in, as npm `emulate` plays them behind `runner.mjs`, seeded with an invented company.

Unlike `oauth.py`, which has the OAuth sides as they are, an unknown or revoked token is refused here, and there is something to read.
What `additions.mjs` adds is ours: of Google's Directory API, Microsoft Graph and Entra's consent page there is nothing in `emulate`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.emulators.emulate import Counterpart, MissingCounterpartError, app_key, run_services

PUBLIC = "https://tieline.test"
"""Where the Tieline is that the vendors know."""
OWNER, MEMBER = "anna", "bert"
PEOPLE = tuple(f"{login}@acme.test" for login in (OWNER, MEMBER, "cleo"))
INSTALLATION, FOREIGN_INSTALLATION = "100", "200"
TENANT, OTHER_TENANT = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
STRANGER = "mallory@globex.test"
"""Administers the other tenant, and owns the other organization."""
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
SERVICE_APP = "okta-service-app"
SECRET = "emulated-client-secret-0123456789"
SLUGS = {
    "github": "github", "google": "google-workspace", "linear": "linear", "microsoft": "entra", "okta": "okta", "slack": "slack",
}  # fmt: skip


@pytest.fixture(scope="session")
def vendors_for_all() -> Iterator[dict[str, Counterpart]]:
    """The vendors, or a skip that says what is missing."""
    try:
        with run_services(_configuration()) as started:
            yield started
    except MissingCounterpartError as error:
        pytest.skip(str(error))


@cache
def service_key() -> tuple[str, str]:
    """The key of Okta's service app, private and public, in PEM."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def _configuration() -> dict[str, Any]:
    seed = {
        "github": _github(),
        "google": {"users": _people(), "oauth_clients": [_client("google")]},
        "linear": {
            "organization": {"name": "Acme", "url_key": "acme"},
            "users": [one | {"admin": one["email"] == PEOPLE[0]} for one in _people()],
            "teams": [{"key": "ENG", "name": "Engineering"}],
            "oauth_apps": [_client("linear") | {"scopes": ["read"], "actor": "user"}],
        },
        "microsoft": {
            "users": [
                *(one | {"tenant_id": TENANT} for one in _people()),
                {"email": STRANGER, "name": "Mallory", "tenant_id": OTHER_TENANT},
            ],
            "oauth_clients": [_client("microsoft")],
        },
        "okta": _okta(),
        "slack": {
            "team": {"name": "Acme", "domain": "acme"},
            "users": [
                {"name": email.partition("@")[0], "real_name": email, "email": email, "is_admin": email == PEOPLE[0]}
                for email in PEOPLE
            ],
            "oauth_apps": [_client("slack") | {"app_id": "A1", "bot_name": "tieline"}],
        },
    }
    return {
        "services": sorted(seed),
        "seed": seed,
        "without_second_factor": [MEMBER],
        "service_apps": {SERVICE_APP: {"public_key": service_key()[1], "client_secret": SECRET}},
        "tenants": {TENANT: {"name": "Acme"}, OTHER_TENANT: {"name": "Globex"}},
        "roles": {PEOPLE[0]: [GLOBAL_ADMINISTRATOR], STRANGER: [GLOBAL_ADMINISTRATOR]},
    }


def _people() -> list[dict[str, Any]]:
    return [{"email": email, "name": email.partition("@")[0].title()} for email in PEOPLE]


def _client(service: str) -> dict[str, Any]:
    redirect = f"{PUBLIC}/v1/oauth/callback/{SLUGS[service]}"
    return {"client_id": f"tieline-{service}", "client_secret": SECRET, "name": "Tieline", "redirect_uris": [redirect]}


def _github() -> dict[str, Any]:
    logins = [email.partition("@")[0] for email in PEOPLE]
    members = [{"login": login, "role": "admin" if login == OWNER else "member"} for login in logins]
    installations = [(INSTALLATION, "acme"), (FOREIGN_INSTALLATION, "globex")]
    app = {
        "app_id": 12345, "slug": "tieline", "name": "Tieline", "private_key": app_key(), "events": [],
        "setup_url": f"{PUBLIC}/v1/oauth/callback/github",
        "permissions": {"metadata": "read", "members": "read", "administration": "read"},
        "installations": [
            {"installation_id": int(number), "account": account, "repository_selection": "all"}
            for number, account in installations
        ],
    }  # fmt: skip
    return {
        "users": [{"login": login} for login in (*logins, "mallory")],
        "orgs": [
            {"login": "acme", "name": "Acme", "members": members},
            {"login": "globex", "name": "Globex", "members": [{"login": "mallory", "role": "admin"}]},
        ],
        "repos": [{"owner": "acme", "name": f"repo-{n}"} for n in range(3)],
        "oauth_apps": [_client("github")],
        "apps": [app],
    }


def _okta() -> dict[str, Any]:
    client = _client("okta") | {"auth_server_id": "org"}
    return {
        "users": [
            {
                "okta_id": f"00u{n:017d}", "login": email, "email": email, "first_name": email.partition("@")[0],
                "last_name": "Person", "status": "ACTIVE",
            }
            for n, email in enumerate(PEOPLE)
        ],
        "groups": [{"okta_id": f"00g{0:017d}", "name": "Staff"}],
        "apps": [{"okta_id": f"0oa{0:017d}", "name": "app"}],
        "oauth_clients": [client, client | {"client_id": SERVICE_APP}],
    }  # fmt: skip
