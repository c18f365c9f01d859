"""Audit: who did what, and signed statements of where the log stood."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from tieline.api.caller import Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import Page, Paged, Row, WrittenMoment, answer, id_of, text_in_query, time_of
from tieline.flows.audit import entry_row, public_key_text
from tieline.flows.views import listing
from tieline.stages.chain import checkpoint_row
from tieline.store import audit as store

router = APIRouter(tags=["audit"])

_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_VISIBLE = r"^[!-~]+$"


class Entry(Row):
    """One thing that somebody did."""

    seq: int = Field(
        description="Its number; the entries of an organization are numbered from 1 without gaps.", examples=[7]
    )
    at: str = time_of("When.")
    actor: str = Field(
        description="Who: an API key's id, `cli:` and an account, `engine`, `system`.", examples=["engine"]
    )
    action: str = Field(description="What was done.", examples=["api_key.created"])
    target: str | None = id_of("key", "The id of what it was done to.")
    details: dict[str, Any] = Field(description="Ids, names, counts; never values.", examples=[{"role": "auditor"}])
    request_id: str | None = id_of("req", "The request that it was done in.")
    prev_hash: str = Field(description="The hash of the entry before, in hex.", examples=[_HASH])
    hash: str = Field(description="HMAC-SHA-256 over all other members, in hex.", examples=[_HASH])


class Checkpoint(Row):
    """A signed statement of where the log stood."""

    org_id: str = id_of("org", "The organization.")
    seq: int = Field(description="The last entry at that time.", examples=[1000])
    prev_seq: int = Field(description="The entry of the checkpoint before; 0 for the first.", examples=[0])
    hash: str = Field(description="That entry's hash, in hex.", examples=[_HASH])
    signed_at: str = time_of("When it was signed.")
    signature: str = Field(
        description="Ed25519, in base64, over the other members as JSON with sorted names and no white space.",
        examples=["5mVFVpmC…"],
    )


class Checkpoints(Page[Checkpoint]):
    """One page of checkpoints, and the key that checks them."""

    public_key: str = Field(description="The Ed25519 public key, 32 bytes in base64.", examples=["11qYAYKxCrfVS…"])


class CheckpointQuery(Paged):
    """Which checkpoints to list."""

    cursor: str | None = text_in_query("The `next` of the page before.", "41", r"^[1-9][0-9]{0,17}$", most=18)


class EntryQuery(CheckpointQuery):
    """Which entries to list."""

    actor: str | None = text_in_query("Only what this one did.", "engine", _VISIBLE)
    action: str | None = text_in_query("Only this action.", "api_key.created", r"^[a-z_]+\.[a-z_]+$", most=60)
    target: str | None = text_in_query("Only what was done to this one.", "key_01k0c4m2w8eyv9x3f5t7h1n6qp", _VISIBLE)
    since: WrittenMoment | None = Field(default=None, description="Only since then.", examples=["2026-01-31T12:00:00Z"])


@router.get("/audit", **documented(Page[Entry], query=EntryQuery))
async def list_audit_entries(parts: PartsOf, caller: Auditor, query: Annotated[EntryQuery, Query()]) -> Response:
    """List what was done, newest first."""
    wanted = query.model_dump(exclude={"cursor", "limit"})
    async with parts.db.work(caller.org_id) as work:
        return answer(listing(await store.list_entries(work, query.paging, **wanted), entry_row))


@router.get("/audit/checkpoints", **documented(Checkpoints, query=CheckpointQuery))
async def list_audit_checkpoints(
    parts: PartsOf, caller: Auditor, query: Annotated[CheckpointQuery, Query()]
) -> Response:
    """List the signed statements of where the log stood, newest first."""
    async with parts.db.work(caller.org_id) as work:
        page = listing(await store.list_checkpoints(work, query.paging), checkpoint_row)
    return answer(page | {"public_key": public_key_text(parts)})
