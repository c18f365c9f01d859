"""Transform: a record becomes an entity, or a rejection that says which field is wrong and why.

It goes in two steps. What a record is about and the hash of its text cost little and are all that must be known of one that has not
changed; only the others are read and mapped.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import orjson

from tieline.catalog.compile import CompiledOperation
from tieline.ids import entity_uuid
from tieline.sdk.answers import read_json
from tieline.sdk.context import Record
from tieline.sdk.entities import Entity
from tieline.sdk.mapping import CompiledMapping, Rejected
from tieline.store.entities import SAID_BYTES, TEXT_BYTES, Known

if TYPE_CHECKING:
    from tieline.stages.assess import Judged

MAX_RECORD_BYTES = 2 * 1024 * 1024

_ESCAPED_NUL = rb"\u0000"
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")  # after an odd backslash it is the text `\u0000`, spelt out


@dataclass(slots=True)
class Candidate:
    """An entity as read: its id, the hash that tells whether it changed, and the JSON texts of its fields and of its record.

    The hash is over what the record says, whatever order it says it in (`SAID_BYTES`), then over its text.
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


class Read(NamedTuple):
    """A record that was parsed, and its text as it is stored: names sorted, no white space."""

    payload: dict[str, Any]
    raw: bytes


@dataclass(frozen=True)
class _Form:
    """How the records of a variant are read; `stamp` is what else decides what becomes of one.

    The operation is part of it, so that an entity belongs to the one that read it last, and goes when that no longer sees it.
    """

    mapping: CompiledMapping[Any]
    connection: UUID
    about: Mapping[str, Any]
    stamp: bytes

    @property
    def kind(self) -> str:
        """What the entities are."""
        kind: str = self.mapping.entity.kind
        return kind

    def recognise(self, text: bytes) -> Draft | None:
        """Tell what a record is about without parsing it, if that can be told."""
        named = self.mapping.identify_unread(text, **self.about)
        return self.draft(named, text) if named else None

    def draft(self, named: str | None, text: bytes) -> Draft:
        """A draft of the record that was named so."""
        id = entity_uuid(self.connection, self.kind, named) if named else None
        return Draft(id, self.kind, self.hash(text, TEXT_BYTES), text, self)

    def hash(self, text: bytes, size: int) -> bytes:
        """A hash of a text, with all else that decides what becomes of it."""
        return blake2b(text + self.stamp, digest_size=size).digest()


@dataclass(slots=True, eq=False)
class Draft:
    """A record as its JSON text, whose entity it is (`None`: no id can be told), and the hash that tells whether the text is as it was."""

    id: UUID | None
    kind: str
    hash: bytes
    text: bytes = dataclasses.field(repr=False)
    form: _Form | None = dataclasses.field(repr=False)
    _made: tuple[Candidate | Refusal | None] | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def of(cls, id: UUID | None, kind: str, hash: bytes, made: Candidate | Refusal | None) -> Draft:
        """A draft of which it is known what becomes."""
        return cls(id, kind, hash, b"", None, (made,))

    @property
    def made(self) -> Candidate | Refusal | None:
        """What the mapping makes of the record, found once; `None` if it leaves it out."""
        if self._made is None and self.form:
            self.make(_read(self.text, self.form.mapping))
        return self._made[0] if self._made else None

    def make(self, read: Read | Refusal) -> None:
        """Map the record now that it is at hand; its text is not needed any more."""
        self._made = (read if isinstance(read, Refusal) else self._become(read),)
        self.text = b""

    def _become(self, read: Read) -> Candidate | Refusal | None:
        assert self.form  # noqa: S101  only of others it is known already what becomes
        entity = self.form.mapping.apply(read.payload, **self.form.about)
        if entity is None:
            return None
        if isinstance(entity, Rejected):
            return Refusal(self.kind, entity.field, entity.reason, read.payload, self.id)
        assert self.id  # noqa: S101  an entity has the external id that its draft was named by
        said = self.form.hash(read.raw, SAID_BYTES)
        return Candidate(self.id, entity, said + self.hash, read.raw.decode(), data_of(entity))


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
    """Tell what each record of a batch is about, in their order; if `all_new`, they are read and mapped now."""
    whose = operation.operation.id.encode() + orjson.dumps(options, option=orjson.OPT_SORT_KEYS)
    forms = {
        variant: _Form(
            mapping, connection, {"variant": variant, "options": options}, operation.revisions[variant] + whose
        )
        for variant, mapping in operation.mappings.items()
    }
    return [_draft_one(record, forms, all_new) for record in records]


def read_record(record: Any, operation: CompiledOperation) -> Read | Refusal:
    """Parse a record and write it as it is stored, which evaluates no expression."""
    payload, variant = _parted(record)
    mapping = operation.mappings.get(variant)
    return _read(payload, mapping) if mapping else _unnamed(variant)


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


def _draft_one(record: Any, forms: Mapping[str | None, _Form], map_it: bool) -> Draft | Refusal:
    payload, variant = _parted(record)
    form = forms.get(variant)
    if form is None:
        return _unnamed(variant)
    text = payload if isinstance(payload, bytes) and not form.mapping.drop else None  # what is dropped leaves no trace
    if text and not map_it and (recognised := form.recognise(text)):
        return recognised
    read = _read(payload, form.mapping)
    if isinstance(read, Refusal):
        return read
    named = form.mapping.identify(read.payload, **form.about)
    made = form.draft(named, text or read.raw)
    if map_it:
        made.make(read)
    return made


def _parted(record: Any) -> tuple[Any, str | None]:
    """A record's payload and the name of its variant."""
    return (record.payload, record.variant) if isinstance(record, Record) else (record, None)


def _unnamed(variant: str | None) -> Refusal:
    told = f"is {variant!r}, which no mapping names" if variant else "is not named: yield Record(payload, variant)"
    return Refusal("unknown", "variant", told, None)


def _read(record: Any, mapping: CompiledMapping[Any]) -> Read | Refusal:
    """Parse a payload, or take one that is no text, and write it as it is stored."""
    payload, kind = record, mapping.entity.kind
    if isinstance(record, bytes):
        try:
            payload = read_json(record)
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
        payload = orjson.loads(without_nul(raw))
        raw = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    return Read(payload, raw)


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
