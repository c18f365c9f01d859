"""A provider's grade: what has been proven of it, computed from the proof and the fixtures in its folder.

Bronze: the conformance suite passed over these very files (`tieline provider check --prove` wrote the proof). Silver: also two operations
or more, and a case for every way to authenticate. Gold: also a way to end what was granted, or words on what remains to be
done, and a check that was seen both to pass and to fail over the entities that the fixtures give.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from tieline.clock import SystemClock
from tieline.sdk.auth import Revokes
from tieline.sdk.checks import Check, Related
from tieline.sdk.entities import Entity
from tieline.sdk.provider import Provider

Name = Literal["bronze", "silver", "gold"]
GROUP = "tieline.providers"
PROOF = "proof.json"


@dataclass(frozen=True)
class Grade:
    """`name` is `None` for a provider of which nothing is proven; `lacks` says what the next grade asks for."""

    name: Name | None
    lacks: tuple[str, ...] = ()


def grade_of(provider: Provider[Any], checks: Iterable[Check], folder: Path | None = None) -> Grade:
    """The grade of a provider; `checks` are the neutral ones, `folder` is where it is if it is not installed.

    An installed provider's is computed once: its files do not change under a running process.
    """
    if folder is not None:
        return _grade(provider, checks, folder)
    if provider.slug not in _known:
        _known[provider.slug] = _grade(provider, checks, find_folder(provider))
    return _known[provider.slug]


_known: dict[str, Grade] = {}


def _grade(provider: Provider[Any], checks: Iterable[Check], folder: Path | None) -> Grade:
    if folder is None or not _is_proven(folder):
        return Grade(None, ("a proof of conformance: tieline provider check --prove",))
    if lacks := tuple(_lacks_for_silver(provider, folder)):
        return Grade("bronze", lacks)
    if lacks := tuple(_lacks_for_gold(provider, checks, folder)):
        return Grade("silver", lacks)
    return Grade("gold")


def write_proof(folder: Path, rules: Sequence[str]) -> Path:
    """Note that a provider has kept these rules, as its files stand now."""
    file = folder / "fixtures" / PROOF
    file.write_text(json.dumps({"digest": digest_of(folder), "rules": list(rules)}, indent=2) + "\n", encoding="utf-8")
    return file


def digest_of(folder: Path) -> str:
    """SHA-256 over a provider's code and fixtures: another when any of them changed."""
    digest = sha256()
    files = [*folder.glob("*.py"), *(one for one in (folder / "fixtures").glob("*.json") if one.name != PROOF)]
    for file in sorted(files):
        content = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def find_folder(provider: Provider[Any]) -> Path | None:
    """Where a provider is on disk: Tieline's own by its slug, another's by its entry point."""
    names = [entry.module for entry in entry_points(group=GROUP) if entry.name == provider.slug]
    names.append(f"tieline.providers.{provider.slug.replace('-', '_')}.provider")
    for name in names:
        try:
            spec = importlib.util.find_spec(name)
        except ImportError:
            continue
        if spec and spec.origin:
            return Path(spec.origin).parent
    return None


def _is_proven(folder: Path) -> bool:
    proof = _read(folder / "fixtures" / PROOF)
    return isinstance(proof, dict) and bool(proof.get("rules")) and proof.get("digest") == digest_of(folder)


def _lacks_for_silver(provider: Provider[Any], folder: Path) -> Iterator[str]:
    if len(provider.operations) < 2:
        yield "a second operation"
    cases = [_read(file) or {} for file in (folder / "fixtures").glob("case*.json")]
    proven = {case.get("slot") or provider.mode().slot for case in cases}
    for auth in provider.modes:
        if auth.slot not in proven:
            yield f"a case for {auth.slot}: fixtures/case.{auth.slot}.json"


def _lacks_for_gold(provider: Provider[Any], checks: Iterable[Check], folder: Path) -> Iterator[str]:
    if not provider.remains and not all(isinstance(auth, Revokes) for auth in provider.modes):
        yield "a way to revoke, or `remains`: what a person must still do after disconnecting"
    if not _has_decisive_check([*checks, *provider.checks], folder):
        yield "a check that its fixtures show to pass and to fail"


def _has_decisive_check(checks: Iterable[Check], folder: Path) -> bool:
    found, examples = list(_entities(folder)), _read(folder / "fixtures" / "checks.json") or ()
    for check in checks:
        outcomes = {_answer(check, one, found) for one in found if one.kind == check.kind}
        outcomes |= {one["outcome"] for one in examples if one["check"] == check.id}
        if {"pass", "fail"} <= outcomes:
            return True
    return False


def _answer(check: Check, entity: Entity, found: Sequence[Entity]) -> str | None:
    related = {
        name: Related(
            [one for one in found if one.kind == kind and getattr(one, link) == entity.external_id], complete=True
        )
        for name, (kind, link) in check.related.items()
    }
    return check.answer(entity, now=SystemClock().now(), related=related)


def _entities(folder: Path) -> Iterator[Entity]:
    kinds = {kind.kind: kind for kind in Entity.__subclasses__()}
    for file in (folder / "fixtures").glob("entities*.json"):
        for row in (row for rows in (_read(file) or {}).values() for row in rows):
            try:
                yield kinds[row["kind"]].model_validate_json(orjson.dumps(_without_kind(row)))
            except (KeyError, ValidationError):
                continue


def _without_kind(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "kind"}


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
