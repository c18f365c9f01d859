"""The outbox: domain events, written in the transaction of the change that they tell of, for whoever delivers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Column, Index, Table, Text, select

from tieline.ids import to_uuid
from tieline.store.bulk import insert_many
from tieline.store.db import Work, metadata
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.types import Id, Json, UtcTime

# Without a foreign key, as in entities.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Id("evt"), primary_key=True),
    Column("org_id", Id("org"), nullable=False),
    Column("type", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("data", Json, nullable=False),
    Index("outbox_org_id_idx", "org_id", "id"),
)


@dataclass(frozen=True)
class Event:
    """Something that happened, such as `finding.opened`; `data` holds ids and display values, never secrets."""

    id: str
    org_id: str
    type: str
    at: datetime
    data: dict[str, Any]


async def add_to_outbox(work: Work, events: Sequence[Event]) -> None:
    """Append events."""
    rows = [
        (to_uuid(one.id, "evt"), to_uuid(one.org_id, "org"), one.type, one.at, orjson.dumps(one.data).decode())
        for one in events
    ]
    await insert_many(work, outbox, ("id", "org_id", "type", "at", "data"), rows)


async def list_outbox(work: Work, paging: Paging, *, type: str | None = None) -> Listing[Event]:
    """Events, oldest first."""
    query = select(outbox).where(outbox.c.org_id == work.org_id)
    if type:
        query = query.where(outbox.c.type == type)
    return await list_page(work, query, outbox.c.id, paging, read=lambda row: Event(**row._mapping))
