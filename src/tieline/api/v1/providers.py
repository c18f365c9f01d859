"""Providers: what can be connected, and what a person needs to connect it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from tieline.api.caller import Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import Page, Row, answer
from tieline.flows.views import provider_row, setup_row

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
    kind: str = Field(description="How it authenticates.", examples=["api_key"])
    name: str = Field(description="Its name.", examples=["Okta"])
    category: str = Field(description="What it is for.", examples=["identity"])
    description: str = Field(description="More about it.", examples=[""])
    docs_url: str | None = Field(description="Its documentation.", examples=["https://developer.okta.com"])
    operations: list[Operation] = Field(description="What it can do.")


class Setup(Row):
    """What a person needs to connect a provider."""

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


@router.get("/providers", **documented(Page[Provider]))
async def list_providers(parts: PartsOf, _caller: Auditor) -> Response:
    """List the providers that can be connected."""
    return answer({"items": [provider_row(one) for one in parts.catalog.providers.values()], "next": None})


@router.get("/providers/{slug}", **documented(Provider, absent=True))
async def get_provider(parts: PartsOf, _caller: Auditor, slug: Slug) -> Response:
    """Show one provider."""
    return answer(provider_row(parts.catalog.provider(slug)))


@router.get("/providers/{slug}/setup", **documented(Setup, absent=True))
async def get_provider_setup(parts: PartsOf, _caller: Auditor, slug: Slug) -> Response:
    """Show what connecting takes: instructions, and the forms for credential and options as JSON Schema."""
    return answer(setup_row(parts.catalog.provider(slug)))
