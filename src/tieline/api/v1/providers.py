"""Providers: what can be connected, and what a person needs to connect it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from tieline.api.caller import Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import Page, ProviderSlug, Row, answer
from tieline.flows.apps import app_availability
from tieline.flows.catalog_views import provider_row
from tieline.flows.context import external_id
from tieline.flows.issuer import subject_of
from tieline.flows.setup import availability_row, setup_row

router = APIRouter(tags=["providers"])
Slug = Annotated[str, Path(description="The provider's slug.", examples=["okta"])]


class Operation(Row):
    """Something that a provider can do."""

    id: str = Field(description="Its stable name.", examples=["users"])
    kind: str = Field(description="`sync` reads records.", examples=["sync"])
    title: str = Field(description="What it does.", examples=["Every user"])
    entities: list[str] = Field(description="The kinds of entities that it gives.", examples=[["account"]])
    every_seconds: int = Field(description="How often it runs.", examples=[3600])
    needs: list[str] = Field(description="Permissions that it needs.", examples=[["okta.users.read"]])


class Provider(Row):
    """An outside service that can be connected."""

    id: str = Field(description="Its slug.", examples=["okta"])
    provider: str = Field(description="Its slug.", examples=["okta"])
    kind: str = Field(description="How it authenticates, if not told otherwise.", examples=["api_key"])
    ways: list[str] = Field(description="The ways to authenticate, by slot.", examples=[["api_key"]])
    name: str = Field(description="Its name.", examples=["Okta"])
    category: str = Field(description="What it is for.", examples=["identity"])
    description: str = Field(description="More about it.", examples=[""])
    docs_url: str | None = Field(description="Its documentation.", examples=["https://developer.okta.com"])
    grade: str | None = Field(description="What is proven of it: `bronze`, `silver` or `gold`.", examples=["gold"])
    operations: list[Operation] = Field(description="What it can do.")


class NeededApp(Row):
    """The OAuth app that a way needs."""

    fields: list[str] = Field(description="What it must hold, by name.", examples=[["client_id", "client_secret"]])
    url: str | None = Field(description="The page where it is made.", examples=["https://github.com/settings/apps"])
    instructions: str = Field(description="How it is made.", examples=["Register a new OAuth app."])


class Trust(Row):
    """Whom the provider is to trust, where Tieline shows its own word in place of a secret."""

    issuer: str = Field(description="The issuer of that word.", examples=["https://tieline.example"])
    subject: str | None = Field(
        description="This organization, and no other.", examples=["organization:org_01hzx3v4k5m6n7p8q9r0s1t2v3"]
    )
    audience: str | None = Field(
        description="Whom it is meant for; where it is left out, the provider's resource.",
        examples=["sts.amazonaws.com"],
    )


class Way(Row):
    """One way to authenticate."""

    slot: str = Field(description="Its name, for `by`.", examples=["oauth2"])
    kind: str = Field(description="Its technique.", examples=["oauth2"])
    redirects: bool = Field(
        description="Whether a person signs in at the provider: `POST /v1/oauth/start`.", examples=[True]
    )
    instructions: str = Field(description="Where the credential is made.", examples=[""])
    credential: dict[str, Any] | None = Field(
        description="JSON Schema of `credential`, unless a person signs in; secret fields are writeOnly.",
        examples=[None],
    )
    app: NeededApp | None = Field(description="The OAuth app that it needs, if any.", examples=[None])
    callback_url: str | None = Field(
        description="The callback address to register with the app, exactly.",
        examples=["https://tieline.example/v1/oauth/callback/github"],
    )
    external_id: str | None = Field(
        description="What a role's trust policy must ask for, if the way is a role.", examples=[None]
    )
    trust: Trust | None = Field(description="Whom to trust, if the way keeps no secret.", examples=[None])
    scopes: list[str] = Field(description="Permissions that are asked for.", examples=[["read:org"]])


class Setup(Row):
    """What a person needs to connect a provider: for the recommended way, and for each."""

    provider: str = Field(description="Its slug.", examples=["okta"])
    name: str = Field(description="Its name.", examples=["Okta"])
    kind: str = Field(description="How it authenticates.", examples=["api_key"])
    instructions: str = Field(description="Where the credential is made.", examples=["Security → API → Tokens"])
    docs_url: str | None = Field(description="Its documentation.", examples=["https://developer.okta.com"])
    needs: list[str] = Field(description="Permissions for all operations.", examples=[["okta.users.read"]])
    credential: dict[str, Any] = Field(
        description="JSON Schema of `credential`; secret fields are writeOnly.", examples=[{"type": "object"}]
    )
    options: dict[str, Any] = Field(description="JSON Schema of `options`.", examples=[{"type": "object"}])
    hosts: dict[str, str] = Field(
        description="The vendor's addresses, or those that the operator put in their place.",
        examples=[{"api": "https://api.github.com"}],
    )
    ways: list[Way] = Field(description="The ways to authenticate, the recommended one first.")


class Availability(Row):
    """Whether a way that needs an app can be taken."""

    provider: ProviderSlug
    way: str = Field(description="The way, by its slot.", examples=["oauth2"])
    available: bool = Field(description="Whether it can be taken.", examples=[True])
    source: str | None = Field(description="Whose app it is: `organization` or `platform`.", examples=["platform"])
    missing: list[str] = Field(description="Fields of the app that are missing.", examples=[[]])
    callback_url: str | None = Field(
        description="The callback address to register with the app, exactly, if people sign in.",
        examples=["https://tieline.example/v1/oauth/callback/github"],
    )
    app_url: str | None = Field(
        description="The page where the app is made.", examples=["https://github.com/settings/developers"]
    )


@router.get("/providers", **documented(Page[Provider]))
async def list_providers(parts: PartsOf, _caller: Auditor) -> Response:
    """List the providers that can be connected."""
    return answer(
        {"items": [provider_row(one, parts.catalog.checks) for one in parts.catalog.providers.values()], "next": None}
    )


@router.get("/providers/oauth-availability", **documented(Page[Availability]))
async def list_oauth_availability(parts: PartsOf, caller: Auditor) -> Response:
    """List the ways that need an app: whether each can be taken, by whose app, and what is missing."""
    rows = [
        availability_row(one, parts.catalog.provider(one.provider), public_url=parts.public_url)
        for one in await app_availability(parts, caller.org_id)
    ]
    return answer({"items": rows, "next": None})


@router.get("/providers/{slug}", **documented(Provider, absent=True))
async def get_provider(parts: PartsOf, _caller: Auditor, slug: Slug) -> Response:
    """Show one provider."""
    return answer(provider_row(parts.catalog.provider(slug), parts.catalog.checks))


@router.get("/providers/{slug}/setup", **documented(Setup, absent=True))
async def get_provider_setup(parts: PartsOf, caller: Auditor, slug: Slug) -> Response:
    """Show what connecting takes: instructions, the forms for credential and options as JSON Schema, callback and app."""
    provider = parts.catalog.provider(slug)
    own, subject = external_id(caller.org_id, slug), subject_of(caller.org_id)
    hosts = parts.hosts.get(slug, {})
    return answer(setup_row(provider, public_url=parts.public_url, hosts=hosts, external_id=own, subject=subject))
