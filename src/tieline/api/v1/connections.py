"""Connections: connect an account, look after the connection, and disconnect it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from starlette.responses import Response

from tieline.api.body import Given, JsonBody, Nothing
from tieline.api.caller import Admin, Auditor, Member, PartsOf
from tieline.api.describe import documented
from tieline.api.idempotency import once
from tieline.api.schemas import (
    MEMBER,
    SLUG,
    ConnectionId,
    Credential,
    Filter,
    Limit,
    Moment,
    Name,
    Page,
    Paged,
    ProviderSlug,
    Reason,
    Row,
    Way,
    answer,
    cursor_of,
    id_in_path,
    id_of,
    provider_in_query,
    text_in_query,
    time_of,
)
from tieline.api.v1.runs import Run
from tieline.flows import connect as flow
from tieline.flows import disconnect as ending
from tieline.flows import timetables
from tieline.flows.pauses import pause, resume
from tieline.flows.reconfigure import reconfigure
from tieline.flows.run_days import read_days
from tieline.flows.states import HEALTH
from tieline.flows.sync import request_sync
from tieline.flows.views import connection_row, disconnected_row, listing, run_row, schedule_row
from tieline.store import connections as store
from tieline.store.connections import NOBODY
from tieline.store.schedules import list_schedules

router = APIRouter(tags=["connections"])

Id = Annotated[str, id_in_path("conn", "The connection.")]
Health = Literal["works", "needs_person", "tries_again", "stopped", "gone"]
Status = Literal["active", "degraded", "error", "expired", "needs_reconnect", "paused", "suspended", "disconnected"]
Options = Annotated[
    dict[str, Any],
    Field(
        description="The options, as the provider's setup names them, at most 50 KB.",
        examples=[{"base_url": "http://127.0.0.1:9"}],
    ),
]
Overrides = Annotated[
    dict[str, Any],
    Field(
        description="By operation, the organization's own CEL `filter`, which must hold as well, and `fields`, in place of the provider's; for one variant alone under `variants`.",
        examples=[{"people": {"filter": "payload.type == 'employee'"}}],
    ),
]


class Connection(Row):
    """A live link to one account at a provider."""

    id: str = id_of("conn", "The connection.")
    provider: ProviderSlug
    kind: str = Field(description="How it authenticates.", examples=["token"])
    external_id: str = Field(description="The account's id at the provider.", examples=["acc_larkfield_7"])
    connection_id: ConnectionId
    status: str = Field(description="Its state.", examples=["active"])
    health: str = Field(
        description="What its state comes to: `works`, `needs_person`, `tries_again`, `stopped` by a person, or `gone`.",
        examples=["works"],
    )
    reason: Reason | None = Field(description="Why it is in that state, if there is something to say.", examples=[None])
    owner: str | None = id_of("mem", "The member who looks after it.")
    name: str = Field(description="Its name for people.", examples=["Sandbox: Larkfield Instruments"])
    account_name: str = Field(description="The account's name at the provider.", examples=["Larkfield Instruments"])
    options: dict[str, Any] = Field(description="Its options.", examples=[{"base_url": "http://127.0.0.1:40817"}])
    overrides: dict[str, Any] = Field(description="Its own filters and fields.", examples=[{}])
    scopes: list[str] | None = Field(description="Permissions it is known to have.", examples=[["people:read"]])
    missing_scopes: list[str] = Field(description="Permissions that some operation lacks.", examples=[[]])
    remarks: list[str] = Field(description="What else the test call found, in words.", examples=[[]])
    expires_at: str | None = time_of("When the credential ends, if that is known.")
    created_at: str = time_of("When it was connected.")
    updated_at: str = time_of("When it last changed.")
    validated_at: str = time_of("When the credential last passed the test call.")
    disconnected_at: str | None = time_of("When it was disconnected.")


class Disconnected(Connection):
    """A connection that is no more, and what is left to do."""

    revoked: int = Field(description="Credentials that the provider was told to forget.", examples=[1])
    to_revoke: int = Field(description="Those that it could not be told of yet; tried again for a day.", examples=[0])
    remains: str = Field(description="What a person must still do at the provider.", examples=["Delete the token."])


class Schedule(Row):
    """How one operation of a connection is planned."""

    operation: str = Field(description="The operation.", examples=["people"])
    enabled: bool = Field(description="Whether it runs.", examples=[True])
    switched_on: bool = Field(description="Whether people want it to run.", examples=[True])
    reason: str | None = Field(description="What stops it besides a person who switched it off.", examples=[None])
    every_seconds: int | None = Field(description="How often it runs.", examples=[3600])
    own_every_seconds: int | None = Field(
        description="How often a person says, if not as often as the provider says.", examples=[None]
    )
    next_run_at: str | None = time_of("When it runs next.")
    run_id: str | None = id_of("run", "Its unfinished run.")


class ConnectionDetail(Connection):
    """A connection and how its operations are planned."""

    operations: list[Schedule] = Field(description="Its operations.")


class Day(Row):
    """The runs of a day in UTC that are in one state."""

    day: str = Field(description="The day.", examples=["2026-01-31"])
    status: str = Field(description="The state.", examples=["succeeded"])
    runs: int = Field(description="How many runs.", examples=[24])
    records: int = Field(description="The records that they read.", examples=[57600])
    seconds: float = Field(description="How long they took in all.", examples=[61.5])


class DayQuery(Filter):
    """Which days to count."""

    operation: str | None = text_in_query("Only runs of this operation.", "people", r"^[a-z][a-z0-9_]*$", most=100)
    days: Limit = Field(default=30, ge=1, le=366, description="How many days, today included.", examples=[30])


class ConnectionQuery(Paged):
    """Which connections to list."""

    cursor: str | None = cursor_of("conn")
    provider: str | None = provider_in_query()
    status: Status | None = Field(default=None, description="Only those in this state.", examples=["active"])
    health: Health | None = Field(
        default=None, description="Only those whose state comes to this.", examples=["needs_person"]
    )
    owner: str | None = text_in_query(
        f"Only those that this member looks after, or `{NOBODY}`.", NOBODY, f"^({NOBODY}|{MEMBER})$"
    )


class NewConnection(Given):
    """What connecting takes."""

    provider: str = Field(description="The provider's slug.", pattern=SLUG, max_length=60, examples=["sandbox"])
    options: Options = Field(default_factory=dict)
    credential: Credential
    by: Way | None = None
    expires_at: Moment | None = Field(
        default=None, description="When the credential ends, to be warned before.", examples=["2027-01-31T00:00:00Z"]
    )
    name: Name | None = None


class ConnectionChange(Given):
    """What to change; what is left out stays."""

    name: Name | None = None
    options: Options | None = None
    overrides: Overrides | None = None
    owner: str | None = Field(
        default=None,
        description="The member who is to look after it; empty for nobody.",
        pattern=f"^({MEMBER})?$",
        examples=["mem_01k0c4m2w8eyv9x3f5t7h1n6qp"],
    )


class TimetableChange(Given):
    """What to change of how an operation is planned; what is left out stays."""

    enabled: bool | None = Field(
        default=None, description="Whether it is to run. What else stops it is left as it is.", examples=[True]
    )
    every: str | None = Field(
        default=None,
        description="How often it is to run, from `5m` to `30d`; empty for as often as the provider says.",
        max_length=10,
        examples=["6h"],
    )


class SyncWish(Given):
    """What to sync."""

    operation: str | None = Field(
        default=None, description="One operation; all if left out.", max_length=100, examples=["people"]
    )


_POST: dict[str, Any] = {"absent": True, "conflicts": True, "repeatable": True}
_BARE: dict[str, Any] = _POST | {"body": Nothing, "body_optional": True}
Empty = Annotated[Nothing, Depends(JsonBody(Nothing, optional=True))]


@router.post(
    "/connections",
    **documented(
        Connection,
        status=201,
        body=NewConnection,
        absent=True,
        conflicts=True,
        calls_provider=True,
        repeatable=True,
    ),
)
@once
async def create_connection(
    parts: PartsOf,
    caller: Admin,
    body: Annotated[NewConnection, Depends(JsonBody(NewConnection))],
) -> Response:
    """Connect an account: the credential is tried first, and nothing is saved if that fails. Syncs begin at once."""
    attempt = flow.Attempt(body.provider, body.options, body.credential, body.name, body.by, body.expires_at)
    return answer(connection_row(await flow.connect(parts, caller.org_id, attempt)), 201)


@router.get("/connections", **documented(Page[Connection], query=ConnectionQuery))
async def list_connections(parts: PartsOf, caller: Auditor, query: Annotated[ConnectionQuery, Query()]) -> Response:
    """List connections, oldest first; disconnected ones only when asked for by status."""
    async with parts.db.work(caller.org_id) as work:
        page = await store.list_connections(
            work,
            query.paging,
            provider=query.provider,
            status=query.status,
            statuses=HEALTH[query.health] if query.health else (),
            owner=query.owner,
        )
    return answer(listing(page, connection_row))


@router.get("/connections/{connection_id}", **documented(ConnectionDetail, absent=True))
async def get_connection(parts: PartsOf, caller: Auditor, connection_id: Id) -> Response:
    """Show one connection and how its operations are planned."""
    async with parts.db.work(caller.org_id) as work:
        found = await store.get_connection(work, connection_id)
        planned = await list_schedules(work, connection_id)
    return answer(connection_row(found) | {"operations": [schedule_row(one) for one in planned]})


@router.patch(
    "/connections/{connection_id}",
    **documented(Connection, body=ConnectionChange, absent=True, conflicts=True, calls_provider=True),
)
async def change_connection(
    parts: PartsOf,
    caller: Admin,
    connection_id: Id,
    body: Annotated[ConnectionChange, Depends(JsonBody(ConnectionChange))],
) -> Response:
    """Change a connection's name, options, overrides or owner; new options must open the same account."""
    changed = await reconfigure(
        parts,
        caller.org_id,
        connection_id,
        name=body.name,
        options=body.options,
        overrides=body.overrides,
        owner=body.owner,
    )
    return answer(connection_row(changed))


