"""Mappings: what newest runs could not map, and what another filter or another field would make of a record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import Field
from starlette.responses import Response

from tieline.api.body import Given, JsonBody
from tieline.api.caller import Admin, Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import ConnectionId, Page, ProviderSlug, Row, answer, id_in_path, id_of, time_of
from tieline.errors import Invalid
from tieline.flows import lab as flow
from tieline.flows.overrides import Own, read_own
from tieline.flows.tried import alike_row, trial_row
from tieline.sdk.cel import MAX_LENGTH
from tieline.store.connections import get_connection
from tieline.store.records import group_samples

router = APIRouter(tags=["connections"])

Id = Annotated[str, id_in_path("conn", "The connection.")]
OperationId = Annotated[str, Path(description="The operation.", max_length=100, examples=["people"])]
Whose = Literal["provider", "organization"]
State = Literal["kept", "left_out", "rejected"]
Source = Annotated[
    str, Field(min_length=1, max_length=MAX_LENGTH, examples=["payload.employment_type != 'contractor'"])
]


class RejectedAlike(Row):
    """Records that the newest run of an operation rejected for one reason."""

    operation: str = Field(description="The operation.", examples=["people"])
    run_id: str = id_of("run", "Its newest run that read something.")
    kind: str = Field(description="The kind that they should have become.", examples=["account"])
    field: str = Field(description="The field that was wrong.", examples=["email"])
    reason: str = Field(description="What was wrong with it.", examples=["is not text: map a number with string()"])
    sampled: int = Field(description="How many samples there are; at most twenty are kept of a run.", examples=[3])
    rejected: int = Field(description="How many records that run rejected in all.", examples=[12])
    record_ids: list[str] = Field(
        description="The samples, newest first; each can be tried.", examples=[["rej_01k0c4m2w8eyv9x3f5t7h1n6qp"]]
    )
    at: str = time_of("When the newest of them was rejected.")


class MappingTrial(Given):
    """Which record to try, and the organization's own filter and fields to try it with.

    Give `record_id` or `record`. What is left out of `filter` and `fields` is as it is in force.
    """

    record_id: str | None = Field(
        default=None,
        description="An entity, whose stored record is tried, or a sample of a rejected record.",
        max_length=100,
        examples=["ent_01k0c4m2w8eyv9x3f5t7h1n6qp"],
    )
    record: dict[str, Any] | None = Field(
        default=None,
        description="A record as the provider would give it.",
        examples=[{"id": "p_7", "email": "a@b.example"}],
    )
    variant: str | None = Field(
        default=None,
        description="For an operation with several mappings, which one; told by the record if left out.",
        max_length=100,
        examples=["account"],
    )
    filter: Source | Literal[""] | None = Field(
        default=None,
        description="One's own filter, in CEL, which must hold as well as the provider's. An empty one is none.",
        examples=["payload.employment_type != 'contractor'"],
    )
    fields: dict[str, Source] | None = Field(
        default=None,
        description="One's own fields, in CEL, each in place of the provider's.",
        examples=[{"department": "payload.cost_centre"}],
    )
    compare: int = Field(
        default=0,
        ge=0,
        le=flow.MOST_COMPARED,
        description="With how many stored records to compare.",
        examples=[200],
    )


class FilterTried(Row):
    """A filter: all must hold."""

    expression: str = Field(description="In CEL.", examples=["payload.employment_type != 'contractor'"])
    whose: Whose = Field(description="Whose it is.", examples=["organization"])
    state: Literal["value", "none", "error", "long"] | None = Field(
        description="What it gave: a value, none, an error, or a value too long to be told; null where it was not asked.",
        examples=["value"],
    )
    value: Any = Field(description="Its value.", examples=[True])
    error: str | None = Field(description="Why it has none.", examples=[None])


class FieldTried(Row):
    """A field: the expression in force, whose it is, and what it gave by itself."""

    field: str = Field(description="The field.", examples=["department"])
    expression: str = Field(description="In CEL; empty for a field that nobody maps.", examples=["payload.cost_centre"])
    whose: Whose | None = Field(description="Whose it is.", examples=["organization"])
    state: Literal["value", "none", "error", "long"] | None = Field(
        description="What it gave: a value, none, an error, or a value too long to be told; null where it was not asked.",
        examples=["value"],
    )
    value: Any = Field(description="Its value.", examples=["Research"])
    error: str | None = Field(description="Why it has none.", examples=[None])
    provider_expression: str | None = Field(description="The provider's own.", examples=["payload.department"])


class Rejected(Row):
    """Why no entity can be made from a record."""

    field: str = Field(description="The field that is wrong.", examples=["email"])
    reason: str = Field(description="What is wrong with it.", examples=["has no value in this record"])


class Said(Row):
    """What a check would say of the entity."""

    check: str = Field(description="The check.", examples=["mfa-enabled"])
    title: str = Field(description="Its title.", examples=["Every active person has a second factor"])
    severity: str = Field(description="How much a failure weighs.", examples=["high"])
    outcome: str = Field(description="`pass`, `fail` or `unknown`.", examples=["pass"])
    before: str | None = Field(description="What it says of the stored entity.", examples=["fail"])
    values: dict[str, Any] = Field(description="The values that decide.", examples=[{"mfa": True}])


class Change(Row):
    """A field that differs."""

    in_force: Any = Field(description="By the mapping in force.", examples=["Engineering"])
    tried: Any = Field(description="By the one that is tried.", examples=["Research"])


class InForce(Row):
    """What the mapping in force makes of the same record."""

    outcome: State = Field(description="What becomes of it.", examples=["kept"])
    changes: dict[str, Change] = Field(description="Fields that differ.")


class States(Row):
    """How many records become what."""

    kept: int = Field(description="Become an entity.", examples=[190])
    left_out: int = Field(description="Are left out by a filter.", examples=[10])
    rejected: int = Field(description="Fit no entity.", examples=[0])


class Moved(Row):
    """A stored record of which something else would come."""

    entity_id: str = id_of("ent", "Its entity.")
    external_id: str = Field(description="The entity's id at the provider.", examples=["p_7"])
    in_force: State = Field(description="What becomes of it now.", examples=["kept"])
    tried: State = Field(description="What would become of it.", examples=["left_out"])
    rejection: Rejected | None = Field(description="Why it would be rejected.", examples=[None])
    changes: dict[str, Change] = Field(description="Fields that would differ.")


class Compared(Row):
    """What would come of many stored records."""

    records: int = Field(description="Stored records that were compared.", examples=[200])
    in_force: States = Field(description="What becomes of them now.")
    tried: States = Field(description="What would become of them.")
    changed: int = Field(description="Kept both times, with other fields.", examples=[12])
    samples: int = Field(description="Rejected records that were tried besides.", examples=[3])
    mended: int = Field(description="Those of them that would fit.", examples=[3])
    examples: list[Moved] = Field(description="Some of which something else would come, the lost ones first.")


class Trial(Row):
    """What a run would make of one record; nothing is written."""

    connection_id: ConnectionId
    provider: ProviderSlug
    operation: str = Field(description="The operation.", examples=["people"])
    variant: str | None = Field(description="The mapping that was tried, where there are several.", examples=[None])
    kind: str = Field(description="The kind that it should become.", examples=["account"])
    record_id: str | None = id_of("ent", "The entity or sample whose record it is.")
    outcome: State = Field(description="What becomes of it.", examples=["kept"])
    entity_id: str | None = id_of("ent", "The entity that it becomes or, rejected, that it is about.")
    entity: dict[str, Any] | None = Field(description="The entity's fields.", examples=[{"external_id": "p_7"}])
    rejection: Rejected | None = Field(description="Why there is none.", examples=[None])
    filters: list[FilterTried] = Field(description="The filters, the provider's first.")
    fields: list[FieldTried] = Field(description="Every field of the kind.")
    checks: list[Said] = Field(description="What the checks would say.")
    in_force: InForce = Field(description="What the mapping in force makes of it.")
    compared: Compared | None = Field(description="The comparison, if one was asked for.")


@router.get("/connections/{connection_id}/rejections", **documented(Page[RejectedAlike], absent=True))
async def list_rejected_alike(parts: PartsOf, caller: Auditor, connection_id: Id) -> Response:
    """List what the newest run of each operation rejected, by field and reason, the most frequent first."""
    async with parts.db.work(caller.org_id) as work:
        await get_connection(work, connection_id)
        found = await group_samples(work, connection_id)
    return answer({"items": [alike_row(one) for one in found], "next": None})


@router.post(
    "/connections/{connection_id}/operations/{operation}/try",
    **documented(Trial, body=MappingTrial, absent=True, conflicts=True),
)
async def try_mapping(
    parts: PartsOf,
    caller: Admin,
    connection_id: Id,
    operation: OperationId,
    body: Annotated[MappingTrial, Depends(JsonBody(MappingTrial))],
) -> Response:
    """Try a mapping on a record: what a run would make of it, by the filter and fields given. Nothing is written.

    To put them in force, save them as the connection's `overrides`.
    """
    place = await flow.open_place(parts, caller.org_id, connection_id, operation)
    chosen = await _choose(parts, place, body)
    standing = read_own(place.overrides, chosen.variant)
    own = Own(
        standing.filter if body.filter is None else body.filter or None,
        standing.fields if body.fields is None else body.fields,
    )
    return answer(trial_row(await flow.try_mapping(parts, place, chosen, own, others=body.compare)))


async def _choose(parts: PartsOf, place: flow.Place, body: MappingTrial) -> flow.Chosen:
    if (body.record_id is None) == (body.record is None):
        raise Invalid(
            "Give `record_id` or `record`, one of them",
            fields=[{"field": "body.record_id", "problem": "is needed, or `record`"}],
        )
    if body.record_id is not None:
        return await flow.choose_record(parts, place, body.record_id, body.variant)
    return flow.give_record(place, body.record, body.variant)
