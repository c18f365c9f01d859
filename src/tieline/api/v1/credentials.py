"""Credentials of a connection: which versions it holds, never what is in them; and rotating, rolling back, switching."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from tieline.api.body import Given, JsonBody, Nothing
from tieline.api.caller import Admin, Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.idempotency import once
from tieline.api.schemas import Credential, Moment, Page, Row, Way, answer, id_in_path, id_of, time_of
from tieline.api.v1.connections import Connection
from tieline.flows import connect as flow
from tieline.flows.views import connection_row, credential_row
from tieline.store.connections import get_connection
from tieline.store.credentials import list_credentials

router = APIRouter(tags=["connections"])
Id = Annotated[str, id_in_path("conn", "The connection.")]


class Version(Row):
    """One version of what a slot holds."""

    id: str = id_of("cred", "The version.")
    slot: str = Field(description="The slot.", examples=["token"])
    version: int = Field(description="Its number.", examples=[2])
    in_force: bool = Field(description="Whether it is the slot's present one.", examples=[True])
    fingerprint: str = Field(description="Eight digits by which to recognise it.", examples=["9f31c2aa"])
    key_id: str = Field(description="The key that seals it.", examples=["kek_01k3…"])
    created_at: str = time_of("When it was given.")
    created_by: str = Field(description="Who gave it.", examples=["key_01k3…"])
    refreshed_at: str | None = time_of("When its token was last refreshed.")
    expires_at: str | None = time_of("When it ends, if that is known.")
    retired_at: str | None = time_of("When it was replaced.")


class NewCredential(Given):
    """A new credential for the same account."""

    credential: Credential
    by: Way | None = None
    expires_at: Moment | None = Field(
        default=None, description="When the credential ends, to be warned before.", examples=["2027-01-31T00:00:00Z"]
    )
    options: dict[str, Any] | None = Field(
        default=None,
        description="Options in place of those that stand, as when the account has moved to another address.",
        examples=[None],
    )


class Switch(Given):
    """Which of the credentials that the connection holds to go on with."""

    by: Way


_POST: dict[str, Any] = {"absent": True, "conflicts": True, "repeatable": True, "calls_provider": True}
NewBody = Annotated[NewCredential, Depends(JsonBody(NewCredential))]
Empty = Annotated[Nothing, Depends(JsonBody(Nothing, optional=True))]


@router.get("/connections/{connection_id}/credentials", **documented(Page[Version], absent=True))
async def list_versions(parts: PartsOf, caller: Auditor, connection_id: Id) -> Response:
    """List the versions that a connection holds, by slot, the newest first."""
    async with parts.db.work(caller.org_id) as work:
        await get_connection(work, connection_id)
        kept = await list_credentials(work, connection_id)
    return answer({"items": [credential_row(one) for one in kept], "next": None})


@router.post("/connections/{connection_id}/rotate", **documented(Connection, **_POST, body=NewCredential))
@once
async def rotate_credential(parts: PartsOf, caller: Admin, connection_id: Id, body: NewBody) -> Response:
    """Put a new credential in force, after a test call; it must open the same account."""
    return await _replace(parts, caller, connection_id, body)


@router.post("/connections/{connection_id}/reconnect", **documented(Connection, **_POST, body=NewCredential))
@once
async def reconnect(parts: PartsOf, caller: Admin, connection_id: Id, body: NewBody) -> Response:
    """Bring a connection whose credential died back to life with a new one, by the same way or another."""
    return await _replace(parts, caller, connection_id, body)


@router.post(
    "/connections/{connection_id}/roll-back", **documented(Connection, **_POST, body=Nothing, body_optional=True)
)
@once
async def roll_back_credential(parts: PartsOf, caller: Admin, connection_id: Id, _body: Empty) -> Response:
    """Put the credential before the present one in force again, after a test call with it."""
    return answer(connection_row(await flow.roll_back(parts, caller.org_id, connection_id)))


@router.post("/connections/{connection_id}/switch", **documented(Connection, **_POST, body=Switch))
@once
async def switch_way(
    parts: PartsOf, caller: Admin, connection_id: Id, body: Annotated[Switch, Depends(JsonBody(Switch))]
) -> Response:
    """Go on by another way whose credential the connection holds already, after a test call with it."""
    return answer(connection_row(await flow.switch_way(parts, caller.org_id, connection_id, body.by)))


async def _replace(parts: PartsOf, caller: Admin, connection_id: str, body: NewCredential) -> Response:
    changed = await flow.replace_credential(
        parts,
        caller.org_id,
        connection_id,
        body.credential,
        by=body.by,
        expires_at=body.expires_at,
        options=body.options,
    )
    return answer(connection_row(changed))