@router.get("/connections/{connection_id}/days", **documented(Page[Day], query=DayQuery, absent=True))
async def count_run_days(
    parts: PartsOf, caller: Auditor, connection_id: Id, query: Annotated[DayQuery, Query()]
) -> Response:
    """Count the runs of a connection by day and state, oldest first; days without a run are left out."""
    return answer(await read_days(parts, caller.org_id, connection_id, days=query.days, operation=query.operation))


@router.patch(
    "/connections/{connection_id}/operations/{operation}",
    **documented(Schedule, body=TimetableChange, absent=True, conflicts=True),
)
async def change_timetable(
    parts: PartsOf,
    caller: Admin,
    connection_id: Id,
    operation: Annotated[str, Path(description="The operation.", max_length=100, examples=["people"])],
    body: Annotated[TimetableChange, Depends(JsonBody(TimetableChange))],
) -> Response:
    """Switch an operation on or off, or change how often it runs; a new period counts from the end of its last run."""
    changed = await timetables.change_timetable(
        parts, caller.org_id, connection_id, operation, enabled=body.enabled, every=body.every
    )
    return answer(schedule_row(changed))


@router.delete("/connections/{connection_id}", **documented(Disconnected, absent=True, conflicts=True))
async def disconnect(parts: PartsOf, caller: Admin, connection_id: Id) -> Response:
    """Disconnect: revoke and destroy the credentials and stop everything; what was read stays as history."""
    return answer(disconnected_row(await ending.disconnect(parts, caller.org_id, connection_id)))


