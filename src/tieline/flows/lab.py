"""The mapping lab: try another filter or another field on a real record, see what it becomes, compare it over many, then save it.

A trial goes through the very steps of a run, in a process beside this one (`stages/bench.py`), and writes nothing. What is saved are the
connection's overrides; its next run maps every record anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tieline.errors import Conflict, Invalid, NotFound
from tieline.flows.judging import judge_now
from tieline.flows.overrides import Own, problems_of, read_own, replace_own, stamp_of
from tieline.flows.parts import Parts
from tieline.flows.reconfigure import reconfigure
from tieline.ids import to_uuid
from tieline.sdk.mapping import Mapping as FieldMapping
from tieline.sdk.provider import Operation, Provider
from tieline.stages.assess import Subject, assess, read_entity
from tieline.stages.trial import Outcome, Trial
from tieline.store import records as store
from tieline.store.connections import Connection, get_connection
from tieline.store.db import Work
from tieline.store.entities import StoredEntity, get_entity
from tieline.store.runs import Rejection

CHOICES = 20
MOST_COMPARED = 200
_MOST_BYTES = 8 << 20
_EXAMPLES = 8


@dataclass(frozen=True)
class Place:
    """An operation of a connection: where a mapping stands."""

    connection: Connection
    provider: Provider[Any]
    operation: Operation

    @property
    def overrides(self) -> Mapping[str, Any]:
        """The organization's own overrides of this operation, as they stand."""
        found: Mapping[str, Any] = self.connection.overrides.get(self.operation.id) or {}
        return found

    @property
    def stamp(self) -> str:
        """Changes when those do."""
        return stamp_of(self.overrides)

    def mapping(self, variant: str | None) -> FieldMapping[Any]:
        """The provider's mapping of a variant; raises `Invalid` naming those there are."""
        found = self.operation.mapping_for(variant)
        if found is None:
            known = ", ".join(sorted(one.variant for one in self.operation.into if one.variant))
            advice = f"The variants are: {known}." if known else "Leave it out: there is but one mapping."
            raise Invalid(
                "There is no such variant", advice=advice, fields=[_wrong("variant", "is none that there is")]
            )
        return found

    def trial(
        self, overrides: Mapping[str, Any], tried: Sequence[tuple[Any, str | None]], *, explained: bool = False
    ) -> Trial:
        """What the bench is to carry out: records, each with its variant, mapped with these overrides of the operation."""
        connection = to_uuid(self.connection.id, "conn")
        return Trial(self.operation, overrides, tried, connection, self.connection.options, explained=explained)


@dataclass(frozen=True)
class Chosen:
    """A record to try: of an entity, a sample of what was rejected, or one that somebody gave."""

    record: Any
    variant: str | None
    entity: StoredEntity | None = None
    rejection: Rejection | None = None

    @property
    def id(self) -> str | None:
        """Of the entity or the sample; none for a record that was given."""
        whose = self.entity or self.rejection
        return whose.id if whose else None


@dataclass(frozen=True)
class Said:
    """What a check would say of the entity, the values that decide, and what it says of the stored one, if there is one."""

    check: str
    title: str
    severity: str
    outcome: str
    values: Mapping[str, Any]
    before: str | None


@dataclass(frozen=True)
class Moved:
    """A stored record of which something else would come: from which outcome to which, and the fields that differ."""

    entity: StoredEntity
    before: Outcome
    after: Outcome

    @property
    def fields(self) -> dict[str, tuple[Any, Any]]:
        """Fields that differ, each with its value before and after."""
        return differing(self.before, self.after)


@dataclass(frozen=True)
class Compared:
    """What would come of many stored records, beside what comes of them by the mapping in force.

    `samples` are the rejected ones among those that are kept, and `mended` counts those of them that would fit.
    """

    before: Mapping[str, int]
    after: Mapping[str, int]
    records: int
    changed: int
    samples: int
    mended: int
    examples: Sequence[Moved] = ()


@dataclass(frozen=True)
class Tried:
    """A trial: the mapping that was tried, what it made of the record, what the one in force makes, and what checks would say."""

    place: Place
    chosen: Chosen
    own: Own
    standing: Own
    outcome: Outcome
    before: Outcome
    said: Sequence[Said] = ()
    compared: Compared | None = None

    @property
    def mapping(self) -> FieldMapping[Any]:
        """The provider's mapping."""
        return self.place.mapping(self.chosen.variant)


@dataclass(frozen=True)
class Choices:
    """Records that can be chosen, newest first."""

    rejected: Sequence[Rejection]
    stored: Sequence[StoredEntity]

    @property
    def first(self) -> str | None:
        """The id of the one that most wants a look: one that was rejected, if any was."""
        return next((one.id for one in self.rejected), None) or next((one.id for one in self.stored), None)


