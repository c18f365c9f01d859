"""Overrides: an organization's own filter and fields for the operations of one connection, and what may be saved as such.

They have the form that `catalog.compile.own_of` reads, by operation. People edit them one mapping at a time, so they can be spread over
the mappings of an operation and gathered again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

from tieline.catalog.compile import Catalog, compile_operation, own_of
from tieline.errors import DeclarationError, Invalid
from tieline.sdk.cel import CelError, compile_expression
from tieline.sdk.mapping import Mapping as FieldMapping
from tieline.sdk.provider import Operation, Provider

_FORM = "give `filter`, `fields`, or both by name under `variants`"
_ADVICE = "Correct the named expressions; docs/mappings.md says what an expression may hold."


@dataclass(frozen=True)
class Own:
    """What an organization says of one mapping: a filter that must hold as well, and fields that it maps in another way."""

    filter: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.filter or self.fields)

    @property
    def written(self) -> dict[str, Any]:
        """As it is stored: only what is said."""
        told: dict[str, Any] = {"filter": self.filter} if self.filter else {}
        return told | ({"fields": dict(self.fields)} if self.fields else {})


def read_own(overrides: Mapping[str, Any] | None, variant: str | None) -> Own:
    """What an operation's overrides say of one mapping."""
    return Own(*own_of(overrides, variant))


def replace_own(
    overrides: Mapping[str, Any] | None, operation: Operation, variant: str | None, own: Own
) -> dict[str, Any]:
    """An operation's overrides with those of one mapping replaced, and all others as they were; empty if nothing is left."""
    said = {one.variant: read_own(overrides, one.variant) for one in operation.into} | {variant: own}
    for_all = said.pop(None, Own()).written
    named = {name: one.written for name, one in said.items() if one}
    return for_all | ({"variants": named} if named else {})


def stamp_of(overrides: Mapping[str, Any] | None) -> str:
    """Tells two states of an operation's overrides apart, for a form to carry."""
    return blake2b(orjson.dumps(overrides or {}, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def problems_of(mapping: FieldMapping[Any], own: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is wrong with `{"filter": …, "fields": {…}}` for a mapping, by field; raises `Invalid` for another form."""
    fields = own.get("fields") or {}
    if not isinstance(fields, Mapping):
        raise Invalid("`fields` maps names to text")
    found = [("filter", _problem(own["filter"]))] if own.get("filter") not in (None, "") else []
    for name, source in fields.items():
        if name in mapping.entity.model_fields:
            found.append((f"fields.{name}", _problem(source)))
        else:
            told = name[:60] if name.isidentifier() else "(name not shown)"
            found.append((f"fields.{told}", f"{mapping.entity.__name__} has no such field"))
    return [{"field": where, "problem": problem} for where, problem in found if problem]


def check_overrides(catalog: Catalog, provider: Provider[Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """An organization's overrides, by operation, compiled to see that they work; raises `Invalid` that names each bad one."""
    checked = {}
    for operation_id, own in overrides.items():
        operation = catalog.operation(provider.slug, operation_id)
        found = _problems_in(operation, own, f"overrides.{operation_id}")
        if found:
            told = "; ".join(f"{one['field']}: {one['problem']}" for one in found)
            raise Invalid(told, advice=_ADVICE, fields=found)
        try:
            compile_operation(catalog, provider.slug, operation, own)
        except (CelError, DeclarationError) as error:
            raise Invalid(f"overrides.{operation_id}: {error}") from None
        checked[operation_id] = dict(own)
    return checked


def _problems_in(operation: Operation, own: Any, where: str) -> list[dict[str, str]]:
    """What is wrong with an operation's overrides, each problem told once."""
    found: dict[tuple[str, str], None] = {}
    variants = _variants_in(operation, own, where)
    for mapping in operation.into:
        alone = variants.get(mapping.variant)
        said = [(where, own)] + ([(f"{where}.variants.{mapping.variant}", alone)] if alone else [])
        for place, one in said:
            try:
                problems = problems_of(mapping, one)
            except Invalid as error:
                raise Invalid(f"{place}: {error.message}") from None
            found |= {(f"{place}.{each['field']}", each["problem"]): None for each in problems}
    return [{"field": place, "problem": problem} for place, problem in found]


def _variants_in(operation: Operation, own: Any, where: str) -> Mapping[Any, Any]:
    """What is said of single variants; raises `Invalid` for another form."""
    if not isinstance(own, Mapping) or set(own) - {"filter", "fields", "variants"}:
        raise Invalid(f"{where}: {_FORM}")
    variants = own.get("variants") or {}
    if not isinstance(variants, Mapping):
        raise Invalid(f"{where}: {_FORM}")
    known = {one.variant for one in operation.into if one.variant}
    if set(variants) - known:
        advice = f"The variants are: {', '.join(sorted(known))}." if known else "This operation has no variants."
        raise Invalid(f"{where}.variants: there is no such variant", advice=advice)
    if any(not isinstance(one, Mapping) or set(one) - {"filter", "fields"} for one in variants.values()):
        raise Invalid(f"{where}.variants: {_FORM}")
    return variants


def _problem(source: Any) -> str | None:
    if not isinstance(source, str):
        return f"a CEL expression is text, not {type(source).__name__}"
    if not source.strip():
        return "is empty: leave it out, and the provider's own holds"
    try:
        compile_expression(source)
    except CelError as error:
        return str(error)
    return None
