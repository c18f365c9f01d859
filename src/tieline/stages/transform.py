"""Transform: a record becomes an entity, or a rejection that says which field is wrong and why.

It goes in two steps. What a record is about and the hash of what it says cost little and are all that must be known of one that has
not changed; only the others are mapped.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from tieline.catalog.compile import CompiledOperation
from tieline.ids import entity_uuid
from tieline.sdk.answers import read_json
from tieline.sdk.context import Record
from tieline.sdk.entities import Entity
from tieline.sdk.mapping import Rejected
from tieline.store.entities import Known

if TYPE_CHECKING:
    from tieline.stages.assess import Judged

MAX_RECORD_BYTES = 2 * 1024 * 1024

_ESCAPED_NUL = rb"\u0000"
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")  # after an odd backslash it is the text `\u0000`, spelt out


@dataclass(slots=True)
class Candidate:
    """An entity as read: its id, the hash that tells whether it changed, and the JSON texts of its fields and of its record.

    `expected` is what the checks say of it if it is new, where that was found out beforehand.
    """

    id: UUID
    entity: Entity
    hash: bytes
    raw: str = dataclasses.field(repr=False)
    data: str = dataclasses.field(repr=False)
    expected: Judged | None = dataclasses.field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that no entity could be made from; `id` is whose it is, if so much could be told."""

    kind: str
    field: str
    reason: str
    record: Any = dataclasses.field(repr=False)
    id: UUID | None = None


@dataclass(slots=True, eq=False)
class Draft:
    """A record as its JSON text, whose entity it is (`None`: no id can be told), and the hash that tells whether it changed."""

    id: UUID | None
    kind: str
    hash: bytes
    raw: bytes = dataclasses.field(repr=False)
    apply: Callable[[dict[str, Any]], Entity | Rejected | None] = dataclasses.field(repr=False)
    _made: tuple[Candidate | Refusal | None] | None = dataclasses.field(default=None, repr=False)

    @property
    def made(self) -> Candidate | Refusal | None:
        """What the mapping makes of the record, found once; `None` if it leaves it out."""
        if self._made is None:
            self.make(orjson.loads(self.raw))
        return self._made[0] if self._made else None

    def make(self, payload: dict[str, Any]) -> None:
        """Map the record now that it is at hand, parsed; its text is not needed any more."""
        self._made = (self._become(payload),)
        self.raw = b""

    def _become(self, payload: dict[str, Any]) -> Candidate | Refusal | None:
        entity = self.apply(payload)
        if entity is None:
            return None
        if isinstance(entity, Rejected):
            return Refusal(self.kind, entity.field, entity.reason, payload, self.id)
        assert self.id  # noqa: S101  an entity has the external id that its draft was named by
        return Candidate(self.id, entity, self.hash, self.raw.decode(), data_of(entity))


@dataclass
class Transformed:
    """What a batch of records became; `same` are the entities about which they say what is stored.

    Of a record that comes twice, the later one counts.
    """

    candidates: dict[UUID, Candidate] = dataclasses.field(default_factory=dict)
    refusals: list[Refusal] = dataclasses.field(default_factory=list)
    same: set[UUID] = dataclasses.field(default_factory=set)
    skipped: int = 0

    @property
    def seen(self) -> list[UUID]:
        """Whatever the batch shows to be there: the entities, and those whose record was refused this time."""
        return [*self.candidates, *self.same, *(one.id for one in self.refusals if one.id)]

    @property
    def unidentified(self) -> int:
        """How many records were refused without telling whose they are."""
        return sum(one.id is None for one in self.refusals)


def transform(
    records: Sequence[Any], operation: CompiledOperation, *, connection: UUID, options: Mapping[str, Any]
) -> Transformed:
    """Filter and map every record of a batch."""
    return finish(draft(records, operation, connection=connection, options=options))


