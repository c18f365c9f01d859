"""API keys: made, listed and revoked; a key itself is shown once, to whoever makes it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from tieline.access.roles import Role
from tieline.api.body import Given, JsonBody
from tieline.api.caller import Admin, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import Moment, Name, Page, Paged, Row, answer, cursor_of, id_in_path, id_of, time_of
from tieline.flows import api_keys as flow
from tieline.flows.parts import Parts
from tieline.flows.views import JsonRow, api_key_row, listing
from tieline.store import api_keys as store

router = APIRouter(tags=["api-keys"])


class ApiKey(Row):
    """An API key, of which only the prefix is known."""

    id: str = id_of("key", "The key's id.")
    name: str = Field(description="Its name for people.", examples=["nightly export"])
    role: str = Field(description="How far it reaches.", examples=["auditor"])
    prefix: str = Field(description="The part of it that is no secret.", examples=["a1B2c3D4e5F6"])
    status: str = Field(description="`active`, `expired` or `revoked`.", examples=["active"])
    created_at: str = time_of("When it was made.")
    expires_at: str | None = time_of("When it stops working.")
    last_used_at: str | None = time_of("When it was last used, to the minute.")
    revoked_at: str | None = time_of("When it was revoked.")


class MadeApiKey(ApiKey):
    """A key just made."""

    key: str = Field(description="The key; it is not shown again.", examples=["tl_a1B2c3D4e5F6_…"])


class NewApiKey(Given):
    """What a key should be."""

    name: Name
    role: Role = Field(description="How far it reaches; at most as far as yours.", examples=["auditor"])
    expires_at: Moment | None = Field(
        default=None, description="When it stops working; never if left out.", examples=["2031-01-31T12:00:00Z"]
    )


class ApiKeyQuery(Paged):
    """Which keys to list."""

    cursor: str | None = cursor_of("key")


async def make_key(parts: Parts, request: Request, org_id: str, wanted: NewApiKey) -> JsonRow:
    """Make a key for an organization; its row, with the key in plain."""
    made = await flow.create_api_key(
        parts, org_id, request.app.state.pepper, name=wanted.name, role=wanted.role, expires_at=wanted.expires_at
    )
    return api_key_row(made.row, now=parts.clock.now()) | {"key": made.plain}


@router.post("/api-keys", **documented(MadeApiKey, status=201, body=NewApiKey))
async def create_api_key(
    request: Request, parts: PartsOf, caller: Admin, body: Annotated[NewApiKey, Depends(JsonBody(NewApiKey))]
) -> Response:
    """Make a key, of a role no higher than one's own; it is shown this once.

    An `Idempotency-Key` is not heeded here: the answer holds a secret, and no secret is kept for a repeat.
    """
    caller.must_be(body.role)
    return answer(await make_key(parts, request, caller.org_id, body), 201)


@router.get("/api-keys", **documented(Page[ApiKey], query=ApiKeyQuery))
async def list_api_keys(parts: PartsOf, caller: Admin, query: Annotated[ApiKeyQuery, Query()]) -> Response:
    """List the organization's keys, revoked ones too."""
    now = parts.clock.now()
    async with parts.db.work(caller.org_id) as work:
        return answer(listing(await store.list_api_keys(work, query.paging), lambda one: api_key_row(one, now=now)))


@router.delete("/api-keys/{key_id}", **documented(ApiKey, absent=True))
async def revoke_api_key(
    parts: PartsOf, caller: Admin, key_id: Annotated[str, id_in_path("key", "The key's id.")]
) -> Response:
    """Make a key, of a role no higher than one's own, useless at once; a second time changes nothing."""
    revoked = await flow.revoke_api_key(parts, caller.org_id, key_id, caller=caller)
    return answer(api_key_row(revoked, now=parts.clock.now()))
