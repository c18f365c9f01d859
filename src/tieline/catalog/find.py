"""Find what is installed: providers by folder and by entry point, checks by module. Nothing lists them by hand."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, TypeVar

from tieline.catalog.compile import Catalog, compile_catalog
from tieline.errors import DeclarationError
from tieline.sdk.checks import Check
from tieline.sdk.provider import Provider

T = TypeVar("T")
GROUP = "tieline.providers"

_log = logging.getLogger(__name__)


@cache
def load_catalog() -> Catalog:
    """The catalog of this installation.

    A fault in a provider that ships with Tieline stops the start; one from elsewhere is named in `Catalog.broken` and left out.
    """
    built_in = list(_built_in())
    checks = list(_checks())
    providers, broken = list(built_in), {}
    for entry in entry_points(group=GROUP):
        try:
            loaded = _load_entry(entry)
            compile_catalog([*providers, loaded], checks)
        except Exception as error:  # noqa: BLE001  whatever a third party's module raises must not stop the others
            broken[entry.name] = str(error) if isinstance(error, DeclarationError) else type(error).__name__
            _log.warning("A provider could not be loaded", extra={"provider": entry.name, "reason": broken[entry.name]})
        else:
            providers.append(loaded)
    return compile_catalog(providers, checks, broken)


def _built_in() -> Iterator[Provider[Any]]:
    package = importlib.import_module("tieline.providers")
    for found in pkgutil.iter_modules(package.__path__):
        yield from _declared(importlib.import_module(f"{package.__name__}.{found.name}.provider"), Provider)


def _checks() -> Iterator[Check]:
    package = importlib.import_module("tieline.checks")
    for found in pkgutil.iter_modules(package.__path__):
        yield from _declared(importlib.import_module(f"{package.__name__}.{found.name}"), Check)


def _load_entry(entry: EntryPoint) -> Provider[Any]:
    loaded = entry.load()
    if isinstance(loaded, ModuleType):
        loaded = next(_declared(loaded, Provider), None)
    if not isinstance(loaded, Provider):
        raise DeclarationError("not-a-provider", f"the entry point {entry.name!r} does not lead to a Provider")
    return loaded


def _declared(module: ModuleType, kind: type[T]) -> Iterator[T]:
    """What a module declares at its top level, each once."""
    seen: set[int] = set()
    for value in vars(module).values():
        if isinstance(value, kind) and id(value) not in seen:
            seen.add(id(value))
            yield value