def draft(
    records: Sequence[Any],
    operation: CompiledOperation,
    *,
    connection: UUID,
    options: Mapping[str, Any],
    all_new: bool = False,
) -> list[Draft | Refusal]:
    """Tell what each record of a batch is about, in their order; those that are unread are read now, and mapped if `all_new`."""
    settings = orjson.dumps(options, option=orjson.OPT_SORT_KEYS)
    stamps = {variant: revision + settings for variant, revision in operation.revisions.items()}
    return [_draft_one(record, operation, connection, options, stamps, all_new) for record in records]


def hashes_of(drafts: Sequence[Draft | Refusal]) -> dict[UUID, bytes]:
    """What a batch says of each entity that it names, last."""
    return {one.id: one.hash for one in drafts if isinstance(one, Draft) and one.id}


def finish(drafts: Sequence[Draft | Refusal], known: Mapping[UUID, Known] | None = None) -> Transformed:
    """Map the records; `known` are the entities for which there is something to do, if it was found out: others are as they were."""
    result, hashes = Transformed(), hashes_of(drafts)
    for one in drafts:
        if isinstance(one, Refusal):
            result.refusals.append(one)
        elif known is not None and one.id and one.id not in known and one.hash == hashes[one.id]:
            result.candidates.pop(one.id, None)
            result.same.add(one.id)
        else:
            _finish_one(one, result)
    return result


def _draft_one(
    record: Any,
    operation: CompiledOperation,
    connection: UUID,
    options: Mapping[str, Any],
    stamps: Mapping[str | None, bytes],
    map_it: bool,
) -> Draft | Refusal:
    payload, variant = (record.payload, record.variant) if isinstance(record, Record) else (record, None)
    mapping = operation.mappings.get(variant)
    if mapping is None:
        told = f"is {variant!r}, which no mapping names" if variant else "is not named: yield Record(payload, variant)"
        return Refusal("unknown", "variant", told, None)
    kind = mapping.entity.kind
    if isinstance(payload, bytes):
        try:
            payload = read_json(payload)
        except ValueError:
            return Refusal(kind, "record", "is not JSON, or nested too deeply", None)
    if not isinstance(payload, dict):
        return Refusal(kind, "record", f"is not an object but {type(payload).__name__}", None)
    payload = mapping.clean(payload)
    try:
        raw = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return Refusal(kind, "record", "holds text or a value that JSON does not allow", None)
    if len(raw) > MAX_RECORD_BYTES:
        return Refusal(kind, "record", f"is larger than {MAX_RECORD_BYTES // 1024} KiB", None)
    if may_hold_nul(raw):  # before mapping, so that no id, name or value holds one either
        raw = without_nul(raw).encode()
        payload = orjson.loads(raw)
    about: dict[str, Any] = {"variant": variant, "options": options}
    named = mapping.identify(payload, **about)
    digest = blake2b(raw + stamps[variant], digest_size=16).digest()
    id = entity_uuid(connection, kind, named) if named else None
    made = Draft(id, kind, digest, raw, partial(mapping.apply, **about))
    if map_it:
        made.make(payload)
    return made


def _finish_one(one: Draft, result: Transformed) -> None:
    made = one.made
    if made is None:
        result.skipped += 1
    elif isinstance(made, Refusal):
        result.refusals.append(made)
    else:
        result.same.discard(made.id)
        result.candidates[made.id] = made


def data_of(entity: Entity) -> str:
    """The JSON text of an entity's fields, without those that are not told."""
    return without_nul(orjson.dumps({name: value for name, value in vars(entity).items() if value is not None}))


def without_nul(text: bytes) -> str:
    """JSON text as the database takes it: an escaped NUL, which PostgreSQL refuses, becomes the replacement character."""
    return (_NUL.sub(rb"\1\\ufffd", text) if may_hold_nul(text) else text).decode()


def may_hold_nul(text: bytes) -> bool:
    """Whether JSON text may hold a NUL; few hold a backslash at all, and a single character is found ten times as fast as a word."""
    return b"\\" in text and _ESCAPED_NUL in text
