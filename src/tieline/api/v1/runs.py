"""Runs: what was read when, with what outcome; cancel, retry and release; live events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tieline.access.roles import Caller
from tieline.api.body import JsonBody, Nothing
from tieline.api.caller import HEADER, Auditor, Member, PartsOf, authenticate
from tieline.api.describe import documented
from tieline.api.idempotency import once
from tieline.api.schemas import (
    ConnectionId,
    Page,
    Paged,
    ProviderSlug,
    Reason,
    Row,
    answer,
    cursor_of,
    id_in_path,
    id_in_query,
    id_of,
    text_in_query,
    time_of,
)
from tieline.errors import TielineError
from tieline.flows import runs as flow
from tieline.flows.parts import Parts
from tieline.flows.views import listing, rejection_row, run_row
from tieline.store import runs as store

router = APIRouter(tags=["runs"])

Id = Annotated[str, id_in_path("run", "The run.")]
Status = Literal["queued", "running", "succeeded", "partial", "failed", "cancelled", "held"]
LOOK_EVERY = 1.0
"""Seconds between two looks at a run whose events are followed."""


class Counts(Row):
    """What a run has done so far."""

    pages: int = Field(description="Pages stored.", examples=[3])
    records: int = Field(description="Records read.", examples=[250])
    skipped: int = Field(description="Records that the filter left out.", examples=[4])
    rejected: int = Field(description="Records that no entity could be made from.", examples=[0])
    unidentified: int = Field(description="Of those, the ones that do not even tell whose they are.", examples=[0])
    created: int = Field(description="Entities that are new.", examples=[240])
    changed: int = Field(description="Entities that changed.", examples=[4])
    unchanged: int = Field(description="Entities that did not.", examples=[2])
    removed: int = Field(description="Entities that are gone.", examples=[0])
    findings_opened: int = Field(description="Findings opened or reopened.", examples=[12])
    findings_resolved: int = Field(description="Findings resolved.", examples=[1])
    evidence: int = Field(description="Statements written.", examples=[480])


class Run(Row):
    """One execution of an operation for one connection."""

    id: str = id_of("run", "The run.")
    provider: ProviderSlug
    kind: str = Field(description="`sync`.", examples=["sync"])
    operation: str = Field(description="The operation.", examples=["people"])
    connection_id: ConnectionId
    status: str = Field(description="Its state.", examples=["succeeded"])
    reason: Reason | None = Field(description="Why it is in that state, if there is something to say.", examples=[None])
    cause: str = Field(description="What asked for it.", examples=["schedule"])
    force: bool = Field(description="Whether it was released from the brake.", examples=[False])
    attempts: int = Field(description="How often a worker began or went on with it.", examples=[1])
    counts: Counts = Field(description="What it has done so far.")
    created_at: str = time_of("When it was asked for.")
    started_at: str | None = time_of("When it first began.")
    finished_at: str | None = time_of("When it ended.")
    resume_at: str | None = time_of("Until when it waits for the provider.")
    exchange: dict[str, Any] | None = Field(description="The redacted exchange that ended it.", examples=[None])


class Rejection(Row):
    """A sample of a record that no entity could be made from."""

    id: str = id_of("rej", "The sample.")
    run_id: str = id_of("run", "The run.")
    kind: str = Field(description="The kind that it should have become.", examples=["account"])
    field: str = Field(description="The field that was wrong.", examples=["email"])
    reason: str = Field(description="What was wrong with it.", examples=["must be text"])
    record: Any = Field(description="The provider's record.", examples=[{"id": 7}])
    at: str = time_of("When.")


class Span(Row):
    """A stretch of a run: a page, or a wait of the whole run. Of a run of many pages each span is of several."""

    kind: str = Field(description="`page` or `wait`.", examples=["page"])
    cause: str | None = Field(description="Of a wait, why: the slug of what made it wait.", examples=[None])
    page: int = Field(description="The first page of it, or the page that the wait came after.", examples=[1])
    pages: int = Field(description="How many pages it is of.", examples=[1])
    begun_at: str = time_of("When it began.")
    ended_at: str = time_of("When it ended.")
    read_ms: int = Field(description="Milliseconds from asking to having read it, waits included.", examples=[420])
    limited_ms: int = Field(description="Of these, waiting for the provider's rate limit.", examples=[0])
    retried_ms: int = Field(description="Of these, waiting before another try.", examples=[0])
    load_ms: int = Field(description="Milliseconds of storing it.", examples=[80])


class RunQuery(Paged):
    """Which runs to list."""

    cursor: str | None = cursor_of("run")
    connection_id: str | None = id_in_query("conn", "Only those of this connection.")
    operation: str | None = text_in_query("Only those of this operation.", "people", r"^[a-z][a-z0-9_]*$")
    status: Status | None = Field(default=None, description="Only those in this state.", examples=["failed"])


class RejectionQuery(Paged):
    """Which samples to list."""

    cursor: str | None = cursor_of("rej")


_POST: dict[str, Any] = {
    "status": 202,
    "absent": True,
    "conflicts": True,
    "repeatable": True,
    "body": Nothing,
    "body_optional": True,
}
Empty = Annotated[Nothing, Depends(JsonBody(Nothing, optional=True))]


@router.get("/runs", **documented(Page[Run], query=RunQuery))
async def list_runs(parts: PartsOf, caller: Auditor, query: Annotated[RunQuery, Query()]) -> Response:
    """List runs, newest first."""
    wanted = {"connection_id": query.connection_id, "operation": query.operation, "status": query.status}
    async with parts.db.work(caller.org_id) as work:
        return answer(listing(await store.list_runs(work, query.paging, **wanted), run_row))


@router.get("/runs/{run_id}", **documented(Run, absent=True))
async def get_run(parts: PartsOf, caller: Auditor, run_id: Id) -> Response:
    """Show one run."""
    async with parts.db.work(caller.org_id) as work:
        return answer(run_row(await store.get_run(work, run_id)))


@router.get("/runs/{run_id}/spans", **documented(Page[Span], absent=True))
async def list_run_spans(parts: PartsOf, caller: Auditor, run_id: Id) -> Response:
    """Show how a run's time went: reading, waiting and storing, page by page. At most about a hundred spans, in order."""
    _, spans = await flow.read_spans(parts, caller.org_id, run_id)
    return answer({"items": [flow.span_row(one) for one in spans], "next": None})


