"""Running the rules: as tests of pytest in one line, or one after the other with a report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tieline.sdk.testing.fixtures import NotConforming
from tieline.sdk.testing.rules import RULES, Rule
from tieline.sdk.testing.subject import Subject, find_subject


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a provider; `fault` is `None` where it is kept."""

    rule: str
    says: str
    fault: str | None = None


def name_of(rule: Rule) -> str:
    """A rule's name."""
    return str(getattr(rule, "__name__", rule))


async def run_suite(subject: Subject, rules: Sequence[Rule] = RULES) -> list[Verdict]:
    """Every rule's verdict; needs no pytest."""
    verdicts = []
    for rule in rules:
        fault = None
        try:
            await rule(subject)
        except NotConforming as error:
            fault = str(error)
        verdicts.append(Verdict(name_of(rule), (rule.__doc__ or "").strip(), fault))
    return verdicts


def conformance(slug_or_folder: str | Path) -> Callable[..., None]:
    """A pytest test with a case for each rule.

    In a test file, `test_conformance = conformance("acme")` proves the provider `acme`. A provider that is not installed is named by its folder, `conformance(Path(__file__).parent)`.
    """
    import pytest

    found: dict[str, Any] = {}

    @pytest.mark.parametrize("rule", RULES, ids=name_of)
    def test(rule: Rule) -> None:
        if "subject" not in found:
            found["subject"] = find_subject(slug_or_folder)
        asyncio.run(rule(found["subject"]))  # type: ignore[arg-type]  # a rule is a coroutine function

    test.__doc__ = f"{slug_or_folder} keeps the rules of a provider."
    return test
