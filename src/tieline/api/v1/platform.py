"""The platform, for operators: its organizations, and how the engine stands."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from tieline.api.body import Given, JsonBody
from tieline.api.caller import Operator, PartsOf
from tieline.api.describe import documented
from tieline.api.idempotency import once
from tieline.api.schemas import SLUG, Name, Page, Row, answer, id_in_path, id_of, time_of
from tieline.api.v1.api_keys import MadeApiKey, NewApiKey, make_key
from tieline.errors import NotFound
from tieline.flows import organizations as flow
from tieline.flows.parts import Parts
from tieline.flows.views import engine_row, organization_row
from tieline.store import organizations as store
from tieline.store.admission import engine_counts, next_due
from tieline.store.organizations import Organization as Found

router = APIRouter(tags=["platform"])
Id = Annotated[str, id_in_path("org", "The organization.")]


class Organization(Row):
    """A tenant."""

    id: str = id_of("org", "The organization.")
    slug: str = Field(description="Its short name.", examples=["larkfield"])
    name: str = Field(description="Its name.", examples=["Larkfield Instruments"])
    created_at: str = time_of("When it was made.")


class NewOrganization(Given):
    """What an organization should be."""

    slug: str = Field(description="Its short name.", pattern=SLUG, min_length=2, max_length=60, examples=["larkfield"])
    name: Name


class EngineStatus(Row):
    """How the engine stands, over all organizations."""

    waiting: int = Field(description="Operations that are due and wait.", examples=[0])
    running: int = Field(description="Operations that run.", examples=[3])
    oldest_waiting_since: str | None = time_of("Since when the oldest waits.")
    next_due_at: str | None = time_of("When the next one is due, or was.")


@router.post(
    "/organizations",
    **documented(Organization, status=201, body=NewOrganization, conflicts=True, repeatable=True),
)
@once
async def create_organization(
    parts: PartsOf,
    caller: Operator,  # noqa: ARG001  `once` takes it
    body: Annotated[NewOrganization, Depends(JsonBody(NewOrganization))],
) -> Response:
    """Make an organization."""
    return answer(organization_row(await flow.create_organization(parts, slug=body.slug, name=body.name)), 201)


@router.get("/organizations", **documented(Page[Organization]))
async def list_organizations(parts: PartsOf, _caller: Operator) -> Response:
    """List the organizations, by slug."""
    async with parts.db.system() as work:
        found = await store.list_organizations(work)
    return answer({"items": [organization_row(one) for one in found], "next": None})


@router.get("/organizations/{org_id}", **documented(Organization, absent=True))
async def get_organization(parts: PartsOf, _caller: Operator, org_id: Id) -> Response:
    """Show one organization."""
    return answer(organization_row(await _find(parts, org_id)))


@router.post("/organizations/{org_id}/api-keys", **documented(MadeApiKey, status=201, body=NewApiKey, absent=True))
async def create_organization_api_key(
    request: Request,
    parts: PartsOf,
    _caller: Operator,
    org_id: Id,
    body: Annotated[NewApiKey, Depends(JsonBody(NewApiKey))],
) -> Response:
    """Make a key for an organization, so that it can begin; it is shown this once."""
    found = await _find(parts, org_id)
    return answer(await make_key(parts, request, found.id, body), 201)


@router.get("/engine", **documented(EngineStatus))
async def show_engine(parts: PartsOf, _caller: Operator) -> Response:
    """Show how the engine stands: what waits, what runs, what comes next."""
    async with parts.db.system() as work:
        return answer(engine_row(await engine_counts(work, now=parts.clock.now()), await next_due(work)))


async def _find(parts: Parts, org_id: str) -> Found:
    if not org_id.startswith("org_"):  # a slug is not an id
        raise NotFound(f"There is no organization {org_id[:60]!r}")
    async with parts.db.system() as work:
        return await store.find_organization(work, org_id)
