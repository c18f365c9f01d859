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
from tieline.flows.platform import look_at_platform, platform_row, worker_row
from tieline.flows.views import organization_row
from tieline.store import organizations as store
from tieline.store import workers
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


class Load(Row):
    """What runs and waits of one provider or organization."""

    id: str = Field(description="The provider's slug, or the organization's id.", examples=["github"])
    running: int = Field(description="Operations that run.", examples=[2])
    waiting: int = Field(description="Operations that are due and wait.", examples=[0])
    oldest_waiting_since: str | None = time_of("Since when the oldest waits.")


class Hour(Row):
    """What was done within an hour."""

    hour: str = time_of("When it begins.")
    jobs: int = Field(description="Jobs that ended in it.", examples=[120])


class EngineStatus(Row):
    """How the engine stands, over all organizations."""

    waiting: int = Field(description="Operations that are due and wait.", examples=[0])
    running: int = Field(description="Operations that run.", examples=[3])
    oldest_waiting_since: str | None = time_of("Since when the oldest waits.")
    next_due_at: str | None = time_of("When the next one is due, or was.")
    workers: int = Field(description="Workers that are heard of.", examples=[2])
    slots: int = Field(description="Operations that they carry out side by side.", examples=[16])
    providers: list[Load] = Field(description="The busiest providers.")
    organizations: list[Load] = Field(description="The busiest organizations.")
    hours: list[Hour] = Field(description="The last 24 hours.")


class Worker(Row):
    """A process that carries out what is due."""

    id: str = id_of("wrk", "The worker.")
    host: str = Field(description="The machine's name.", examples=["tieline-7f9c"])
    role: str = Field(description="`server`, `worker`, `mounted`, or `command`.", examples=["worker"])
    version: str = Field(description="Its release of Tieline.", examples=["0.1.0"])
    status: str = Field(description="`alive`, or `silent`: its runs are given to others.", examples=["alive"])
    slots: int = Field(description="Operations that it carries out side by side.", examples=[8])
    running: int = Field(description="Operations that run there.", examples=[3])
    org_cap: int = Field(description="Operations of one organization at a time, over all workers.", examples=[4])
    provider_cap: int = Field(description="Operations of one provider at a time, over all workers.", examples=[64])
    heartbeat_seconds: float = Field(description="After how long without a word it is silent.", examples=[30.0])
    started_at: str = time_of("When it started.")
    beat_at: str = time_of("When it was last heard of.")


class Setting(Row):
    """A setting of the process that answers."""

    name: str = Field(description="The variable that sets it.", examples=["TIELINE_WORKER_SLOTS"])
    value: str = Field(description="Its value in force; of a secret that is set only asterisks.", examples=["8"])
    set: bool = Field(description="Whether somebody set it.", examples=[False])
    source: str = Field(description="`environment`, `file`, `command`, or `default`.", examples=["default"])
    secret: bool = Field(description="Whether it is a secret.", examples=[False])
    about: str = Field(description="What it means.", examples=["Runs that one process carries out side by side."])


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
    return answer(platform_row(await look_at_platform(parts)))


@router.get("/workers", **documented(Page[Worker]))
async def list_workers(parts: PartsOf, _caller: Operator) -> Response:
    """List the processes that carry out what is due, with those that fell silent within the last hour."""
    now = parts.clock.now()
    async with parts.db.system() as work:
        found = await workers.list_workers(work)
    return answer({"items": [worker_row(one, now) for one in found], "next": None})


@router.get("/settings", **documented(Page[Setting]))
async def list_settings(parts: PartsOf, _caller: Operator) -> Response:
    """List the settings in force in the process that answers, and where each comes from."""
    return answer({"items": list(parts.settings), "next": None})


async def _find(parts: Parts, org_id: str) -> Found:
    if not org_id.startswith("org_"):  # a slug is not an id
        raise NotFound(f"There is no organization {org_id[:60]!r}")
    async with parts.db.system() as work:
        return await store.find_organization(work, org_id)
