"""The frameworks that evidence is kept for: read from TOML, checked once, then frozen.

A control's id is its framework's slug, a colon and the standard's own number: `soc2:CC6.1`, `iso27001:A.8.32`.
Checks name controls by that id and evidence is stored under it, so an id never changes; an edition that renumbers
becomes a framework of its own.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from tieline.errors import DeclarationError

_SLUG = re.compile(r"[a-z][a-z0-9]*")
_ID = re.compile(r"[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*")


@dataclass(frozen=True)
class Family:
    """A group of controls within a framework, such as `CC6`."""

    id: str
    name: str


@dataclass(frozen=True)
class Control:
    """A requirement of a framework; `id` is the full one, such as `soc2:CC6.1`.

    `family` is the id of a family of the same framework. `asks` is one sentence on what an auditor wants to see.
    """

    id: str
    framework: str
    family: str
    title: str
    asks: str


@dataclass(frozen=True)
class Framework:
    """A standard in one edition, with its families and controls in the standard's order."""

    slug: str
    name: str
    edition: str
    families: tuple[Family, ...]
    controls: tuple[Control, ...]


@cache
def load_frameworks() -> Mapping[str, Framework]:
    """All frameworks that come with Tieline, by slug; raises `DeclarationError` if a file is not as it should be."""
    found: dict[str, Framework] = {}
    for file in sorted(resources.files("tieline.frameworks").iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".toml"):
            continue
        framework = parse_framework(file.read_text(encoding="utf-8"))
        if file.name != f"{framework.slug}.toml":  # so two files cannot claim one slug
            raise _refuse(f"{file.name} holds the framework {framework.slug}; name the file after it")
        found[framework.slug] = framework
    return MappingProxyType(found)


def find_control(control_id: str) -> Control | None:
    """The control with this full id, such as `soc2:CC6.1`; None if no framework has it."""
    return _controls_by_id().get(control_id)


def parse_framework(text: str) -> Framework:
    """Read one framework from TOML; raises `DeclarationError` with the rule `framework` and says what is wrong."""
    document = _parse_toml(text)
    families = [Family(**row) for row in _rows(document, "families", ("id", "name"))]
    rows = _rows(document, "controls", ("id", "family", "title", "asks"))
    head = _texts(document, ("slug", "name", "edition"), "the framework")

    slug = head["slug"]
    if not _SLUG.fullmatch(slug):
        raise _refuse(f"{slug!r} is no slug; use lower-case letters and digits")
    _check_ids("families", [family.id for family in families])
    _check_ids("controls", [row["id"] for row in rows])
    strays = {row["family"] for row in rows} ^ {family.id for family in families}
    if strays:
        raise _refuse(f"{slug} has families without controls, or controls of an unknown family: {_list(strays)}")

    controls = [Control(framework=slug, **row | {"id": f"{slug}:{row['id']}"}) for row in rows]
    return Framework(**head, families=tuple(families), controls=tuple(controls))


@cache
def _controls_by_id() -> Mapping[str, Control]:
    return {control.id: control for framework in load_frameworks().values() for control in framework.controls}


def _parse_toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _refuse(f"not TOML: {error}") from error


def _rows(document: dict[str, Any], name: str, fields: tuple[str, ...]) -> list[dict[str, str]]:
    """Take the array of tables `name` out of the document, each with exactly these fields."""
    rows = document.pop(name, None)
    if not isinstance(rows, list) or not rows:
        raise _refuse(f"[[{name}]] is missing or empty")
    return [_texts(row, fields, f"number {position} of [[{name}]]") for position, row in enumerate(rows, start=1)]


def _texts(table: object, fields: tuple[str, ...], where: str) -> dict[str, str]:
    if not isinstance(table, dict):
        raise _refuse(f"{where} is not a table")
    if unlike := table.keys() ^ set(fields):
        raise _refuse(f"{where} has missing or unknown fields: {_list(unlike)}")
    for field in fields:
        value = table[field]
        if not isinstance(value, str) or not value or value != " ".join(value.split()):
            raise _refuse(f"{where}: {field} must be one line of text")
    return {field: table[field] for field in fields}


def _check_ids(name: str, ids: list[str]) -> None:
    if malformed := [each for each in ids if not _ID.fullmatch(each)]:
        raise _refuse(f"malformed ids in [[{name}]]: {_list(malformed)}")
    if repeated := [each for each, count in Counter(ids).items() if count > 1]:
        raise _refuse(f"repeated ids in [[{name}]]: {_list(repeated)}")


def _list(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _refuse(message: str) -> DeclarationError:
    return DeclarationError("framework", message)
