"""Checks: rules over entities, written once for all providers.

A check is a predicate named for the good state: `True` pass, `False` fail, `None` unknown. The first line of its docstring
is the title, the rest is the fix. A check may ask for more than the entity by naming it in its signature: `now` (then it is judged
anew when time has passed that moves its answer: see `present`) and `Related[...]` parameters (the entities that link to this one).
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from tieline.errors import DeclarationError
from tieline.sdk.entities import Entity, Severity, fields_of, links_of

E = TypeVar("E", bound=Entity)
Outcome = Literal["pass", "fail", "unknown"]
Predicate = Callable[..., bool | None]

_OUTCOMES: dict[bool | None, Outcome] = {True: "pass", False: "fail", None: "unknown"}


@dataclass(frozen=True)
class Related(Generic[E]):
    """The entities of one kind that link to the entity under check.

    `complete` is true when they were all read: only then does the absence of one mean anything.
    """

    items: Sequence[E]
    complete: bool

    def any(self, matches: Callable[[E], bool | None] = lambda _: True) -> bool | None:
        """Whether one of them matches; no only when all were read and each is known not to."""
        answers = {matches(item) for item in self.items}
        if True in answers:
            return True
        return False if self.complete and None not in answers else None

    def none(self, matches: Callable[[E], bool | None] = lambda _: True) -> bool | None:
        """Whether not one of them matches; `None` when that is not known of each."""
        found = self.any(matches)
        return None if found is None else not found

    def __iter__(self) -> Iterator[E]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class Judgement(NamedTuple):
    """What a check says of one entity: the outcome, and the values it read on the way."""

    outcome: Outcome
    values: dict[str, Any]


@dataclass(frozen=True)
class Check:
    """A rule over one kind of entity; made by `check` or `Provider.check`."""

    id: str
    kind: str
    severity: Severity
    controls: tuple[str, ...]
    title: str
    fix: str
    predicate: Predicate = field(repr=False)
    applies: Callable[[Any], Any] = field(repr=False)
    provider: str | None = None
    clocked: bool = False
    related: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Parameter → (kind, link field of that kind that points here)."""

    def answer(self, entity: Entity, *, now: datetime, related: dict[str, Related[Any]]) -> Outcome | None:
        """The outcome alone: quicker than `judge`, which also tells why."""
        try:
            if not self.applies(entity):
                return None
            return _OUTCOMES[self.predicate(entity, **self._more(now, related))]
        except Exception:  # noqa: BLE001  as in `judge`
            return "unknown"

    def judge(self, entity: Entity, *, now: datetime, related: dict[str, Related[Any]]) -> Judgement | None:
        """The judgement on one entity, or `None` where the check does not apply to it.

        A predicate that raises has not decided anything: the outcome is unknown, and the values say so.
        """
        witness = _Witness(entity)
        try:
            if not self.applies(witness):
                return None
            outcome = _OUTCOMES[self.predicate(witness, **self._more(now, related))]
        except Exception as error:  # noqa: BLE001  a rule may be a third party's; what it raises must not end the run
            return Judgement("unknown", _read_by(witness) | {"error": type(error).__name__})
        values = _read_by(witness)
        for name, found in related.items():
            values[name] = {"count": len(found), "complete": found.complete}
        return Judgement(outcome, values)

    def may_apply(self, entity: Entity) -> bool:
        """Whether there may be a judgement on an entity: quicker than `judge`, which knows."""
        try:
            return bool(self.applies(entity))
        except Exception:  # noqa: BLE001  as in `judge`, which will tell
            return True

    def _more(self, now: datetime, related: dict[str, Related[Any]]) -> dict[str, Any]:
        return ({"now": now} if self.clocked else {}) | related


def check(
    kind: type[Entity],
    *,
    severity: Severity,
    controls: Sequence[str],
    when: Callable[[Any], Any] = lambda _: True,
    provider: str | None = None,
) -> Callable[[Predicate], Check]:
    """Turn a predicate into a check.

    `controls` are full ids such as `soc2:CC6.1`. `when` says to which entities it applies at all, so that "does not apply"
    and "unknown" stay apart. The function's name, with underscores as hyphens, is the persisted id.
    """
    if isinstance(controls, str):
        raise DeclarationError("bad-controls", f"controls must be a list such as [{controls!r}], not one text")

    def declare(predicate: Predicate) -> Check:
        title, _, fix = inspect.cleandoc(predicate.__doc__ or "").partition("\n")
        name = predicate.__name__.replace("_", "-")
        return Check(
            id=f"{provider}.{name}" if provider else name,
            kind=kind.kind,
            severity=severity,
            controls=tuple(controls),
            title=title.strip().rstrip("."),
            fix=" ".join(fix.split()),
            predicate=predicate,
            applies=when,
            provider=provider,
            clocked="now" in inspect.signature(predicate).parameters,
            related=_related_of(predicate, kind),
        )

    return declare


def _related_of(predicate: Predicate, kind: type[Entity]) -> dict[str, tuple[str, str]]:
    found = {}
    for name, hint in typing.get_type_hints(predicate).items():
        if typing.get_origin(hint) is Related:
            (other,) = typing.get_args(hint)
            link = next((field for field, linked in links_of(other).items() if linked == kind.kind), None)
            if link is None:
                raise TypeError(f"{other.__name__} has no link to {kind.__name__}")
            found[name] = (other.kind, link)
    return found


class _Witness:
    """Stands in for an entity and notes which fields are read: those are the values that decided."""

    def __init__(self, entity: Entity) -> None:
        self.__dict__ |= {"_entity": entity, "_read": {}, "_fields": fields_of(type(entity))}

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(self._entity, name)  # asked once
        if name in self._fields:
            self._read[name] = value.isoformat() if isinstance(value, datetime) else value
        return value


def _read_by(witness: _Witness) -> dict[str, Any]:
    return dict(witness._read)
