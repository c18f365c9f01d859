"""Transform: a record becomes an entity, or a rejection that says which field is wrong and why."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from tieline.catalog.compile import CompiledOperation
from tieline.ids import entity_uuid
from tieline.sdk.context import Record
from tieline.sdk.entities import Entity
from tieline.sdk.mapping import Rejected

MAX_RECORD_BYTES = 2 * 1024 * 1024

_ESCAPED_NUL = rb"\u0000"
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")  # after an odd backslash it is the text `\u0000`, spelt out


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entity as read, with its id, the hash that tells whether it changed, and the JSON text of its record."""

    id: UUID
    entity: Entity
    hash: bytes
    raw: str = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that no entity could be made from; `id` is whose it is, if so much could be told."""

    kind: str
    field: str
    reason: str
    record: Any = dataclasses.field(repr=False)
    id: UUID | None = None


@dataclass
class Transformed:
    """What a batch of records became. Of a record that comes twice, the later one counts."""

    candidates: dict[UUID, Candidate] = dataclasses.field(default_factory=dict)
    refusals: list[Refusal] = dataclasses.field(default_factory=list)
    skipped: int = 0

    @property
    def seen(self) -> list[UUID]:
        """Whatever the batch shows to be there: the entities, and those whose record was refused this time."""
        return [*self.candidates, *(one.id for one in self.refusals if one.id)]

    @property
    def unidentified(self) -> int:
        """How many records were refused without telling whose they are."""
        return sum(one.id is None for one in self.refusals)


def transform(
    records: Sequence[Any], operation: CompiledOperation, *, connection: UUID, options: Mapping[str, Any]
) -> Transformed:
    """Filter and map every record of a batch."""
    result = Transformed()
    for record in records:
        made = _transform_one(record, operation, connection, options)
        if made is None:
            result.skipped += 1
        elif isinstance(made, Refusal):
            result.refusals.append(made)
        else:
            result.candidates[made.id] = made
    return result


def _transform_one(
    record: Any, operation: CompiledOperation, connection: UUID, options: Mapping[str, Any]
) -> Candidate | Refusal | None:
    payload, variant = (record.payload, record.variant) if isinstance(record, Record) else (record, None)
    mapping = operation.mappings.get(variant)
    if mapping is None:
        told = f"is {variant!r}, which no mapping names" if variant else "is not named: yield Record(payload, variant)"
        return Refusal("unknown", "variant", told, None)
    kind = mapping.entity.kind
    if not isinstance(payload, dict):
        return Refusal(kind, "record", f"is not an object but {type(payload).__name__}", None)
    payload = mapping.clean(payload)
    try:
        raw = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return Refusal(kind, "record", "holds text or a value that JSON does not allow", None)
    if len(raw) > MAX_RECORD_BYTES:
        return Refusal(kind, "record", f"is larger than {MAX_RECORD_BYTES // 1024} KiB", None)
    if _ESCAPED_NUL in raw:  # before mapping, so that no id, name or value holds one either
        raw = without_nul(raw).encode()
        payload = orjson.loads(raw)
    made = mapping.apply(payload, variant=variant, options=options)
    if made is None:
        return None
    if isinstance(made, Rejected):
        known = mapping.identify(payload, variant=variant, options=options)
        return Refusal(kind, made.field, made.reason, payload, entity_uuid(connection, kind, known) if known else None)
    stamp = operation.revisions[variant] + orjson.dumps(options, option=orjson.OPT_SORT_KEYS)
    digest = blake2b(raw + stamp, digest_size=16).digest()
    return Candidate(entity_uuid(connection, kind, made.external_id), made, digest, raw.decode())


def without_nul(text: bytes) -> str:
    """JSON text as the database takes it: an escaped NUL, which PostgreSQL refuses, becomes the replacement character."""
    return (_NUL.sub(rb"\1\\ufffd", text) if _ESCAPED_NUL in text else text).decode()
