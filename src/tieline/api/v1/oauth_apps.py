"""OAuth apps: the organization's own at each provider, which win over the operator's; their secrets only go in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import Field
from starlette.responses import Response

from tieline.api.body import Given, JsonBody
from tieline.api.caller import Admin, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import Page, ProviderSlug, Row, answer, id_of, time_of
from tieline.flows import apps as flow
from tieline.flows.setup import app_row
from tieline.store.oauth_apps import list_apps

router = APIRouter(tags=["oauth-apps"])
Slug = Annotated[str, Path(description="The provider's slug.", examples=["github"])]


class OAuthApp(Row):
    """An app of the organization's own, of which no secret is shown."""

    id: str = id_of("oapp", "The app.")
    provider: ProviderSlug
    client_id: str = Field(description="Its client id.", examples=["Iv1.0123456789abcdef"])
    fields: list[str] = Field(description="What it holds, by name.", examples=[["client_id", "client_secret"]])
    hosts: dict[str, str] = Field(description="The server that it belongs to, if not the vendor's.", examples=[{}])
    version: int = Field(description="How often it was set.", examples=[1])
    fingerprint: str = Field(description="By which to recognise what was given.", examples=["5f2a90c1"])
    created_at: str = time_of("When it was first set.")
    updated_at: str = time_of("When it was last set.")


def _secret(about: str, most: int) -> Any:
    extra: dict[str, Any] = {"writeOnly": True}
    return Field(default=None, description=about, max_length=most, repr=False, json_schema_extra=extra, examples=["…"])


class NewOAuthApp(Given):
    """An app, whole: what is left out is not kept from an earlier one."""

    client_id: str = Field(
        description="Its client id.", min_length=1, max_length=500, examples=["Iv1.0123456789abcdef"]
    )
    client_secret: str | None = _secret("Its client secret.", 5_000)
    private_key: str | None = _secret("Its private key, PEM.", 20_000)
    key_id: str | None = Field(default=None, description="The id of its key.", max_length=500, examples=["key-1"])
    app_id: str | None = Field(default=None, description="A GitHub App's number.", max_length=100, examples=["123456"])
    slug: str | None = Field(
        default=None, description="A GitHub App's name in addresses.", max_length=200, examples=["acme-tieline"]
    )
    hosts: dict[str, Annotated[str, Field(max_length=500)]] = Field(
        default_factory=dict,
        max_length=10,
        description="Options that name the server which it belongs to, if not the vendor's; it is shown to no other.",
        examples=[{"org_url": "https://acme.okta.com"}],
    )


@router.get("/oauth-apps", **documented(Page[OAuthApp]))
async def list_oauth_apps(parts: PartsOf, caller: Admin) -> Response:
    """List the organization's own apps, by provider."""
    async with parts.db.work(caller.org_id) as work:
        found = await list_apps(work)
    return answer({"items": [app_row(one) for one in found], "next": None})


@router.get("/oauth-apps/{slug}", **documented(OAuthApp, absent=True))
async def get_oauth_app(parts: PartsOf, caller: Admin, slug: Slug) -> Response:
    """Show the organization's own app at a provider."""
    async with parts.db.work(caller.org_id) as work:
        return answer(app_row(await flow.get_app(work, slug)))


@router.put("/oauth-apps/{slug}", **documented(OAuthApp, body=NewOAuthApp, absent=True, conflicts=True))
async def set_oauth_app(
    parts: PartsOf, caller: Admin, slug: Slug, body: Annotated[NewOAuthApp, Depends(JsonBody(NewOAuthApp))]
) -> Response:
    """Set the organization's own app at a provider, in the place of one that it had."""
    app = body.model_dump(exclude_none=True, exclude={"hosts"})
    saved = await flow.save_app(parts, caller.org_id, slug, app, hosts=body.hosts)
    return answer(app_row(saved))


@router.delete("/oauth-apps/{slug}", **documented(OAuthApp, absent=True))
async def remove_oauth_app(parts: PartsOf, caller: Admin, slug: Slug) -> Response:
    """Destroy the organization's own app; connections that it made cannot be renewed without it."""
    return answer(app_row(await flow.remove_app(parts, caller.org_id, slug)))
