"""Findings: what is wrong, since when, and who has silenced it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from tieline.api.body import Given, JsonBody, Nothing
from tieline.api.caller import Auditor, Member, PartsOf
from tieline.api.describe import documented
from tieline.api.idempotency import once
from tieline.api.schemas import (
    ConnectionId,
    ExternalId,
    Moment,
    Page,
    Paged,
    ProviderSlug,
    Row,
    Severity,
    answer,
    check_in_query,
    cursor_of,
    id_in_path,
    id_in_query,
    id_of,
    provider_in_query,
    time_of,
)
from tieline.flows.mute import mute, unmute
from tieline.flows.views import finding_event_row, finding_row, listing
from tieline.store import findings as store

router = APIRouter(tags=["findings"])
Id = Annotated[str, id_in_path("find", "The finding.")]


class Finding(Row):
    """The standing answer of a check that has failed for an entity."""

    id: str = id_of("find", "The finding.")
    provider: ProviderSlug
    kind: str = Field(description="The entity's kind.", examples=["account"])
    external_id: ExternalId
    connection_id: ConnectionId
    status: str = Field(description="`open`, `muted` or `resolved`.", examples=["open"])
    entity_id: str = id_of("ent", "The entity.")
    subject: str = Field(description="The entity's name for people.", examples=["ada@larkfield.example"])
    check: str = Field(description="The check.", examples=["mfa-enabled"])
    severity: str = Field(description="How bad it is.", examples=["high"])
    title: str = Field(description="What should hold.", examples=["People sign in with a second factor"])
    values: dict[str, Any] = Field(description="The fields that decided.", examples=[{"mfa": False}])
    opened_at: str = time_of("When it was opened.")
    changed_at: str = time_of("When it last changed.")
    resolved_at: str | None = time_of("When it was resolved.")
    reopened: int = Field(description="How often it came back.", examples=[0])
    muted_reason: str | None = Field(description="Why it is muted.", examples=[None])
    muted_until: str | None = time_of("Until when it is muted; null for good.")


class FindingEvent(Row):
    """One thing that happened to a finding."""

    id: str = id_of("fev", "The event.")
    finding_id: str = id_of("find", "The finding.")
    event: str = Field(description="What happened.", examples=["opened"])
    at: str = time_of("When.")
    run_id: str | None = id_of("run", "The run that found it so.")
    actor: str | None = id_of("key", "Who did it.")
    note: str | None = Field(description="Why.", examples=[None])
    values: dict[str, Any] = Field(description="The fields that decided.", examples=[{"mfa": False}])


class FindingQuery(Paged):
    """Which findings to list."""

    cursor: str | None = cursor_of("find")
    status: Literal["open", "muted", "resolved"] | None = Field(
        default=None, description="Only those in this state.", examples=["open"]
    )
    severity: Severity | None = Field(default=None, description="Only those that are so bad.", examples=["high"])
    check: str | None = check_in_query()
    connection_id: str | None = id_in_query("conn", "Only those of this connection.")
    provider: str | None = provider_in_query()
    entity_id: str | None = id_in_query("ent", "Only those of this entity.")


class Mute(Given):
    """Why a finding is silenced, and for how long."""

    reason: str = Field(description="Why.", min_length=1, max_length=1000, examples=["Accepted until the move to SSO"])
    until: Moment | None = Field(
        default=None, description="Until when; for good if left out.", examples=["2031-01-31T12:00:00Z"]
    )


_POST: dict[str, Any] = {"absent": True, "conflicts": True, "repeatable": True}


@router.get("/findings", **documented(Page[Finding], query=FindingQuery))
async def list_findings(parts: PartsOf, caller: Auditor, query: Annotated[FindingQuery, Query()]) -> Response:
    """List findings, newest first, of any status unless one is named."""
    wanted = query.model_dump(exclude={"cursor", "limit", "check"}) | {"check_id": query.check}
    async with parts.db.work(caller.org_id) as work:
        return answer(listing(await store.list_findings(work, query.paging, **wanted), finding_row))


@router.get("/findings/{finding_id}", **documented(Finding, absent=True))
async def get_finding(parts: PartsOf, caller: Auditor, finding_id: Id) -> Response:
    """Show one finding."""
    async with parts.db.work(caller.org_id) as work:
        return answer(finding_row(await store.get_finding(work, finding_id)))


@router.get("/findings/{finding_id}/history", **documented(Page[FindingEvent], absent=True))
async def show_finding_history(parts: PartsOf, caller: Auditor, finding_id: Id) -> Response:
    """Show what happened to a finding, oldest first."""
    async with parts.db.work(caller.org_id) as work:
        events = await store.list_events(work, finding_id)
    return answer({"items": [finding_event_row(one) for one in events], "next": None})


@router.post("/findings/{finding_id}/mute", **documented(Finding, **_POST, body=Mute))
@once
async def mute_finding(
    parts: PartsOf,
    caller: Member,
    finding_id: Id,
    body: Annotated[Mute, Depends(JsonBody(Mute))],
) -> Response:
    """Silence an open finding, until a time or for good."""
    muted = await mute(parts, caller.org_id, finding_id, reason=body.reason, until=body.until, actor=caller.actor)
    return answer(finding_row(muted))


@router.post("/findings/{finding_id}/unmute", **documented(Finding, **_POST, body=Nothing, body_optional=True))
@once
async def unmute_finding(
    parts: PartsOf,
    caller: Member,
    finding_id: Id,
    _body: Annotated[Nothing, Depends(JsonBody(Nothing, optional=True))],
) -> Response:
    """Open a muted finding again."""
    return answer(finding_row(await unmute(parts, caller.org_id, finding_id, actor=caller.actor)))