async def open_place(parts: Parts, org_id: str, connection_id: str, operation: str) -> Place:
    """Where a mapping stands; raises `NotFound`."""
    async with parts.db.work(org_id) as work:
        connection = await get_connection(work, connection_id)
    provider = parts.catalog.provider(connection.provider)
    return Place(connection, provider, parts.catalog.operation(provider.slug, operation))


async def list_choices(parts: Parts, place: Place) -> Choices:
    """What the newest run rejected, as far as it was sampled, and the entities that changed last."""
    about = place.connection.id, place.operation.id
    async with parts.db.work(place.connection.org_id) as work:
        rejected = await store.newest_samples(work, *about)
        stored = await store.recent_entities(work, *about, limit=CHOICES)
    return Choices([one for one in rejected if one.record is not None], stored)


async def choose_record(parts: Parts, place: Place, record_id: str, variant: str | None = None) -> Chosen:
    """The record of an entity or a sample, by its id; raises `NotFound` unless it came from this place.

    Its variant is not stored. Where its kind has several, it is the one by which the mapping in force comes to the same.
    """
    async with parts.db.work(place.connection.org_id) as work:
        chosen = await _read_record(work, place, record_id)
    if variant is not None:
        place.mapping(variant)
        return replace(chosen, variant=variant)
    return (await _with_variants(parts, place, [chosen]))[0]


def give_record(place: Place, record: Any, variant: str | None = None) -> Chosen:
    """A record that somebody gave, of the first variant unless they say which; raises `Invalid`."""
    if not isinstance(record, dict):
        raise Invalid("A record is a JSON object", fields=[_wrong("record", "is not a JSON object")])
    return Chosen(record, place.mapping(variant).variant if variant else place.operation.into[0].variant)


async def try_mapping(parts: Parts, place: Place, chosen: Chosen, own: Own | None = None, *, others: int = 0) -> Tried:
    """What a run would make of a record with this filter and these fields in place of one's own that are in force.

    `others` asks for a comparison over so many stored records. Raises `Invalid` for an expression that is none, by field, and for
    what takes too much time or memory.
    """
    standing = read_own(place.overrides, chosen.variant)
    own = standing if own is None else own
    if problems := problems_of(place.mapping(chosen.variant), own.written):
        raise Invalid("; ".join(f"{one['field']}: {one['problem']}" for one in problems), fields=problems)
    tried = replace_own(place.overrides, place.operation, chosen.variant, own)
    one = [(chosen.record, chosen.variant)]
    [[outcome], [before]] = await parts.bench.carry_out(
        [place.trial(tried, one, explained=True), place.trial(place.overrides, one)]
    )
    found = Tried(place, chosen, own, standing, outcome, before)
    found = replace(found, said=await _ask_checks(parts, found)) if outcome.state == "kept" else found
    return replace(found, compared=await _compare(parts, found, tried, others)) if others else found


async def save_mapping(
    parts: Parts, place: Place, variant: str | None, own: Own, *, stamp: str | None = None
) -> Connection:
    """Put a filter and fields in force for a mapping of a connection; empty ones give the provider's back.

    Raises `Invalid` by field, and `Conflict` if its overrides are not those of `stamp`: somebody else has changed them.
    """
    mapping = place.mapping(variant)
    if problems := problems_of(mapping, own.written):
        raise Invalid("; ".join(f"{one['field']}: {one['problem']}" for one in problems), fields=problems)
    if stamp is not None and stamp != place.stamp:
        raise Conflict(
            "Somebody has changed this mapping since you opened it", advice="Look at it as it is now, then try again."
        )
    standing = place.connection.overrides
    new = replace_own(place.overrides, place.operation, variant, own)
    others = {name: one for name, one in standing.items() if name != place.operation.id}
    overrides = others | ({place.operation.id: new} if new else {})
    ids = place.connection.org_id, place.connection.id
    return await reconfigure(parts, *ids, overrides=overrides, standing=standing)


