"""Trial: what a mapping makes of records, by the very steps of a run, with the value of each expression told beside it.

Nothing is written. What people type is tried in a process beside this one (`bench.py`), so a trial and what comes of it also have
a form in plain JSON; `answer_trials` is what the other process does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import orjson

from tieline.catalog.compile import Catalog, CompiledOperation, compile_operation
from tieline.ids import from_uuid
from tieline.sdk.cel import NO_VALUE, CelError, Expression
from tieline.sdk.context import Context, Record
from tieline.sdk.entities import KINDS
from tieline.sdk.mapping import CompiledMapping
from tieline.sdk.mapping import Mapping as FieldMapping
from tieline.sdk.provider import Operation
from tieline.stages.transform import Candidate, transform, without_nul

LONGEST_VALUE = 4_000
"""Bytes of JSON up to which the value of one expression is told."""

_EMPTY = Catalog({}, (), {})


@dataclass(frozen=True)
class Trial:
    """Records, each with its variant, to map with an organization's own filter and fields (`{}` for none).

    `explained` asks for the value of each expression.
    """

    operation: Operation
    own: Mapping[str, Any]
    records: Sequence[tuple[Any, str | None]]
    connection: UUID
    options: Mapping[str, Any]
    explained: bool = False


@dataclass(frozen=True)
class Told:
    """What one expression gave; `long` is a value of more than 4,000 bytes. Filters come first, the provider's before one's own."""

    field: str
    state: Literal["value", "none", "error", "long"]
    value: Any = None
    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a record: an entity with its id and fields, nothing since the filter left it out, or a rejection."""

    state: Literal["kept", "left_out", "rejected"]
    entity_id: str | None = None
    data: Mapping[str, Any] | None = None
    field: str | None = None
    reason: str | None = None
    told: tuple[Told, ...] = ()

    def same(self, other: Outcome) -> bool:
        """Whether a run would come to the same."""
        return (self.state, self.entity_id, self.data, self.field) == (
            other.state,
            other.entity_id,
            other.data,
            other.field,
        )


def write_trials(trials: Sequence[Trial]) -> bytes:
    """Trials as one line of JSON."""
    return orjson.dumps([written_trial(one) for one in trials])


def read_outcomes(found: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[Outcome]]:
    """What the other process told, for each trial and each of its records."""
    return [
        [Outcome(**{**one, "told": tuple(Told(**each) for each in one["told"])}) for one in several]
        for several in found
    ]


def answer_trials(written: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Carry out trials that came as JSON; the outcomes as such."""
    return [[asdict(one) for one in carry_out(read_trial(trial))] for trial in written]


def carry_out(trial: Trial) -> list[Outcome]:
    """What a run would make of each record."""
    compiled = compile_operation(_EMPTY, "", trial.operation, trial.own)
    return [_try_one(payload, variant, compiled, trial) for payload, variant in trial.records]


def _try_one(payload: Any, variant: str | None, compiled: CompiledOperation, trial: Trial) -> Outcome:
    record = Record(payload, variant) if variant else payload
    made = transform([record], compiled, connection=trial.connection, options=trial.options)
    told: tuple[Told, ...] = ()
    if trial.explained and isinstance(payload, dict):
        told = _explain(payload, variant, compiled.mappings[variant], trial.options)
    for candidate in made.candidates.values():
        return Outcome("kept", from_uuid("ent", candidate.id), _data(candidate), told=told)
    for refusal in made.refusals:
        whose = from_uuid("ent", refusal.id) if refusal.id else None
        return Outcome("rejected", whose, field=refusal.field, reason=refusal.reason, told=told)
    return Outcome("left_out", told=told)


def _data(candidate: Candidate) -> dict[str, Any]:
    """An entity's fields as they would be stored."""
    fields: dict[str, Any] = orjson.loads(candidate.data)
    return fields


def _explain(
    payload: dict[str, Any], variant: str | None, mapping: CompiledMapping[Any], options: Mapping[str, Any]
) -> tuple[Told, ...]:
    """The value of each expression by itself: also of those after the one that decides."""
    try:
        clean = orjson.loads(without_nul(orjson.dumps(mapping.clean(payload))))
    except TypeError:  # the rejection says why
        return ()
    variables = {"payload": clean, "variant": variant, "options": options}
    named = [*(("filter", one) for one in mapping.filters), *mapping.fields]
    return tuple(_tell(name, expression, variables) for name, expression in named)


def _tell(name: str, expression: Expression, variables: Mapping[str, Any]) -> Told:
    try:
        value = expression.evaluate(variables)
    except CelError as error:
        return Told(name, "error", error=str(error))
    if value is NO_VALUE or value is None:
        return Told(name, "none")
    try:
        text = orjson.dumps(value, default=str)
    except TypeError:
        return Told(name, "error", error="holds text or a value that JSON does not allow")
    return Told(name, "long") if len(text) > LONGEST_VALUE else Told(name, "value", orjson.loads(text))


def written_trial(trial: Trial) -> dict[str, Any]:
    """A trial as JSON."""
    mappings = [
        {
            "kind": one.entity.kind,
            "filter": one.filter,
            "fields": dict(one.fields),
            "drop": list(one.drop),
            "variant": one.variant,
        }
        for one in trial.operation.into
    ]
    return {
        "operation": trial.operation.id,
        "mappings": mappings,
        "own": dict(trial.own),
        "records": trial.records,
        "connection": trial.connection.hex,
        "options": dict(trial.options),
        "explained": trial.explained,
    }


def read_trial(written: Mapping[str, Any]) -> Trial:
    """A trial that came as JSON."""
    into = tuple(
        FieldMapping(KINDS[one["kind"]], one["filter"], one["fields"], drop=tuple(one["drop"]), variant=one["variant"])
        for one in written["mappings"]
    )
    return Trial(
        Operation(written["operation"], "", into, timedelta(hours=1), frozenset(), read=_read_nothing),
        written["own"],
        [(payload, variant) for payload, variant in written["records"]],
        UUID(hex=written["connection"]),
        written["options"],
        explained=written["explained"],
    )


async def _read_nothing(_ctx: Context[Any]) -> AsyncIterator[Any]:
    """The records of a trial are at hand."""
    nothing: tuple[Any, ...] = ()
    for one in nothing:
        yield one
