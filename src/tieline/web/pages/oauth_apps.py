"""OAuth apps: by which app Tieline is known at each provider that needs one, and the organization's own, set, changed and removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from tieline.errors import Conflict, Invalid, TielineError, VaultError
from tieline.flows import apps as flow
from tieline.flows.returns import callback_url
from tieline.flows.setup import app_row
from tieline.flows.views import JsonRow
from tieline.sdk.auth import Auth, OAuthApp, Redirects
from tieline.sdk.provider import Provider
from tieline.store.connections import list_connections
from tieline.store.listing import MAX_LIMIT, Paging
from tieline.store.oauth_apps import list_apps
from tieline.web.forms import errors_of, fields_of, read_values
from tieline.web.listing import Column, answer_csv
from tieline.web.page import AdminPage, ApiCall, Page
from tieline.web.pages.catalogue import app_label, app_labels, way_name
from tieline.web.route import ConsoleRoute

router = APIRouter(route_class=ConsoleRoute)

_COLUMNS = (
    Column("provider", "provider"),
    Column("name", "name"),
    Column("in force", "source"),
    Column("missing", "missing"),
    Column("client id", "client_id"),
    Column("fingerprint", "fingerprint"),
    Column("set", "updated_at"),
    Column("callback", "callback_url"),
    Column("made at", "app_url"),
)
_LINES = ("private_key",)


@router.get("/oauth-apps")
async def show_oauth_apps(page: AdminPage) -> Response:
    """List the providers that need an app, and whose is in force at each."""

    async def fetch(_paging: Paging) -> JsonRow:
        return {"items": await _rows(page), "next": None}

    if page.request.query_params.get("format") == "csv":
        return answer_csv("OAuth apps", _COLUMNS, fetch)
    api = ApiCall("/v1/providers/oauth-availability")
    return page.show("pages/oauth_apps.html", title="OAuth apps", rows=await _rows(page), api=api)


@router.get("/oauth-apps/{slug}")
async def show_oauth_app(page: AdminPage, slug: str) -> Response:
    """Show what is in force at a provider, and the form for the organization's own."""
    provider = page.parts.catalog.provider(slug)
    return await _show(page, provider) if _ways(provider) else _show_needless(page, provider)


@router.post("/oauth-apps/{slug}")
async def set_oauth_app(page: AdminPage, slug: str) -> Response:
    """Set the organization's own app, in the place of one that it had."""
    provider = page.parts.catalog.provider(slug)
    if not _ways(provider):
        return _show_needless(page, provider, status=422)
    given = read_values(_schema(provider), page.form)
    hosts = read_values(_host_schema(provider), page.form, prefix="hosts.")
    try:
        saved = await flow.save_app(page.parts, page.org_id, slug, given, hosts=hosts)
    except (Invalid, Conflict, VaultError) as error:
        return await _show(page, provider, given=given, hosts=hosts, error=error)
    told = f"{provider.name} knows your organization by the app {saved.client_id} from now on."
    return page.go(f"/oauth-apps/{slug}", told)


@router.post("/oauth-apps/{slug}/remove")
async def remove_oauth_app(page: AdminPage, slug: str) -> Response:
    """Destroy the organization's own app."""
    removed = await flow.remove_app(page.parts, page.org_id, slug)
    return page.go(f"/oauth-apps/{slug}", f"The app {removed.client_id} is destroyed here.")


def _ways(provider: Provider[Any]) -> list[Auth]:
    """Those of a provider's ways that need an app."""
    return [auth for auth in provider.modes if flow.app_fields(auth)]


async def _rows(page: Page) -> list[JsonRow]:
    """One row a provider: whose app is in force, what it lacks, and what of the organization's own may be shown."""
    found = await flow.app_availability(page.parts, page.org_id)
    async with page.parts.db.work(page.org_id) as work:
        own = {one.provider: app_row(one) for one in await list_apps(work)}
    rows = []
    for slug in dict.fromkeys(one.provider for one in found):
        provider, ways = page.parts.catalog.provider(slug), [one for one in found if one.provider == slug]
        redirects = any(isinstance(one.auth, Redirects) for one in ways)
        mine = own.get(slug, {})
        rows.append(
            {
                "provider": slug,
                "name": provider.name,
                "source": ways[0].source,
                "missing": app_labels(provider, {name for one in ways for name in one.missing})
                if ways[0].source
                else [],
                "ways": [(way_name(provider, one.auth), one, app_labels(provider, one.missing)) for one in ways],
                "client_id": mine.get("client_id"),
                "fingerprint": mine.get("fingerprint"),
                "version": mine.get("version"),
                "hosts": mine.get("hosts", {}),
                "updated_at": mine.get("updated_at"),
                "callback_url": callback_url(page.parts.public_url, slug) if redirects else None,
                "app_url": provider.app_url,
            }
        )
    return rows


def _schema(provider: Provider[Any]) -> dict[str, Any]:
    """The form of an app at a provider: what any of its ways needs; what all of them need is required."""
    ways = _ways(provider)
    every = set.intersection(*(set(flow.app_fields(auth)) for auth in ways))
    schema = OAuthApp.model_json_schema()
    properties = {}
    for name, one in schema["properties"].items():
        of = [way_name(provider, auth) for auth in ways if name in flow.app_fields(auth)]
        if of:
            about = "" if name in every else f"For: {', '.join(of)}."
            properties[name] = one | {
                "title": app_label(provider, name),
                "description": about,
                "multiline": name in _LINES,
            }
    return schema | {"properties": properties, "required": sorted(every)}


def _show_needless(page: Page, provider: Provider[Any], *, status: int = 200) -> Response:
    title = f"OAuth app at {provider.name}"
    return page.show("pages/oauth_app_needless.html", status=status, title=title, provider=provider)


def _host_schema(provider: Provider[Any]) -> dict[str, Any]:
    """The form of the options that name the server which an app belongs to."""
    known, needed = flow.server_options(provider)
    schema = provider.options.model_json_schema()
    properties = {name: one for name, one in schema.get("properties", {}).items() if name in known}
    return schema | {"properties": properties, "required": sorted(needed)}


async def _show(
    page: Page,
    provider: Provider[Any],
    *,
    given: Mapping[str, Any] | None = None,
    hosts: Mapping[str, Any] | None = None,
    error: TielineError | None = None,
) -> Response:
    row = next(one for one in await _rows(page) if one["provider"] == provider.slug)
    slots = {one.auth.slot for _, one, _ in row["ways"]}
    async with page.parts.db.work(page.org_id) as work:
        connected = (await list_connections(work, Paging(limit=MAX_LIMIT), provider=provider.slug)).items
    problems = errors_of(error) if isinstance(error, Invalid) else {}
    values = given if given is not None else {"client_id": row["client_id"]}
    fields = fields_of(_schema(provider), values=values, problems=problems)
    named = hosts if hosts is not None else row["hosts"]
    servers = fields_of(_host_schema(provider), values=named, problems=problems, prefix="hosts.")
    return page.show(
        "pages/oauth_app.html",
        status=error.status if error else 200,
        title=f"OAuth app at {provider.name}",
        provider=provider,
        row=row,
        fields=fields,
        servers=servers,
        error=error,
        in_fields=any(one.problem for one in [*fields, *servers]),
        using=sum(one.auth in slots for one in connected),
        platform=provider.slug in page.parts.apps,
        api=ApiCall(f"/v1/oauth-apps/{provider.slug}"),
    )
