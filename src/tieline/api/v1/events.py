"""Events: what happened in an organization, in order, for whoever wants to follow."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from tieline.api.caller import Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import Page, Paged, Row, answer, cursor_of, id_of, text_in_query, time_of
from tieline.flows.views import event_row, listing
from tieline.store.outbox import list_outbox

router = APIRouter(tags=["events"])


class Event(Row):
    """Something that happened."""

    id: str = id_of("evt", "The event.")
    type: str = Field(description="What happened.", examples=["finding.opened"])
    at: str = time_of("When.")
    data: dict[str, Any] = Field(description="Ids and display values.", examples=[{"check_id": "mfa-enabled"}])


class EventQuery(Paged):
    """Which events to list."""

    cursor: str | None = cursor_of("evt")
    type: str | None = text_in_query("Only those of this type.", "finding.opened", r"^[a-z_]+\.[a-z_]+$", most=60)


@router.get("/events", **documented(Page[Event], query=EventQuery))
async def list_events(parts: PartsOf, caller: Auditor, query: Annotated[EventQuery, Query()]) -> Response:
    """List events, oldest first."""
    async with parts.db.work(caller.org_id) as work:
        return answer(listing(await list_outbox(work, query.paging, type=query.type), event_row))
