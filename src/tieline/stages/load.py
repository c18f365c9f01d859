"""Load: write what is new or changed, found by comparing hashes, and close what a complete run no longer saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from tieline.ids import entity_uuid, to_uuid
from tieline.sdk.entities import Entity, links_of
from tieline.stages.transform import Candidate, without_nul
from tieline.store import entities as store
from tieline.store.connections import Connection
from tieline.store.db import Work
from tieline.store.entities import Known

Outcomes = dict[str, list[Any]]
"""Check id → [outcome, day on which it was last attested, as days since 1970]."""


@dataclass(frozen=True)
class Comparison:
    """A batch beside what is stored; `known` holds the standing outcomes of every row that exists."""

    created: list[Candidate] = field(default_factory=list)
    changed: list[Candidate] = field(default_factory=list)
    unchanged: list[Candidate] = field(default_factory=list)
    known: Mapping[UUID, Known] = field(default_factory=dict)

    @property
    def to_write(self) -> list[Candidate]:
        """What must be written."""
        return self.created + self.changed

    def outcomes(self, entity: UUID) -> Outcomes:
        """The standing outcomes of an entity; none for a new one."""
        found = self.known.get(entity)
        return found.outcomes if found else {}


async def compare(work: Work, candidates: Sequence[Candidate]) -> Comparison:
    """Look up every candidate's hash: only what differs is written."""
    known = await store.look_up(work, [one.id for one in candidates])
    result = Comparison(known=known)
    for one in candidates:
        stored = known.get(one.id)
        if stored is None or not stored.hash:
            result.created.append(one)
        elif stored.hash != one.hash:
            result.changed.append(one)
        else:
            result.unchanged.append(one)
    return result


async def load(
    work: Work,
    compared: Comparison,
    outcomes: Mapping[UUID, Outcomes],
    *,
    connection: Connection,
    operation: str,
    run_id: str,
    now: datetime,
) -> list[tuple[str, UUID]]:
    """Write the new and changed entities and their links; the (link field, target) pairs that came or went."""
    candidates = compared.to_write
    if not candidates:
        return []
    org, conn, run = to_uuid(work.org_id, "org"), to_uuid(connection.id, "conn"), to_uuid(run_id, "run")
    rows = [
        (
            one.id, org, conn, connection.provider, one.entity.kind, operation, one.entity.external_id,
            status_of(one.entity), one.hash, data_of(one.entity), one.raw,
            orjson.dumps(outcomes.get(one.id, {})).decode(), run, now, now, now,
        )
        for one in candidates
    ]  # fmt: skip
    await store.upsert(work, rows, overwrites=any(one.id in compared.known for one in candidates))
    return await _load_links(work, candidates, conn)


async def _load_links(work: Work, candidates: Sequence[Candidate], connection: UUID) -> list[tuple[str, UUID]]:
    linking = [one for one in candidates if links_of(type(one.entity))]
    if not linking:
        return []
    sources = [one.id for one in linking]
    before = {(field, target) for field, _, target in await store.links_from(work, sources)}
    rows = [
        (one.id, name, entity_uuid(connection, kind, target))
        for one in linking
        for name, kind in links_of(type(one.entity)).items()
        if (target := getattr(one.entity, name)) is not None
    ]
    await store.write_links(work, rows, changed=sources)
    return sorted(before | {(field, target) for _, field, target in rows})


def data_of(entity: Entity) -> str:
    """The JSON text of an entity's fields, without those that are not told."""
    fields = entity.model_dump(mode="python", exclude_none=True)
    return without_nul(orjson.dumps(fields))


def status_of(entity: Entity) -> str:
    """The state shown for an entity; kinds that have none are simply present."""
    return str(getattr(entity, "status", None) or "present")


def label_of(entity: Entity) -> str:
    """A name that a person knows the entity by."""
    for name in ("email", "display_name", "name", "title", "username"):
        if value := getattr(entity, name, None):
            return str(value)
    return entity.external_id
