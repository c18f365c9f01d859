"""Load: write what is new or changed, found by comparing hashes, and close what a complete run no longer saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import orjson

from tieline.ids import entity_uuid, to_uuid
from tieline.sdk.entities import Entity, fields_of, links_of
from tieline.stages.transform import Candidate
from tieline.store import entities as store
from tieline.store.connections import Connection
from tieline.store.db import Work
from tieline.store.entities import SAID_BYTES, Known

Outcomes = dict[str, list[Any]]
"""Check id → [outcome, day on which it was last attested, as days since 1970]."""


@dataclass(frozen=True)
class Comparison:
    """A batch beside what is stored; `known` are the entities that are new, changed or to be judged anew."""

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


def compare(candidates: Iterable[Candidate], known: Mapping[UUID, Known]) -> Comparison:
    """Tell what must be written; `known` is what `look_up` gave for these hashes. In the order of ids, as all write them."""
    result = Comparison(known=known)
    for one in sorted(candidates, key=lambda one: one.id.int):
        stored = known.get(one.id)
        if stored is None or (stored.hash and stored.hash[:SAID_BYTES] == one.hash[:SAID_BYTES]):
            result.unchanged.append(one)
        elif stored.hash:
            result.changed.append(one)
        else:
            result.created.append(one)
    return result


async def load(
    work: Work,
    compared: Comparison,
    outcomes: Mapping[UUID, Outcomes],
    judge_at: Mapping[UUID, datetime | None],
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
    conn = to_uuid(connection.id, "conn")
    same = {
        "org_id": to_uuid(work.org_id, "org"), "connection_id": conn, "provider": connection.provider,
        "operation": operation, "run_id": to_uuid(run_id, "run"), "first_seen_at": now, "changed_at": now, "since": now,
    }  # fmt: skip
    rows = [
        (
            one.id, one.entity.kind, one.entity.external_id, status_of(one.entity), one.hash, one.data, one.raw,
            orjson.dumps(outcomes.get(one.id, {})).decode(), judge_at.get(one.id),
        )
        for one in candidates
    ]  # fmt: skip
    overwrites = any(compared.known[one.id].hash is not None for one in candidates)
    await store.upsert(work, rows, same=same, overwrites=overwrites)
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


def status_of(entity: Entity) -> str:
    """The state shown for an entity; kinds that have none are simply present."""
    return str(getattr(entity, "status", None) or "present")


def label_of(entity: Entity) -> str:
    """A name that a person knows the entity by."""
    for name in _labels_of(type(entity)):
        if value := getattr(entity, name):
            return str(value)
    return entity.external_id


@cache
def _labels_of(kind: type[Entity]) -> tuple[str, ...]:
    return tuple(name for name in ("email", "display_name", "name", "title", "username") if name in fields_of(kind))
