"""Entities: what was read, normalised, with the provider's own record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from tieline.api.caller import Auditor, PartsOf
from tieline.api.describe import documented
from tieline.api.schemas import (
    ConnectionId,
    ExternalId,
    Filter,
    Flag,
    Page,
    Paged,
    ProviderSlug,
    Row,
    WrittenMoment,
    answer,
    cursor_of,
    id_in_path,
    id_in_query,
    id_of,
    kind_in_query,
    provider_in_query,
    text_in_query,
    time_of,
)
from tieline.flows.history import (
    compare_times,
    difference_row,
    list_as_of,
    list_versions,
    past_row,
    see_past,
    version_row,
)
from tieline.flows.views import entity_detail, entity_row, listing
from tieline.store import entities as store
from tieline.store import entity_lists
from tieline.store.entity_counts import count_by_kind

router = APIRouter(tags=["entities"])
Id = Annotated[str, id_in_path("ent", "The entity.")]
_SEARCH = (
    "Only those with this external id, or this within e-mail, name or title. A page looks through "
    f"{entity_lists.LOOKED_THROUGH:,} entities: it may hold fewer than `limit`, even none, while `next` leads on."
)
_MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"


def _as_of(about: str) -> Any:
    return Field(default=None, description=about, examples=["2026-01-31T12:00:00Z"])


class Entity(Row):
    """A record after filter and map, of a normalised kind."""

    id: str = id_of("ent", "The entity.")
    provider: ProviderSlug
    kind: str = Field(description="The normalised kind.", examples=["account"])
    external_id: ExternalId
    connection_id: ConnectionId
    status: str = Field(description="Its state at the provider; empty if the kind has none.", examples=["active"])
    operation: str = Field(description="The operation that read it.", examples=["people"])
    run_id: str | None = id_of(
        "run", "The run that last changed it; null if that is not known of a time that has been."
    )
    data: dict[str, Any] = Field(description="Its normalised fields.", examples=[{"email": "ada@larkfield.example"}])
    answers: dict[str, str] | None = Field(
        description="Each check's standing answer; null with `as_of`: what checks said then, evidence tells.",
        examples=[{"mfa-enabled": "pass"}],
    )
    first_seen_at: str = time_of("When it was first read.")
    changed_at: str = time_of("When it last changed.")
    removed_at: str | None = time_of("When a complete run no longer saw it.")


class EntityDetail(Entity):
    """An entity with the record that it came from."""

    raw: Any = Field(
        description="The provider's record; null with `as_of`: only the present one is kept.",
        examples=[{"id": "per_7", "mfa": True}],
    )


class FieldChange(Row):
    """A field that differs from what it was before."""

    field: str = Field(description="The normalised field.", examples=["department"])
    before: Any = Field(description="What it was; null if it was not told.", examples=["Sales"])
    after: Any = Field(description="What it became; null if it is no longer told.", examples=["Finance"])


class EntityVersion(Row):
    """What an entity was for some time, and what made it so."""

    what: Literal["created", "changed", "removed", "returned", "unknown"] = Field(
        description="What it began with; unknown for the oldest one that is kept, if there were others before.",
        examples=["changed"],
    )
    since: str = time_of("From when it held.")
    until: str | None = time_of("Until when it held; null for the present.")
    run_id: str | None = id_of("run", "The run that made it so; null if that is not known.")
    status: str = Field(description="Its state at the provider.", examples=["active"])
    changes: list[FieldChange] | None = Field(
        description="The fields in which it differs from the version before; null if that one is no longer kept."
    )


class EntityDifference(Row):
    """An entity at two times, side by side."""

    before: Entity | None = Field(description="What it was at the first time; null if it had not been read by then.")
    after: Entity | None = Field(description="What it was at the second one; null if it had not been read by then.")
    changes: list[FieldChange] = Field(description="The fields that differ between the two.")


class KindCount(Row):
    """How many present entities there are of a kind."""

    kind: str = Field(description="The kind.", examples=["account"])
    count: int = Field(description="How many.", examples=[2400])


class EntityQuery(Paged):
    """Which entities to list."""

    cursor: str | None = cursor_of("ent")
    kind: str | None = kind_in_query()
    connection_id: str | None = id_in_query("conn", "Only those of this connection.")
    provider: str | None = provider_in_query()
    status: str | None = text_in_query("Only those in this state.", "active", r"^[^\x00]+$")
    verdict: Literal["fail", "unknown", "pass", "none"] | None = Field(
        default=None, description="Only those of whose standing answers this is the worst.", examples=["fail"]
    )
    search: str | None = text_in_query(_SEARCH, "ada@", r"^[^\x00]+$")
    removed: Flag = Field(default=False, description="Those that are gone, instead.", examples=[False])
    as_of: WrittenMoment | None = _as_of("As they were at this time, filtered by what they were then.")


class EntityAt(Filter):
    """When to look at it."""

    as_of: WrittenMoment | None = _as_of("As it was at this time.")


class DifferenceQuery(Filter):
    """Which two times to compare."""

    since: WrittenMoment | None = Field(
        default=None,
        description="The first time; when it was first read, if it is left out.",
        examples=["2026-01-31T12:00:00Z"],
    )
    until: WrittenMoment | None = Field(
        default=None, description="The second one; now, if it is left out.", examples=["2026-02-28T12:00:00Z"]
    )


class VersionQuery(Paged):
    """Which versions to list."""

    cursor: str | None = text_in_query(
        "The `next` of the page before.", "2026-01-31T12:00:00.000000Z", _MOMENT, most=40
    )


class KindQuery(Filter):
    """What to count."""

    connection_id: str | None = id_in_query("conn", "Only those of this connection.")


@router.get("/entities", **documented(Page[Entity], query=EntityQuery))
async def list_entities(parts: PartsOf, caller: Auditor, query: Annotated[EntityQuery, Query()]) -> Response:
    """List entities, as they are or as they were."""
    wanted = query.model_dump(exclude={"cursor", "limit", "as_of"})
    async with parts.db.work(caller.org_id) as work:
        if query.as_of:
            past = await list_as_of(work, query.paging, query.as_of, now=parts.clock.now(), **wanted)
            return answer(listing(past, past_row))
        return answer(listing(await entity_lists.list_entities(work, query.paging, **wanted), entity_row))


@router.get("/entities/kinds", **documented(Page[KindCount], query=KindQuery))
async def count_entities(parts: PartsOf, caller: Auditor, query: Annotated[KindQuery, Query()]) -> Response:
    """Count the present entities by kind."""
    async with parts.db.work(caller.org_id) as work:
        counts = await count_by_kind(work, query.connection_id)
    return answer({"items": [{"kind": kind, "count": counts[kind]} for kind in sorted(counts)], "next": None})


@router.get("/entities/{entity_id}", **documented(EntityDetail, query=EntityAt, absent=True))
async def get_entity(parts: PartsOf, caller: Auditor, entity_id: Id, query: Annotated[EntityAt, Query()]) -> Response:
    """Show one entity and the record that it came from, or what it was at a time."""
    async with parts.db.work(caller.org_id) as work:
        if query.as_of:
            past = await see_past(work, entity_id, query.as_of, now=parts.clock.now())
            return answer(past_row(past) | {"raw": None})
        return answer(entity_detail(*await store.get_entity(work, entity_id)))


@router.get("/entities/{entity_id}/history", **documented(Page[EntityVersion], query=VersionQuery, absent=True))
async def list_history(
    parts: PartsOf, caller: Auditor, entity_id: Id, query: Annotated[VersionQuery, Query()]
) -> Response:
    """List what the entity was, newest first: when, what differed from before, and by which run."""
    async with parts.db.work(caller.org_id) as work:
        return answer(listing(await list_versions(work, entity_id, query.paging), version_row))


@router.get("/entities/{entity_id}/diff", **documented(EntityDifference, query=DifferenceQuery, absent=True))
async def compare_entity(
    parts: PartsOf, caller: Auditor, entity_id: Id, query: Annotated[DifferenceQuery, Query()]
) -> Response:
    """Compare what the entity was at two times: which fields differ, and whether it was there."""
    async with parts.db.work(caller.org_id) as work:
        found = await compare_times(work, entity_id, query.since, query.until, now=parts.clock.now())
    return answer(difference_row(found))
