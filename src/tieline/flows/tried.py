"""A trial as rows: each field with the expression in force, whose it is and what it gave, then what became of the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tieline.flows.lab import Compared, Moved, Tried, differing
from tieline.flows.views import JsonRow, moment
from tieline.stages.trial import Outcome, Told
from tieline.store.records import RejectedAlike


@dataclass(frozen=True)
class Line:
    """One field of the kind, or one filter (`field` is `filter`).

    `whose` is `provider`, `organization`, or `None` for a field that nobody maps. `told` is what the expression gave by itself; `becomes`
    the value in the entity, where there is one, and `before` what the mapping in force makes of it. `problem` is why the record is
    rejected, on the field that it is rejected for.
    """

    field: str
    expression: str
    whose: Literal["provider", "organization"] | None
    provider: str
    told: Told | None
    becomes: Any = None
    before: Any = None
    changed: bool = False
    problem: str | None = None
    required: bool = False


def lines_of(tried: Tried) -> list[Line]:
    """The fields of the kind, in its order."""
    entity, theirs, own = tried.mapping.entity, tried.mapping.fields, tried.own.fields
    told = {one.field: one for one in tried.outcome.told}
    data, changed = tried.outcome.data or {}, differing(tried.before, tried.outcome)
    return [
        Line(
            name,
            own.get(name, theirs.get(name, "")),
            "organization" if name in own else "provider" if name in theirs else None,
            theirs.get(name, ""),
            told.get(name),
            data.get(name),
            (tried.before.data or {}).get(name),
            name in changed,
            tried.outcome.reason if tried.outcome.field == name else None,
            info.is_required(),
        )
        for name, info in entity.model_fields.items()
    ]


def filters_of(tried: Tried) -> list[Line]:
    """The provider's filter, then one's own; only those that there are. All must hold."""
    told = [one for one in tried.outcome.told if one.field == "filter"]
    theirs = tried.mapping.filter if tried.mapping.filter != "true" else ""
    named = [("provider", theirs), ("organization", tried.own.filter or "")]
    there = [(whose, source) for whose, source in named if source and source != "true"]
    gave = [*told, *[None] * len(there)]
    wrong = tried.outcome.reason if tried.outcome.field == "filter" else None
    decisive = next((place for place, one in enumerate(told) if one.value is not True), len(there))
    return [
        Line(
            "filter",
            source,
            "provider" if whose == "provider" else "organization",
            theirs,
            gave[place],
            problem=wrong if place == decisive else None,
        )
        for place, (whose, source) in enumerate(there)
    ]


def refusal_in_words(field: str | None, reason: str | None) -> str:
    """Why a record is rejected, as a sentence without its end: the field, and what is wrong with it."""
    told = _PLAINLY.get(reason or "", reason or "")
    return f"{field}: {told}" if told.startswith(("it ", "the ")) else f"{field} {told}"


_PLAINLY = {
    "it failed on this data: Applying SELECT to non-message type": "it reads a key of something that is no object",
    "it failed on this data: Index error": "it reads an item that the list has not",
}
"""What the engine says, where its words are not those of a person."""


def trial_row(tried: Tried) -> JsonRow:
    """A trial: what it made of the record, field by field, and how."""
    outcome = tried.outcome
    return {
        "connection_id": tried.place.connection.id,
        "provider": tried.place.provider.slug,
        "operation": tried.place.operation.id,
        "variant": tried.chosen.variant,
        "kind": tried.mapping.entity.kind,
        "record_id": tried.chosen.id,
        "outcome": outcome.state,
        "entity_id": outcome.entity_id,
        "entity": outcome.data,
        "rejection": _rejection(outcome),
        "filters": [_expression_row(one) for one in filters_of(tried)],
        "fields": [_line_row(one) for one in lines_of(tried)],
        "checks": [
            {
                "check": one.check,
                "title": one.title,
                "severity": one.severity,
                "outcome": one.outcome,
                "before": one.before,
                "values": dict(one.values),
            }
            for one in tried.said
        ],
        "in_force": {
            "outcome": tried.before.state,
            "changes": {name: _pair(pair) for name, pair in differing(tried.before, outcome).items()},
        },
        "compared": compared_row(tried.compared) if tried.compared else None,
    }


def compared_row(compared: Compared) -> JsonRow:
    """What would come of many records, beside what comes of them now."""
    return {
        "records": compared.records,
        "in_force": dict(compared.before),
        "tried": dict(compared.after),
        "changed": compared.changed,
        "samples": compared.samples,
        "mended": compared.mended,
        "examples": [_moved_row(one) for one in compared.examples],
    }


def alike_row(alike: RejectedAlike) -> JsonRow:
    """Records that were rejected for the same reason; `record_ids` are those of the samples, newest first."""
    return {
        "operation": alike.operation,
        "run_id": alike.run_id,
        "kind": alike.kind,
        "field": alike.field,
        "reason": alike.reason,
        "sampled": alike.sampled,
        "rejected": alike.rejected,
        "record_ids": alike.samples,
        "at": moment(alike.at),
    }


def _moved_row(moved: Moved) -> JsonRow:
    return {
        "entity_id": moved.entity.id,
        "external_id": moved.entity.external_id,
        "in_force": moved.before.state,
        "tried": moved.after.state,
        "rejection": _rejection(moved.after),
        "changes": {name: _pair(pair) for name, pair in moved.fields.items()},
    }


def _expression_row(line: Line) -> JsonRow:
    told = line.told
    return {
        "expression": line.expression,
        "whose": line.whose,
        "state": told.state if told else None,
        "value": told.value if told else None,
        "error": told.error if told else None,
    }


def _line_row(line: Line) -> JsonRow:
    return {"field": line.field} | _expression_row(line) | {"provider_expression": line.provider or None}


def _rejection(outcome: Outcome) -> Mapping[str, Any] | None:
    return {"field": outcome.field, "reason": outcome.reason} if outcome.state == "rejected" else None


def _pair(pair: tuple[Any, Any]) -> JsonRow:
    return {"in_force": pair[0], "tried": pair[1]}
