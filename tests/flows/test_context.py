"""Whose OAuth app goes where: the operator's only to addresses that the vendor or the operator names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from tieline.catalog import load_catalog
from tieline.catalog.compile import compile_catalog
from tieline.flows.apps import app_fields, save_app
from tieline.flows.context import auth_context
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.sdk import Account, Identity, OAuth2, OAuthApp, Options, Provider
from tieline.store.organizations import Organization

OPERATORS = OAuthApp(client_id="the-operators", client_secret=SecretStr("of the operator"))
OWN = {"client_id": "its-own", "client_secret": "of the organization"}


class Where(Options):
    """Where the account is: a server of its own, a name among the vendor's hosts, and a name within a path."""

    web: str | None = None
    site: str | None = None
    tenant: str | None = None


def acme(authorize: str, token: str) -> Provider[Any]:
    """A provider with one way through its pages."""
    made: Provider[Any] = Provider(
        slug="acme",
        name="Acme",
        category="hr",
        base_url="{web}/api",
        hosts={"web": "https://vendor.example"},
        options=Where,
        auth=OAuth2(authorize_url=authorize, token_url=token),
        identity=Identity("/me", id="id", name="name"),
    )
    made.listing("people", "/people", into=Account.map(external_id="payload.id"), every="1h")
    return made


def over(parts: Parts, provider: Provider[Any], **hosts: str) -> Parts:
    """The parts of a Tieline whose operator has an app at this provider."""
    apps, given = {provider.slug: OPERATORS}, {provider.slug: hosts} if hosts else {}
    return replace(parts, catalog=compile_catalog([provider], ()), apps=apps, hosts=given)


async def client_of(
    parts: Parts, org_id: str, options: dict[str, Any], details: dict[str, str] | None = None
) -> str | None:
    """The client id of the app that a connection with these options works with."""
    provider = parts.catalog.provider("acme")
    context = await auth_context(
        parts, org_id, provider, provider.mode(), parse_options(provider, options), details or {}
    )
    return context.app.client_id if context.app else None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"web": "https://vendor.example"},
        {"web": "https://vendor.example/"},
        {"tenant": "ours"},
        {"site": "ours"},
    ],
)
async def test_the_operators_app_goes_to_the_vendor(
    parts: Parts, organization: Organization, options: dict[str, Any]
) -> None:
    here = over(parts, acme("{web}/{tenant}/authorize", "{web}/{tenant}/token"))
    assert await client_of(here, organization.id, options) == "the-operators"


@pytest.mark.parametrize(
    ("authorize", "token", "options"),
    [
        ("{web}/authorize", "{web}/token", {"web": "https://else.example"}),
        ("{web}/authorize", "{web}/token", {"web": "https://vendor.example:8443"}),
        ("{web}/authorize", "{web}/token", {"web": "http://vendor.example"}),
        ("{web}/authorize", "{web}/token", {"web": "https://vendor.example/evil"}),
        ("https://vendor.example/authorize", "{web}/token", {"web": "https://else.example"}),
        ("{web}/authorize", "https://vendor.example/token", {"web": "https://else.example"}),
        ("https://{site}.vendor.example/authorize", "https://{site}.vendor.example/token", {"site": "else"}),
        ("https://vendor.example/authorize", "https://{site}/token", {"site": "else.example"}),
    ],
)
async def test_where_a_connections_option_names_the_host_only_the_organizations_own_app_goes(
    parts: Parts, organization: Organization, authorize: str, token: str, options: dict[str, Any]
) -> None:
    here = over(parts, acme(authorize, token))
    for details in ({}, {"client_id": "the-operators"}):
        assert await client_of(here, organization.id, options, details) is None
    named = {name: value for name, value in options.items() if name in ("web", "site")}
    await save_app(here, organization.id, "acme", OWN, hosts=dict.fromkeys(named, "https://a-third.example"))
    assert await client_of(here, organization.id, options, {}) is None
    await save_app(here, organization.id, "acme", OWN, hosts=named)
    for details in ({}, {"client_id": "the-operators"}, {"client_id": "its-own"}):
        assert await client_of(here, organization.id, options, details) == "its-own"


async def test_an_address_that_the_operator_set_is_trusted_like_the_vendors(
    parts: Parts, organization: Organization
) -> None:
    here = over(parts, acme("{web}/authorize", "{web}/token"), web="https://sovereign.example")
    assert await client_of(here, organization.id, {}) == "the-operators"
    assert await client_of(here, organization.id, {"web": "https://sovereign.example/"}) == "the-operators"
    assert await client_of(here, organization.id, {"web": "https://vendor.example"}) is None


@pytest.mark.parametrize(
    ("slug", "options"),
    [
        ("gitlab", {"base_url": "https://gitlab.else.example", "group": "ours"}),
        ("okta", {"org_url": "https://else.example"}),
    ],
)
async def test_no_self_managed_server_gets_the_operators_app(
    parts: Parts, organization: Organization, slug: str, options: dict[str, Any]
) -> None:
    provider = load_catalog().provider(slug)
    here = replace(parts, apps={slug: OPERATORS})
    ways = [auth for auth in provider.modes if app_fields(auth)]
    assert ways
    for auth in ways:
        context = await auth_context(here, organization.id, provider, auth, parse_options(provider, options))
        assert context.app is None
        targets = [value for name, value in vars(auth).items() if name.endswith("_url") and isinstance(value, str)]
        assert any("else.example" in one.format_map(Blank(context.places)) for one in targets)


class Blank(dict[str, str]):
    """Places in which what is not known is blank."""

    def __missing__(self, name: str) -> str:
        return ""
