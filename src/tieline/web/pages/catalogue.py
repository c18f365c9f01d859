"""Catalogue: what can be connected, what is read there, what is checked, and by which ways."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.catalog import Catalog, find_control
from tieline.flows.apps import app_fields
from tieline.flows.catalog_views import provider_row
from tieline.flows.views import JsonRow, connection_row
from tieline.sdk.auth import Auth, OAuthApp
from tieline.sdk.checks import Check
from tieline.sdk.provider import Provider
from tieline.store.connections import list_connections
from tieline.store.listing import Paging
from tieline.web.listing import MAX_ROWS, Column, Filter, Listed, answer_csv, read_asked
from tieline.web.page import AnyPage, ApiCall
from tieline.web.route import ConsoleRoute
from tieline.web.words import every, word

router = APIRouter(route_class=ConsoleRoute)

_APP_WORDS = {
    "client_id": "Client ID",
    "client_secret": "Client secret",
    "private_key": "Private key",
    "key_id": "Key ID",
    "app_id": "App ID",
    "slug": "Name in addresses",
}
_APP_WORDS_OF_KIND = {"role": {"client_id": "Access key ID", "client_secret": "Secret access key"}}

_COLUMNS = (
    Column("id", "id"),
    Column("name", "name"),
    Column("category", "category"),
    Column("reads", "reads"),
    Column("checks", "checks"),
    Column("ways", "ways"),
    Column("grade", "grade"),
)
GRADES = {
    "gold": "Proven against recorded answers: every way to connect, a check seen to pass and to fail, and a way to end it.",
    "silver": "Proven against recorded answers, with every way to connect.",
    "bronze": "Keeps the rules that every provider must keep.",
}
_WAYS = {
    "admin_consent": "Admin consent in {}",
    "app_install": "Install our app in {}",
    "oauth2": "Sign in at {}",
    "access_key": "Access key",
    "admin_key": "Admin key",
    "api_key": "API key",
    "api_token": "API token",
    "basic": "User name and API token",
    "client_credentials": "App with a secret",
    "federated": "Workload identity, without a secret",
    "role": "Role with an external ID",
    "service_account": "Service account key",
    "service_app": "Service app",
    "token": "Access token",
    "web_identity": "Role by web identity, without a secret",
    "workspace_token": "Workspace access token",
}


@router.get("/catalogue")
async def show_catalogue(page: AnyPage) -> Response:
    """List what can be connected."""
    catalog = page.parts.catalog
    categories = sorted({one.category for one in catalog.providers.values()})
    filters = (
        Filter("q", "Search"),
        Filter("category", "Category", [(c, word(c)) for c in categories]),
    )
    asked = read_asked(page.request.query_params, filters)
    rows = [
        row
        for one in sorted(catalog.providers.values(), key=lambda one: one.name.lower())
        if _fits(row := _row(catalog, one), asked.values["q"], asked.values["category"])
    ]

    async def fetch(_: Paging) -> JsonRow:
        return {"items": rows, "next": None}

    if asked.as_csv:
        return answer_csv("Catalogue", _COLUMNS, fetch)
    async with page.parts.db.work(page.org_id) as work:
        own = [one.provider for one in (await list_connections(work, Paging(limit=MAX_ROWS))).items]
    listed = Listed(asked, rows, None, _COLUMNS)
    return page.show(
        "pages/catalogue.html",
        title="Catalogue",
        listed=listed,
        rows=rows,
        own=own,
        grades=GRADES,
        api=ApiCall("/v1/providers"),
    )


@router.get("/catalogue/{slug}")
async def show_provider(page: AnyPage, slug: str) -> Response:
    """Show what is read, what is checked, and how it is connected."""
    catalog = page.parts.catalog
    provider = catalog.provider(slug)
    async with page.parts.db.work(page.org_id) as work:
        own = (await list_connections(work, Paging(limit=MAX_ROWS), provider=slug)).items
    return page.show(
        "pages/provider.html",
        title=provider.name,
        row=_row(catalog, provider),
        provider=provider,
        operations=[(one, every(one.every), sorted(one.kinds), sorted(one.needs)) for one in provider.operations],
        checks=[(one, [find_control(id) for id in one.controls]) for one in checks_of(catalog, provider)],
        ways=[(way_name(provider, auth), auth) for auth in provider.modes],
        hosts={**provider.hosts, **page.parts.hosts.get(slug, {})},
        own=[connection_row(one) for one in own],
        grades=GRADES,
        api=ApiCall(f"/v1/providers/{slug}"),
    )


def checks_of(catalog: Catalog, provider: Provider[Any]) -> list[Check]:
    """The checks that judge anything that is read from a provider, by title."""
    kinds = sorted({kind for operation in provider.operations for kind in operation.kinds})
    found = {one.id: one for kind in kinds for one in catalog.checks_for(provider.slug, kind)}
    return sorted(found.values(), key=lambda one: one.title)


def way_name(provider: Provider[Any], auth: Auth) -> str:
    """What a way to authenticate is called for people."""
    told = _WAYS.get(auth.slot) or _WAYS.get(auth.kind) or word(auth.slot)
    return told.format(provider.name)


def app_label(provider: Provider[Any], name: str) -> str:
    """What a field of an OAuth app is called at a provider."""
    kinds = {auth.kind for auth in provider.modes if app_fields(auth)}
    return next((words[name] for kind, words in _APP_WORDS_OF_KIND.items() if kinds == {kind}), _APP_WORDS[name])


def app_labels(provider: Provider[Any], names: Collection[str]) -> list[str]:
    """What these fields of an OAuth app are called, in the order in which a form asks for them."""
    return [app_label(provider, name) for name in OAuthApp.model_fields if name in names]


def _row(catalog: Catalog, provider: Provider[Any]) -> JsonRow:
    row = provider_row(provider, catalog.checks)
    kinds = sorted({kind for operation in provider.operations for kind in operation.kinds})
    return row | {"reads": [plural(one) for one in kinds], "checks": len(checks_of(catalog, provider))}


def plural(kind: str) -> str:
    """Entities of a kind in words: `access_key` is "access keys"."""
    one = kind.replace("_", " ")
    return f"{one[:-1]}ies" if one.endswith("y") and one[-2:-1] not in "aeiou" else f"{one}s"


def _fits(row: JsonRow, text: str | None, category: str | None) -> bool:
    if category and row["category"] != category:
        return False
    words = [row["name"], row["id"], row["description"], *row["reads"], *(one["title"] for one in row["operations"])]
    return all(part in " ".join(words).lower() for part in (text or "").lower().split())
