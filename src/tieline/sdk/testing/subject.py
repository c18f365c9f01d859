"""The provider under proof: found by slug or folder, with its fixtures, and with each reading made once."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from tieline.sdk.provider import Operation, Provider
from tieline.sdk.testing.fixtures import Fixtures, NotConforming, Recorded, read_fixtures
from tieline.sdk.testing.reading import Connected, Reading

GROUP = "tieline.providers"


@dataclass
class Subject:
    """A provider and its folder; readings are kept, because several rules look at each."""

    provider: Provider[Any]
    folder: Path
    disturbed: dict[tuple[Any, ...], tuple[Reading, bool]] = field(default_factory=dict, repr=False)
    _kept: dict[tuple[str, str | None], Reading] = field(default_factory=dict, repr=False)
    _used: dict[str, set[int]] = field(default_factory=dict, repr=False)

    @cached_property
    def fixtures(self) -> Fixtures:
        """Its fixtures; raises `NotConforming` if there are none."""
        return read_fixtures(self.folder)

    @cached_property
    def connected(self) -> dict[str, Connected]:
        """Every case, ready to read."""
        return {
            name: Connected.of(self.provider, case, self.fixtures.answers[name])
            for name, case in self.fixtures.cases.items()
        }

    async def identified(self, case: str) -> Reading:
        """The undisturbed test call of a case."""
        if (case, None) not in self._kept:
            self._kept[case, None] = await self.connected[case].identify(used=self._used.setdefault(case, set()))
        return self._kept[case, None]

    async def whole(self, case: str, operation: Operation) -> Reading:
        """The undisturbed reading of an operation."""
        key = (case, operation.id)
        if key not in self._kept:
            used = self._used.setdefault(case, set())
            self._kept[key] = await self.connected[case].read(operation, used=used)
        return self._kept[key]

    async def distinct(self) -> list[tuple[str, Operation]]:
        """Cases with operations, without those that ask just what an earlier case asks: they need not be disturbed twice."""
        found, known = [], set()
        for name in self.fixtures.cases:
            for operation in self.provider.operations:
                asked = (operation.id, frozenset((await self.whole(name, operation)).asked))
                if asked not in known:
                    known.add(asked)
                    found.append((name, operation))
        return found

    async def unused(self) -> list[Recorded]:
        """The recorded answers that no undisturbed reading of any case asked for."""
        told: dict[str, Recorded] = {}
        given: set[str] = set()
        for name in self.fixtures.cases:
            await self.identified(name)
            for operation in self.provider.operations:
                await self.whole(name, operation)
            for number, answer in enumerate(self.fixtures.answers[name]):
                told[repr(answer)] = answer
                if number in self._used[name]:
                    given.add(repr(answer))
        return [answer for key, answer in told.items() if key not in given]


def find_subject(slug_or_folder: str | Path) -> Subject:
    """The provider that an entry point or Tieline itself has under a slug, or that a folder declares in `provider.py`."""
    path = Path(slug_or_folder)
    if path.is_file():
        path = path.parent
    if path.is_dir() and (path / "provider.py").exists():
        return Subject(_declared(import_file(path / "provider.py"), str(path)), path)
    slug = str(slug_or_folder)
    for entry in entry_points(group=GROUP, name=slug):
        loaded = entry.load()
        provider = loaded if isinstance(loaded, Provider) else _declared(loaded, slug)
        return Subject(provider, _home(entry.module))
    module = f"tieline.providers.{slug.replace('-', '_')}.provider"
    if importlib.util.find_spec(module.rpartition(".")[0]) is None:
        raise NotConforming(f"there is no provider {slug!r}: name an installed one, or a folder with a provider.py")
    return Subject(_declared(importlib.import_module(module), slug), _home(module))


def import_file(file: Path) -> ModuleType:
    """The module in a file. Its folder is a package of its own, so that it may import its neighbours."""
    folder = file.parent.resolve()
    name = f"tieline_checked_{folder.name}"
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None or not file.is_file():
        raise NotConforming(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    spec.loader.exec_module(module)
    return module


def _home(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise NotConforming(f"{module} is nowhere on disk, so that it has no fixtures")
    return Path(spec.origin).parent


def _declared(module: ModuleType, what: str) -> Provider[Any]:
    found = {id(one): one for one in vars(module).values() if isinstance(one, Provider)}
    if len(found) != 1:
        raise NotConforming(f"{what} declares {len(found)} providers at its top level, not one")
    (provider,) = found.values()
    return provider