@router.post("/connections/{connection_id}/test", **documented(Connection, **_BARE, calls_provider=True))
@once
async def test_connection(parts: PartsOf, caller: Admin, connection_id: Id, _body: Empty) -> Response:  # noqa: PT019
    """Try the stored credential, and put the connection into the state that it shows."""
    return answer(connection_row(await flow.test_connection(parts, caller.org_id, connection_id)))


@router.post("/connections/{connection_id}/pause", **documented(Connection, **_BARE))
@once
async def pause_connection(parts: PartsOf, caller: Admin, connection_id: Id, _body: Empty) -> Response:
    """Stop all runs of a connection until it is resumed."""
    return answer(connection_row(await pause(parts, caller.org_id, connection_id)))


@router.post("/connections/{connection_id}/resume", **documented(Connection, **_BARE))
@once
async def resume_connection(parts: PartsOf, caller: Admin, connection_id: Id, _body: Empty) -> Response:
    """Let a paused connection run again, at once."""
    return answer(connection_row(await resume(parts, caller.org_id, connection_id)))


@router.post(
    "/connections/{connection_id}/sync",
    **documented(Page[Run], status=202, **_POST, body=SyncWish, body_optional=True),
)
@once
async def start_sync(
    parts: PartsOf,
    caller: Member,
    connection_id: Id,
    body: Annotated[SyncWish, Depends(JsonBody(SyncWish, optional=True))],
) -> Response:
    """Ask for a run now, of one operation or all; the runs that answer it, those under way included."""
    started = await request_sync(parts, caller.org_id, connection_id, operation=body.operation)
    return answer({"items": [run_row(one) for one in started], "next": None}, 202)
