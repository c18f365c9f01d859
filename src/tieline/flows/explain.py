"""Explain: why a check does not hold for an entity, field by field: the value that it read, and one with which it would hold.

What is expected is found by asking the check itself: with one field changed and all else as it was, does it hold? So the answer is
the rule's own, and where a single field decides nothing by itself, nothing is claimed.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from tieline.sdk.checks import Check, Related
from tieline.sdk.entities import KINDS, Entity
from tieline.stages.assess import read_entity

_YEARS = timedelta(days=3650)
_MANY = 1_000_000
_WORDS = {True: "yes", False: "no"}


@dataclass(frozen=True)
class Reason:
    """One value that a check read: as it was, as it is now, and what would make the check hold (empty if that is not one value)."""

    name: str
    was: Any
    now: Any
    expected: str

    @property
    def moved(self) -> bool:
        """Whether the value is another one by now."""
        return bool(self.was != self.now)


def explain(
    check: Check | None, kind: str, values: Mapping[str, Any], stored: Mapping[str, Any], *, at: datetime
) -> list[Reason]:
    """The values that decided, in the order in which the check read them; `stored` are the entity's fields as they are now."""
    model = KINDS.get(kind)
    expected = _expectations(check, model, values, stored, at) if check and model else {}
    fields = model.model_fields if model else {}
    return [
        Reason(name, was, stored.get(name) if name in fields else was, expected.get(name, ""))
        for name, was in values.items()
    ]


def _expectations(
    check: Check, model: type[Entity], values: Mapping[str, Any], stored: Mapping[str, Any], at: datetime
) -> dict[str, str]:
    """What each value should be for the check to hold, of those for which that can be said."""
    read = {name: value for name, value in values.items() if name in model.model_fields}
    try:
        entity = read_entity(
            model.kind, {**stored, **{name: value for name, value in read.items() if value is not None}}
        )
    except ValueError:  # of a release in which the kind had other fields
        return {}
    entity = entity.model_copy(update={name: None for name, value in read.items() if value is None})
    linked = {name: values.get(name) for name in check.related}
    nothing = {name: Related[Any]((), complete=True) for name in check.related}

    def holds(**changed: Any) -> bool:
        return check.answer(entity.model_copy(update=changed), now=at, related=nothing) == "pass"

    told: dict[str, str] = {}
    if check.related:
        said = "none that counts" if holds() else "at least one that counts"
        told = {name: said for name, found in linked.items() if isinstance(found, dict)}
        if any(not isinstance(found, dict) or found.get("count") for found in linked.values()):
            return told  # what was linked is not at hand, so what a field would change cannot be tried
    if not holds():
        hints = typing.get_type_hints(model)
        told |= {name: said for name in read if (said := _expected(name, hints[name], holds, at))}
    return told


def _expected(name: str, hint: Any, holds: Any, at: datetime) -> str:
    """In words, the values of one field with which the check would hold."""
    kind, choices = _kind_of(hint)
    if kind is bool:
        choices = (True, False)
    if choices:
        return " or ".join(_WORDS.get(one, str(one)) for one in choices if holds(**{name: one}))
    if kind is datetime:
        steps = {"more recent": at, "longer ago": at - _YEARS, "later": at + _YEARS}
    elif kind in {int, float}:
        steps = {"lower": kind(0), "higher": kind(_MANY)}
    else:
        return ""
    return next((told for told, value in steps.items() if holds(**{name: value})), "")


def _kind_of(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The plain type of a field and, of a choice, what there is to choose from; `| None` aside."""
    if get_origin(hint) in {Union, UnionType}:
        hint = next((one for one in get_args(hint) if one is not type(None)), hint)
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if hasattr(hint, "__metadata__"):
        return _kind_of(get_args(hint)[0])
    return hint, ()
