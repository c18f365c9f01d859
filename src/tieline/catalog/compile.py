"""Validate what was declared and freeze it: whatever is wrong with a provider shows here, before any request.

Each rule has a stable name, raised as `DeclarationError.rule`.
"""

from __future__ import annotations

import inspect
import re
import string
import typing
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from tieline.catalog.frameworks import find_control
from tieline.errors import DeclarationError, NotFound
from tieline.sdk.auth import ApiKey, Auth, Credential
from tieline.sdk.checks import Check
from tieline.sdk.entities import Severity
from tieline.sdk.mapping import CompiledMapping
from tieline.sdk.mapping import Mapping as FieldMapping
from tieline.sdk.provider import Operation, Options, Provider

_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SLOT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_OPERATION = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SECRETIVE = re.compile(r"password|passwd|secret|token|private_key|api_key|credential")


@dataclass(frozen=True)
class Catalog:
    """All that can be connected and all that is checked; `broken` names third-party providers that failed to load."""

    providers: Mapping[str, Provider[Any]]
    checks: tuple[Check, ...]
    broken: Mapping[str, str]

    def provider(self, slug: str) -> Provider[Any]:
        """The provider with this slug; raises `NotFound`."""
        if slug in self.broken and slug not in self.providers:
            advice = f"`tieline provider check {slug}` says more."
            raise NotFound(f"The provider {slug!r} cannot be loaded: {self.broken[slug]}", advice=advice)
        if slug not in self.providers:
            known = ", ".join(sorted(self.providers))
            raise NotFound(f"There is no provider {slug[:60]!r}", advice=f"Known providers: {known}.")
        return self.providers[slug]

    def operation(self, slug: str, operation_id: str) -> Operation:
        """An operation of a provider; raises `NotFound`."""
        for operation in self.provider(slug).operations:
            if operation.id == operation_id:
                return operation
        raise NotFound(f"{slug} has no operation {operation_id[:60]!r}")

    def checks_for(self, slug: str, kind: str) -> tuple[Check, ...]:
        """The checks that judge entities of a kind from a provider."""
        return self._by_kind.get((None, kind), ()) + self._by_kind.get((slug, kind), ())

    def check(self, check_id: str) -> Check:
        """One check; raises `NotFound`."""
        for one in self.checks:
            if one.id == check_id:
                return one
        raise NotFound(f"There is no check {check_id[:60]!r}")

    @cached_property
    def _by_kind(self) -> dict[tuple[str | None, str], tuple[Check, ...]]:
        found: dict[tuple[str | None, str], tuple[Check, ...]] = {}
        for one in self.checks:
            key = (one.provider, one.kind)
            found[key] = (*found.get(key, ()), one)
        return found


@dataclass(frozen=True)
class CompiledOperation:
    """An operation ready to run for one connection, with that organization's overrides in force."""

    operation: Operation
    mappings: Mapping[str | None, CompiledMapping[Any]]
    checks: Mapping[str, tuple[Check, ...]]
    revisions: Mapping[str | None, bytes]


def compile_catalog(
    providers: Iterable[Provider[Any]], checks: Iterable[Check], broken: Mapping[str, str] | None = None
) -> Catalog:
    """Check every rule; raises `DeclarationError` for the first one broken."""
    listed = list(providers)
    _refuse_repeats("duplicate-provider", (one.slug for one in listed), "two providers are called")
    for provider in listed:
        _check_provider(provider)
    judged = (*checks, *(one for provider in listed for one in provider.checks))
    _refuse_repeats("duplicate-check", (one.id for one in judged), "two checks are called")
    for one in judged:
        _check_check(one)
    return Catalog({one.slug: one for one in listed}, judged, broken or {})


def compile_operation(
    catalog: Catalog, slug: str, operation: Operation, overrides: Mapping[str, Any] | None = None
) -> CompiledOperation:
    """Compile an operation's mappings with a connection's own filter and fields; `own_of` says what form these have."""
    adjusted = {mapping.variant: _adjusted(mapping, overrides) for mapping in operation.into}
    checks = {kind: catalog.checks_for(slug, kind) for kind in operation.kinds}
    return CompiledOperation(
        operation=operation,
        mappings={variant: mapping.compile() for variant, mapping in adjusted.items()},
        checks=checks,
        revisions={variant: _revision(mapping, checks[mapping.entity.kind]) for variant, mapping in adjusted.items()},
    )


def own_of(overrides: Mapping[str, Any] | None, variant: str | None) -> tuple[str | None, dict[str, str]]:
    """An organization's own filter and fields for one mapping of an operation.

    They are `{"filter": …, "fields": {…}}` for every mapping, and `{"variants": {NAME: {"filter": …, "fields": {…}}}}` for that of
    one variant, which goes before.
    """
    for_all = overrides or {}
    alone = (for_all.get("variants") or {}).get(variant) or {}
    fields = {**(for_all.get("fields") or {}), **(alone.get("fields") or {})}
    return alone.get("filter", for_all.get("filter")), fields


def _adjusted(mapping: FieldMapping[Any], overrides: Mapping[str, Any] | None) -> FieldMapping[Any]:
    own_filter, fields = own_of(overrides, mapping.variant)
    return mapping.adjusted(filter=own_filter, fields=fields)


def _revision(mapping: FieldMapping[Any], checks: tuple[Check, ...]) -> bytes:
    """Changes when a stored entity must be mapped or judged anew although its record is the same."""
    names = "\n".join(sorted(one.id for one in checks))
    return blake2b(mapping.revision + names.encode(), digest_size=8).digest()