def differing(before: Outcome, after: Outcome) -> dict[str, tuple[Any, Any]]:
    """The fields of two entities that differ, each with its value before and after; none unless both were kept."""
    if before.data is None or after.data is None:
        return {}
    names = [*after.data, *(name for name in before.data if name not in after.data)]
    pairs = {name: (before.data.get(name), after.data.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


async def _read_record(work: Work, place: Place, record_id: str) -> Chosen:
    if record_id.startswith("rej_"):
        sample = await store.get_sample(work, record_id)
        source = sample.connection_id, sample.operation
        chosen = Chosen(sample.rejection.record, None, rejection=sample.rejection)
    else:
        entity, raw = await get_entity(work, record_id)
        source, chosen = (entity.connection_id, entity.operation), Chosen(raw, None, entity=entity)
    if source != (place.connection.id, place.operation.id):
        raise NotFound(f"There is no record {record_id[:60]!r} of this operation")
    return chosen


async def _with_variants(parts: Parts, place: Place, chosen: Sequence[Chosen]) -> list[Chosen]:
    """Records with the variants that they take."""
    possible = [_variants_of(place, one) for one in chosen]
    pairs = [
        (place_of, variant) for place_of, variants in enumerate(possible) if len(variants) > 1 for variant in variants
    ]
    fitting: dict[int, tuple[int, str | None]] = {}
    if pairs:
        tried = [(chosen[place_of].record, variant) for place_of, variant in pairs]
        [outcomes] = await parts.bench.carry_out([place.trial(place.overrides, tried)])
        for (place_of, variant), outcome in zip(pairs, outcomes, strict=True):
            fit = _fit(chosen[place_of], outcome)
            if place_of not in fitting or fit > fitting[place_of][0]:
                fitting[place_of] = (fit, variant)
    return [
        replace(one, variant=fitting[place_of][1] if place_of in fitting else possible[place_of][0])
        for place_of, one in enumerate(chosen)
    ]


def _variants_of(place: Place, chosen: Chosen) -> list[str | None]:
    """The variants that a record may take, by its kind; all of them where that is unknown."""
    whose = chosen.entity or chosen.rejection
    kind = whose.kind if whose else None
    found = [one.variant for one in place.operation.into if one.entity.kind == kind]
    return found or [one.variant for one in place.operation.into]


def _fit(chosen: Chosen, outcome: Outcome) -> int:
    """How well an outcome agrees with what became of a record: 0 not at all, 3 to the last field."""
    if chosen.rejection:
        same = (outcome.field, outcome.reason) == (chosen.rejection.field, chosen.rejection.reason)
        return 3 if same else int(outcome.state == "rejected")
    if chosen.entity and outcome.state == "kept":
        same_entity = outcome.entity_id == chosen.entity.id
        return 3 if same_entity and outcome.data == chosen.entity.data else 1 + same_entity
    return 0


async def _ask_checks(parts: Parts, tried: Tried) -> list[Said]:
    """What the checks would say of the entity that was made, with the links that are stored."""
    connection, outcome = tried.place.connection, tried.outcome
    kind = tried.mapping.entity.kind
    if outcome.entity_id is None or outcome.data is None:
        return []
    entity = read_entity(kind, dict(outcome.data))
    async with parts.db.work(connection.org_id) as work:
        judge = await judge_now(work, parts, connection)
        assessed = await assess(work, [Subject(to_uuid(outcome.entity_id, "ent"), entity, {})], judge)
    stored = tried.chosen.entity.outcomes if tried.chosen.entity else {}
    return [
        Said(
            answer.check.id,
            answer.check.title,
            answer.check.severity,
            answer.judgement.outcome,
            answer.judgement.values,
            stored.get(answer.check.id, [None])[0],
        )
        for answer in assessed.answers
        if answer.judgement
    ]


async def _compare(parts: Parts, tried: Tried, overrides: Mapping[str, Any], others: int) -> Compared:
    """What would come of other records that take the same mapping."""
    place, variant = tried.place, tried.chosen.variant
    about = place.connection.id, place.operation.id
    kind = tried.mapping.entity.kind
    async with parts.db.work(place.connection.org_id) as work:
        limit = min(others, MOST_COMPARED)
        kept = await store.recent_records(work, *about, kinds=[kind], limit=limit, most_bytes=_MOST_BYTES)
        samples = await store.newest_samples(work, *about)
    records = [Chosen(raw, None, entity=entity) for entity, raw in kept]
    records += [
        Chosen(one.record, None, rejection=one) for one in samples if one.kind == kind and one.record is not None
    ]
    same = [one for one in await _with_variants(parts, place, records) if one.variant == variant]
    payloads = [(one.record, variant) for one in same]
    after, before = await parts.bench.carry_out(
        [place.trial(overrides, payloads), place.trial(place.overrides, payloads)]
    )
    return _counted(same, before, after)


def _counted(records: Sequence[Chosen], before: Sequence[Outcome], after: Sequence[Outcome]) -> Compared:
    stored = [(one.entity, was, now) for one, was, now in zip(records, before, after, strict=True) if one.entity]
    rejected = [now for one, now in zip(records, after, strict=True) if one.rejection]
    moved = [Moved(entity, was, now) for entity, was, now in stored if not was.same(now)]
    lost_first = sorted(moved, key=lambda one: ("rejected", "left_out", "kept").index(one.after.state))
    return Compared(
        _by_state([was for _, was, _ in stored]),
        _by_state([now for _, _, now in stored]),
        len(stored),
        sum(one.before.state == one.after.state == "kept" for one in moved),
        len(rejected),
        sum(one.state == "kept" for one in rejected),
        lost_first[:_EXAMPLES],
    )


def _by_state(outcomes: Sequence[Outcome]) -> dict[str, int]:
    return {state: sum(one.state == state for one in outcomes) for state in ("kept", "left_out", "rejected")}


def _wrong(name: str, problem: str) -> dict[str, str]:
    return {"field": name, "problem": problem}
