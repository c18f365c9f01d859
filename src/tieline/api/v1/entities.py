"""Entities: what was read, normalised, with the provider's own record."""

from __future__ import annotations

from typing import Annotated, Any

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
from tieline.flows.views import entity_detail, entity_row, listing
from tieline.store import entities as store

router = APIRouter(tags=["entities"])
Id = Annotated[str, id_in_path("ent", "The entity.")]


class Entity(Row):
    """A record after filter and map, of a normalised kind."""

    id: str = id_of("ent", "The entity.")
    provider: ProviderSlug
    kind: str = Field(description="The normalised kind.", examples=["account"])
    external_id: ExternalId
    connection_id: ConnectionId
    status: str = Field(description="Its state at the provider; empty if the kind has none.", examples=["active"])
    operation: str = Field(description="The operation that read it.", examples=["people"])
    run_id: str = id_of("run", "The run that last changed it.")
    data: dict[str, Any] = Field(description="Its normalised fields.", examples=[{"email": "ada@larkfield.example"}])
    answers: dict[str, str] = Field(description="Each check's standing answer.", examples=[{"mfa-enabled": "pass"}])
    first_seen_at: str = time_of("When it was first read.")
    changed_at: str = time_of("When it last changed.")
    removed_at: str | None = time_of("When a complete run no longer saw it.")


class EntityDetail(Entity):
    """An entity with the record that it came from."""

    raw: Any = Field(description="The provider's record.", examples=[{"id": "per_7", "mfa": True}])


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
    search: str | None = text_in_query(
        "Only those with this external id, or this within e-mail, name or title.", "ada@", r"^[^\x00]+$"
    )
    removed: Flag = Field(default=False, description="Those that are gone, instead.", examples=[False])


class KindQuery(Filter):
    """What to count."""

    connection_id: str | None = id_in_query("conn", "Only those of this connection.")


@router.get("/entities", **documented(Page[Entity], query=EntityQuery))
async def list_entities(parts: PartsOf, caller: Auditor, query: Annotated[EntityQuery, Query()]) -> Response:
    """List entities."""
    wanted = query.model_dump(exclude={"cursor", "limit"})
    async with parts.db.work(caller.org_id) as work:
        return answer(listing(await store.list_entities(work, query.paging, **wanted), entity_row))


@router.get("/entities/kinds", **documented(Page[KindCount], query=KindQuery))
async def count_entities(parts: PartsOf, caller: Auditor, query: Annotated[KindQuery, Query()]) -> Response:
    """Count the present entities by kind."""
    async with parts.db.work(caller.org_id) as work:
        counts = await store.count_by_kind(work, query.connection_id)
    return answer({"items": [{"kind": kind, "count": counts[kind]} for kind in sorted(counts)], "next": None})


@router.get("/entities/{entity_id}", **documented(EntityDetail, absent=True))
async def get_entity(parts: PartsOf, caller: Auditor, entity_id: Id) -> Response:
    """Show one entity and the record that it came from."""
    async with parts.db.work(caller.org_id) as work:
        return answer(entity_detail(*await store.get_entity(work, entity_id)))