def _check_provider(provider: Provider[Any]) -> None:
    if not _SLUG.fullmatch(provider.slug):
        raise DeclarationError("bad-slug", f"{provider.slug!r} is not a slug such as acme-hr")
    if not provider.name or not provider.category:
        raise DeclarationError("unnamed", f"{provider.slug} needs a name and a category")
    _check_auth(provider)
    _check_options(provider)
    _check_base_url(provider)
    if not callable(provider.identity):
        raise DeclarationError("no-identity", f"{provider.slug} has no test call")
    if not provider.operations:
        raise DeclarationError("no-operations", f"{provider.slug} declares no operation")
    _refuse_repeats(
        "duplicate-operation", (one.id for one in provider.operations), f"{provider.slug} has two operations"
    )
    for operation in provider.operations:
        _check_operation(provider, operation)


def _check_auth(provider: Provider[Any]) -> None:
    if not provider.modes:
        raise DeclarationError("undeclared-slot", f"{provider.slug} has no way to authenticate")
    for auth in provider.modes:
        if (
            not isinstance(auth, Auth)
            or not issubclass(auth.credential, Credential)
            or not auth.credential.model_fields
        ):
            raise DeclarationError("undeclared-slot", f"{provider.slug}'s auth does not say what its slot holds")
        if not _SLOT.fullmatch(auth.slot):
            raise DeclarationError("bad-slot", f"{provider.slug}: {auth.slot!r} is not a slot such as oauth2")
        if isinstance(auth, ApiKey) and not (auth.header or auth.query):
            raise DeclarationError(
                "unsent-key", f"{provider.slug}'s ApiKey needs a header or a query parameter to go in"
            )
        if open_fields := _unmarked(auth.credential):
            raise DeclarationError("unmarked-secret", f"{provider.slug}: {', '.join(open_fields)} must be SecretStr")
    _refuse_repeats("duplicate-slot", (auth.slot for auth in provider.modes), f"{provider.slug} has two ways")


def _check_options(provider: Provider[Any]) -> None:
    if not isinstance(provider.options, type) or not issubclass(provider.options, Options):
        raise DeclarationError("bad-options", f"{provider.slug}'s options are not a subclass of Options")
    secretive = [name for name in provider.options.model_fields if _SECRETIVE.search(name)]
    secretive += [name for name, info in provider.options.model_fields.items() if "Secret" in str(info.annotation)]
    if secretive:
        raise DeclarationError("secret-option", f"{provider.slug}: {secretive[0]} belongs in the credential")


def _check_base_url(provider: Provider[Any]) -> None:
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(provider.base_url) if name is not None}
    except ValueError:
        raise DeclarationError("bad-base-url", f"{provider.slug}'s base URL has a brace too many") from None
    if unknown := names - set(provider.options.model_fields) - set(provider.hosts):
        raise DeclarationError("bad-base-url", f"{provider.slug}: there is no option or host {min(unknown)!r}")
    for host, url in provider.hosts.items():
        if urlsplit(url).scheme != "https" or not urlsplit(url).netloc:
            raise DeclarationError("bad-host", f"{provider.slug}: the host {host!r} must be an https:// address")
    starts_with_option = provider.base_url.startswith("{")
    if not starts_with_option and (
        urlsplit(provider.base_url).scheme != "https" or not urlsplit(provider.base_url).netloc
    ):
        raise DeclarationError(
            "bad-base-url", f"{provider.slug}'s base URL must begin with https:// or with an option or host in braces"
        )


def _check_operation(provider: Provider[Any], operation: Operation) -> None:
    where = f"{provider.slug}.{operation.id}"
    if not _OPERATION.fullmatch(operation.id):
        raise DeclarationError("bad-operation-id", f"{where}: an operation's id is lower case words with underscores")
    if not inspect.isasyncgenfunction(operation.read):
        raise DeclarationError("cannot-run", f"{where} must be an async generator of records")
    if not operation.into:
        raise DeclarationError("no-mapping", f"{where} does not say what its records become")
    for mapping in operation.into:
        if not isinstance(mapping, FieldMapping):
            raise DeclarationError("not-a-mapping", f"{where}: say what its records become by a kind's map(…)")
    if sum(mapping.variant is None for mapping in operation.into) > 1:
        raise DeclarationError("unnamed-variant", f"{where} has several mappings, so each needs a variant=… of its own")
    _refuse_repeats("duplicate-variant", (one.variant for one in operation.into), f"{where} maps a variant twice:")
    for mapping in operation.into:
        _check_mapping(where, mapping)


def _check_mapping(where: str, mapping: FieldMapping[Any]) -> None:
    for fault in mapping.faults():
        rule = "bad-expression"
        if fault.startswith(mapping.entity.__name__):
            rule = "unknown-field" if " has no field " in fault else "missing-field"
        raise DeclarationError(rule, f"{where}: {fault}")


def _check_check(one: Check) -> None:
    if not one.title or not one.fix:
        raise DeclarationError("undescribed-check", f"check {one.id} needs a docstring: a title, then the fix")
    if one.severity not in typing.get_args(Severity):
        known = ", ".join(typing.get_args(Severity))
        raise DeclarationError("bad-severity", f"check {one.id}: {one.severity!r} is no severity; there are {known}")
    if inspect.iscoroutinefunction(one.predicate):
        raise DeclarationError("cannot-judge", f"check {one.id} must be a plain function: a check asks nobody")
    for control in one.controls:
        if find_control(control) is None:
            raise DeclarationError("unknown-control", f"check {one.id}: no framework has {control!r}")


def _unmarked(model: type[BaseModel]) -> list[str]:
    """Fields whose names tell of a secret and whose type does not."""
    return [
        name
        for name, info in model.model_fields.items()
        if _SECRETIVE.search(name) and "SecretStr" not in str(info.annotation)
    ]


def _refuse_repeats(rule: str, names: Iterable[str | None], what: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise DeclarationError(rule, f"{what} {name!r}")
