"""Connect sessions: made by a customer's server, walked by a person in the hosted pages, and asked after by the server again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from tieline.api.body import Given, JsonBody
from tieline.api.caller import Admin, Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import SLUG, Page, Paged, Reason, Row, answer, cursor_of, id_in_path, id_of, time_of
from tieline.flows import connect_sessions as flow
from tieline.flows.connect_sessions import MAX_ORIGINS, Locale, Theme, session_row
from tieline.flows.returns import MAX_LENGTH
from tieline.flows.views import listing
from tieline.store import connect_sessions as store

router = APIRouter(tags=["connect sessions"])

_ORIGIN = "https://app.example"
Slug = Annotated[str, Field(pattern=SLUG, max_length=60)]
Origin = Annotated[str, Field(max_length=300)]


class ConnectSession(Row):
    """A person's way through the hosted pages to one connection."""

    id: str = id_of("cs", "The session.")
    status: Literal["open", "under_way", "connected", "failed", "cancelled", "expired"] = Field(
        description="`failed`: the last try failed, and the person can try again.", examples=["connected"]
    )
    reason: Reason | None = Field(description="Why the last try failed.", examples=[None])
    provider: str | None = Field(description="The provider that was chosen.", examples=["okta"])
    connection_id: str | None = id_of("conn", "The connection that came of it.")
    reconnects: str | None = id_of("conn", "The connection that it is to give a new credential.")
    providers: list[str] = Field(description="Those to choose from; all if it is empty.", examples=[["okta"]])
    origins: list[str] = Field(description="The sites that may frame it.", examples=[[_ORIGIN]])
    locale: Locale | None = Field(description="Its language, if not the browser's.", examples=["en"])
    theme: Theme = Field(description="Its look.", examples=["auto"])
    return_to: str | None = Field(description="Where its last link leads.", examples=[None])
    created_at: str = time_of("When it was made.")
    opened_at: str | None = time_of("When the person began.")
    expires_at: str = time_of("Until when it can be opened, and once it was, finished.")


class NewlyMade(ConnectSession):
    """A session, and what opens it, which is shown this once."""

    token: str = Field(
        description="For `<tieline-connect session=…>`. Whoever has it can open the session, once.",
        examples=["AZuQ…"],
    )
    url: str = Field(
        description="The same as an address, to be opened once.",
        examples=["https://tieline.example/connect-session/AZuQ…"],
    )


class NewSession(Given):
    """What a person is to be offered."""

    providers: list[Slug] = Field(
        default_factory=list, max_length=200, description="The providers to choose from; all by default.", examples=[[]]
    )
    origins: list[Origin] = Field(
        default_factory=list,
        max_length=MAX_ORIGINS,
        description="The exact origins of the pages that frame it; none if the person is sent to the address.",
        examples=[[_ORIGIN]],
    )
    locale: Locale | None = Field(default=None, description="By default the browser's language.", examples=["en"])
    theme: Theme = Field(default="auto", description="By default the browser's.", examples=["auto"])
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of the one provider to begin with.", examples=[{}]
    )
    connection_id: str | None = Field(
        default=None, description="A connection that is to get a new credential.", max_length=60, examples=[None]
    )
    return_to: str | None = Field(
        default=None,
        description="Where the last link leads: a path, or an address at an allowed origin.",
        max_length=MAX_LENGTH,
        examples=["/settings/connections"],
    )


class SessionQuery(Paged):
    """Which sessions to list."""

    cursor: str | None = cursor_of("cs")


Id = Annotated[str, id_in_path("cs", "The session.")]


@router.post("/connect-sessions", **documented(NewlyMade, status=201, body=NewSession, absent=True, conflicts=True))
async def create_connect_session(
    parts: PartsOf, caller: Admin, body: Annotated[NewSession, Depends(JsonBody(NewSession))]
) -> Response:
    """Make a session for a person to connect an account of theirs: in a frame of your pages, or at its address.

    It must be opened within 30 minutes and finished within 30 more. An `Idempotency-Key` is not heeded here.
    """
    made = await flow.create_session(parts, caller.org_id, flow.Offer(**dict(body)))
    row = session_row(made.session, now=parts.clock.now())
    return answer(row | {"token": made.token, "url": made.url}, 201)


@router.get("/connect-sessions", **documented(Page[ConnectSession], query=SessionQuery))
async def list_connect_sessions(parts: PartsOf, caller: Auditor, query: Annotated[SessionQuery, Query()]) -> Response:
    """List sessions, newest first; each is kept for a week."""
    now = parts.clock.now()
    async with parts.db.work(caller.org_id) as work:
        found = await store.list_sessions(work, query.paging)
    return answer(listing(found, lambda one: session_row(one, now=now)))


@router.get("/connect-sessions/{connect_session_id}", **documented(ConnectSession, absent=True))
async def get_connect_session(parts: PartsOf, caller: Auditor, connect_session_id: Id) -> Response:
    """Show how a session stands, and the connection that came of it."""
    async with parts.db.work(caller.org_id) as work:
        return answer(session_row(await store.get_session(work, connect_session_id), now=parts.clock.now()))


@router.delete("/connect-sessions/{connect_session_id}", **documented(ConnectSession, absent=True, conflicts=True))
async def cancel_connect_session(parts: PartsOf, caller: Admin, connect_session_id: Id) -> Response:
    """End a session that is not over; what the person gave so far is destroyed."""
    session = await flow.cancel_session(parts, caller.org_id, connect_session_id)
    return answer(session_row(session, now=parts.clock.now()))
