"""Every way of the providers that come with Tieline on which a person signs in leads to the vendor's own page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.oauth.conftest import PUBLIC, Tenant, World

import tieline.providers
from tieline.catalog import Catalog, load_catalog
from tieline.flows.apps import save_app
from tieline.flows.authorize import Wish, begin, open_attempt
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.auth import Redirects

CATALOG: Catalog = load_catalog()
WAYS = [
    (slug, auth.slot)
    for slug, provider in CATALOG.providers.items()
    for auth in provider.modes
    if isinstance(auth, Redirects)
]
APP = {
    "client_id": "the-client", "client_secret": "s", "private_key": "-----BEGIN PRIVATE KEY-----", "key_id": "1", "app_id": "1",
    "slug": "the-app",
}  # fmt: skip


def options_of(slug: str) -> dict[str, Any]:
    """Options as the provider's fixtures have them."""
    case = Path(str(tieline.providers.__path__[0])) / slug.replace("-", "_") / "fixtures" / "case.json"
    options: dict[str, Any] = json.loads(case.read_text()).get("options", {}) if case.exists() else {}
    return options or {"okta": {"org_url": "https://acme.okta.com"}}.get(slug, {})


@pytest.mark.parametrize(("slug", "slot"), WAYS, ids=str)
async def test_a_person_is_sent_to_the_vendors_page(world: World, tenant: Tenant, slug: str, slot: str) -> None:
    parts = replace(world.parts, catalog=CATALOG, apps={}, hosts={}, policy=AddressPolicy())
    hosts = {name: value for name, value in options_of(slug).items() if name in ("org_url", "base_url")}
    await save_app(parts, tenant.org_id, slug, APP, hosts=hosts)
    begun = await begin(parts, tenant.org_id, Wish(slug, slot, options_of(slug)))
    onward = await open_attempt(parts, begun.url.rpartition("/")[2], None)
    url, query = urlsplit(onward.url), parse_qs(urlsplit(onward.url).query)
    assert url.scheme == "https"
    assert query["state"][0].startswith("s1.")
    assert query.get("redirect_uri", [f"{PUBLIC}/v1/oauth/callback/{slug}"]) == [f"{PUBLIC}/v1/oauth/callback/{slug}"]
    assert "{" not in onward.url


def test_there_are_such_ways() -> None:
    assert len(WAYS) >= 5