@router.get("/runs/{run_id}/rejections", **documented(Page[Rejection], query=RejectionQuery, absent=True))
async def list_rejections(
    parts: PartsOf, caller: Auditor, run_id: Id, query: Annotated[RejectionQuery, Query()]
) -> Response:
    """List samples of the records that a run rejected, at most twenty."""
    async with parts.db.work(caller.org_id) as work:
        await store.get_run(work, run_id)
        return answer(listing(await store.list_rejections(work, run_id, query.paging), rejection_row))


@router.post("/runs/{run_id}/cancel", **documented(Run, **_POST))
@once
async def cancel_run(parts: PartsOf, caller: Member, run_id: Id, _body: Empty) -> Response:
    """Ask that an unfinished run end; its worker ends it before the next page."""
    return answer(run_row(await flow.cancel_run(parts, caller.org_id, run_id)), 202)


@router.post("/runs/{run_id}/retry", **documented(Run, **_POST))
@once
async def retry_run(parts: PartsOf, caller: Member, run_id: Id, _body: Empty) -> Response:
    """Run a finished run's operation again; the new run."""
    return answer(run_row(await flow.retry_run(parts, caller.org_id, run_id)), 202)


@router.post("/runs/{run_id}/release", **documented(Run, **_POST))
@once
async def release_run(parts: PartsOf, caller: Member, run_id: Id, _body: Empty) -> Response:
    """Let a run that the brake holds go on: what it did not see is then removed."""
    return answer(run_row(await flow.release_held(parts, caller.org_id, run_id)), 202)


_EVENTS = documented(None, absent=True)
_EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "const": "run"},
        "data": {"type": "string", "contentMediaType": "application/json", "description": "The run."},
    },
}
_EVENTS["responses"][200] = {
    "description": "Server-sent events: `run` with the run as data whenever it has changed; the stream ends with the run.",
    "content": {"text/event-stream": {"schema": _EVENT, "example": 'event: run\ndata: {"id":"run_…"}\n\n'}},
}


@router.get("/runs/{run_id}/events", response_class=StreamingResponse, **_EVENTS)
async def follow_run(request: Request, parts: PartsOf, caller: Auditor, run_id: Id) -> Response:
    """Follow a run live until it ends."""
    async with parts.db.work(caller.org_id) as work:
        await store.get_run(work, run_id)
    return StreamingResponse(_follow(request, parts, caller, run_id), media_type="text/event-stream")


async def _follow(request: Request, parts: Parts, caller: Caller, run_id: str) -> AsyncIterator[bytes]:
    """The run whenever it changed; the stream breaks off when the key stops working, the run is gone, or this process ends."""
    shown = b""
    try:
        while not request.app.state.stopping:
            await authenticate(request, request.headers.get(HEADER))
            async with parts.db.work(caller.org_id) as work:
                run = await store.get_run(work, run_id)
            row = orjson.dumps(run_row(run))
            yield b": still here\n\n" if row == shown else b"event: run\ndata: " + row + b"\n\n"
            if run.status not in store.UNFINISHED:
                return
            shown = row
            await asyncio.sleep(LOOK_EVERY)
    except TielineError:
        return
