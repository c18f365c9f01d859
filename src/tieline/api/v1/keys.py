"""Keys, for operators: which seal, how many stored values need each, and bringing those under the current one."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from tieline.api.caller import Operator, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import Page, Row, answer
from tieline.flows.audit import record
from tieline.flows.rewrap import list_keys, rewrap

router = APIRouter(tags=["keys"])
AT_ONCE = 1000
"""Stored values that one request brings under the current key."""


class Key(Row):
    """A key-encryption key, of which only the name is known."""

    id: str = Field(description="Its name.", examples=["kek_01k0c4m2w8eyv9x3f5t7h1n6qp"])
    lives_in: str = Field(
        description="`key ring`, or the key service `aws-kms`, `gcp-kms` or `transit`; `missing` if nobody has it.",
        examples=["key ring"],
    )
    current: bool = Field(
        description="Whether it seals now; of no key if the key service cannot be reached.", examples=[True]
    )
    in_use: int = Field(description="Stored values that need it.", examples=[12])


class Rewrapping(Row):
    """How far the re-wrapping is after this request."""

    total: int = Field(description="Stored values that were under former keys before.", examples=[20000])
    done: int = Field(description="Those that this request brought under the current key.", examples=[1000])
    failed: int = Field(description="Those that it could not: damaged, or their key is missing.", examples=[0])
    left: int = Field(description="Those that are still under former keys.", examples=[19000])


@router.get("/keys", **documented(Page[Key]))
async def list_encryption_keys(parts: PartsOf, _caller: Operator) -> Response:
    """List the keys that there are or that stored values need, the current one first."""
    return answer({"items": [asdict(one) for one in await list_keys(parts)], "next": None})


@router.post("/keys/re-wrap", **documented(Rewrapping))
async def rewrap_stored_values(parts: PartsOf, caller: Operator) -> Response:
    """Bring up to 1,000 stored values under the current key, and say how many are left.

    Repeat it until `left` is 0, or leave the rest to the upkeep of the workers. It is safe to repeat, and to do twice at once.
    """
    async with parts.db.work(caller.org_id) as work:
        await record(work, parts, "key.rewrap_requested")
    state = await rewrap(parts, at_most=AT_ONCE)
    return answer({"total": state.total, "done": state.done, "failed": state.failed, "left": state.left})
