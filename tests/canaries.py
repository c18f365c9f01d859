"""Canary secrets: made to be recognised wherever they surface, in whatever coding.

Loaded as a pytest plugin (`pytest_plugins = ["tests.canaries"]`), this fails any test whose captured output, log or failure
report holds a canary.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

import pytest

MARK = "cAnArY7q"
"""In every canary that is made as text, so that one can be recognised without a list of all."""


@dataclass(frozen=True)
class Canary:
    """A secret that must not surface; `kind` says what it was given as."""

    kind: str
    value: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The secret as it is given."""
        return self.value.decode()


def hatch(kind: str, *, before: str = "", after: str = "", length: int = 20) -> Canary:
    """A new canary: the mark and random letters between what its form asks for."""
    random = "".join(secrets.choice("abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(length))
    return Canary(kind, f"{before}{MARK}{random}{after}".encode())


@cache
def codings(value: bytes) -> dict[str, str]:
    """The seven codings in which a secret is looked for."""
    found = {"hex": value.hex()}
    for offset in range(3):
        found[f"base64 at offset {offset}"] = _base64_core(value, offset)
    try:
        text = value.decode()
    except UnicodeDecodeError:  # key material: as text it surfaces in one of the codings above
        return found
    return found | {"plain": text, "URL": quote(text, safe=""), "JSON": json.dumps(text)[1:-1]}


def _base64_core(value: bytes, offset: int) -> str:
    """The characters of a base64 text that this value alone decides, when it begins `offset` bytes into a group of three."""
    whole = base64.b64encode(bytes(offset) + value).decode()
    return whole[-(-offset * 8 // 6) : (offset + len(value)) * 8 // 6]


def sightings(text: str, canaries: Iterable[Canary]) -> list[str]:
    """Which canaries a text holds, and in which coding."""
    folded, standard = text.lower(), text.replace("-", "+").replace("_", "/")
    found = []
    for canary in canaries:
        for coding, form in codings(canary.value).items():
            where = folded if coding == "hex" else standard if coding.startswith("base64") else text
            if form in where:
                found.append(f"{canary.kind} ({coding})")
    return found


_ANY = Canary("a canary", MARK.encode())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Look at each report before anybody sees it."""
    report = yield
    convict(report)
    return report


def convict(report: pytest.TestReport) -> None:
    """Fail a test that let a canary out into its output, its log or the account of its failure, and withhold all of these."""
    shown = "\n".join([report.longreprtext, *(text for _, text in report.sections)])
    if seen := sightings(shown, [_ANY]):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} showed {', '.join(sorted(set(seen)))}"
        report.sections.clear()
