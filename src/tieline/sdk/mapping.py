"""Filter and map: how a provider's record becomes an entity.

A mapping is declared as CEL expressions, one a field, and compiled once when its provider loads. A missing key means "no
value", and so does one that is null, so an optional field needs no guard. A record that does not fit is rejected with the
field and the reason; it never stops a run.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Map
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any, Generic, TypeVar

import orjson
from pydantic import ValidationError

from tieline.sdk.cel import NO_VALUE, CelError, Expression, compile_expression
from tieline.sdk.entities import MAX_KEY, Entity
from tieline.sdk.unread import reader_of

E_co = TypeVar("E_co", bound=Entity, covariant=True)

_REASONS = {
    "missing": "has no value in this record",
    "string_type": "is not text: map a number with string()",
}
"""What Pydantic's types of error mean to the author of a mapping."""


@dataclass(frozen=True)
class Rejected:
    """A record that could not become an entity: which field, and why. Never quotes the value."""

    field: str
    reason: str


@dataclass(frozen=True)
class Mapping(Generic[E_co]):
    """A declared mapping; made by `Entity.map`."""

    entity: type[E_co]
    filter: str
    fields: Map[str, str]
    drop: tuple[str, ...] = ()
    variant: str | None = None
    own_filter: str | None = None

    def adjusted(self, *, filter: str | None = None, fields: Map[str, str] | None = None) -> Mapping[E_co]:
        """The same with an organization's own filter (both must hold) and its overridden fields."""
        return replace(self, own_filter=filter or None, fields={**self.fields, **(fields or {})})

    @property
    def _filters(self) -> tuple[str, ...]:
        """Kept apart, not joined by `&&`: an organization's filter must not be able to close a bracket of ours."""
        return tuple(one for one in (self.filter, self.own_filter) if one and one != "true")

    def faults(self) -> list[str]:
        """What is wrong with the declaration, in words; empty when it compiles."""
        known = set(self.entity.model_fields)
        required = {name for name, info in self.entity.model_fields.items() if info.is_required()}
        found = [f"{self.entity.__name__} has no field {name!r}" for name in sorted(set(self.fields) - known)]
        found += [
            f"{self.entity.__name__} needs a mapping for {name!r}" for name in sorted(required - set(self.fields))
        ]
        sources: list[tuple[str, Any]] = [*(("filter", one) for one in self._filters), *self.fields.items()]
        for name, source in sources:
            if not isinstance(source, str):  # an author's slip, such as active=True
                found.append(f"{name}: a CEL expression is text, not {type(source).__name__}")
                continue
            try:
                compile_expression(source)
            except CelError as error:
                found.append(f"{name}: {error}")
        return found

    def compile(self) -> CompiledMapping[E_co]:
        """Compile every expression; raises `CelError` for the first bad one."""
        return CompiledMapping(
            entity=self.entity,
            filters=tuple(compile_expression(one) for one in self._filters),
            fields=tuple((name, compile_expression(source)) for name, source in self.fields.items()),
            drop=tuple(tuple(path.split(".")) for path in self.drop),
        )

    @cached_property
    def revision(self) -> bytes:
        """Changes when the mapping does, so that what was mapped by an older one is mapped again."""
        source = [self.entity.kind, self.variant, self._filters, sorted(self.fields.items()), sorted(self.drop)]
        return blake2b(orjson.dumps(source), digest_size=8).digest()


@dataclass(frozen=True)
class CompiledMapping(Generic[E_co]):
    """A mapping that is ready to run."""

    entity: type[E_co]
    filters: tuple[Expression, ...]
    fields: tuple[tuple[str, Expression], ...]
    drop: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def _key(self) -> Expression | None:
        return dict(self.fields).get("external_id")

    def clean(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record without the dropped paths."""
        for path in self.drop:
            record = _without(record, path)
        return record

    def apply(self, record: dict[str, Any], **about: Any) -> E_co | Rejected | None:
        """The entity, the reason why there is none, or `None` when the filter leaves the record out.

        `about` gives the other variables: `envelope`, `variant`, `resource`, `action`, `options`.
        """
        name, variables = "filter", {"payload": record, **about}
        try:
            for one in self.filters:
                wanted = one.evaluate(variables)
                if wanted is NO_VALUE:
                    return Rejected(name, "reads something that the record lacks: ask with has() first")
                if not isinstance(wanted, bool):
                    return Rejected(name, "must answer true or false, and answers something else")
                if not wanted:
                    return None
            values = {}
            for name, expression in self.fields:
                value = expression.evaluate(variables)
                if value is not None and value is not NO_VALUE:
                    values[name] = value
        except CelError as error:
            return Rejected(name, str(error))
        return self._build(values)

    def identify(self, record: dict[str, Any], **about: Any) -> str | None:
        """The external id alone, which costs a fraction of the entity; `None` if it cannot be told."""
        if self._key is None:
            return None
        try:
            found = self._key.evaluate({"payload": record, **about})
        except CelError:
            return None
        return found if isinstance(found, str) and 0 < len(found) <= MAX_KEY else None

    def identify_unread(self, text: bytes, **about: Any) -> str | None:
        """What `identify` gives for a record that is not parsed, where that can be told from a few fields of its text."""
        found = self._read_key(text) if self._read_key else None
        return None if found is None else self.identify(found, **about)

    @cached_property
    def _read_key(self) -> Callable[[bytes], dict[str, Any] | None] | None:
        """Reads what the external id is made from, if it can be told which fields those are."""
        fields = self._key.reads.get("payload") if self._key else None
        return reader_of(fields) if fields else None

    def _build(self, values: dict[str, Any]) -> E_co | Rejected:
        for name in self._moments:
            if name not in values:
                continue
            moment = _moment(values[name])
            if moment is None:
                return Rejected(name, "is not a date and time")
            values[name] = moment
        try:
            return self._validate(values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False, include_url=False)[0]
            reason = _REASONS.get(first["type"], first["msg"])
            return Rejected(str(first["loc"][0]) if first["loc"] else "record", reason)

    @cached_property
    def _validate(self) -> Callable[[dict[str, Any]], E_co]:
        """`model_validate` without the layer around it that looks at options, of which there are none."""
        return self.entity.__pydantic_validator__.validate_python

    @cached_property
    def _moments(self) -> tuple[str, ...]:
        """Fields that hold a date and time: providers send them as text."""
        return tuple(
            name for name, info in self.entity.model_fields.items() if "datetime" in str(info.annotation).lower()
        )


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def _without(record: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """A copy of the record that lacks one dotted path; the record itself when it has none."""
    head, *rest = path
    if head not in record:
        return record
    if not rest:
        return {key: value for key, value in record.items() if key != head}
    inner = record[head]
    return {**record, head: _without(inner, tuple(rest))} if isinstance(inner, dict) else record
