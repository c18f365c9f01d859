"""Every provider that ships with Tieline keeps every rule; a folder without fixtures fails."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

import pytest

from tieline import providers
from tieline.sdk.testing import RULES, Rule, Subject, find_subject, name_of

FOLDERS = sorted(file.parent for file in Path(providers.__path__[0]).glob("*/provider.py"))


@cache
def subject_in(folder: Path) -> Subject:
    return find_subject(folder.name)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_provider_keeps_every_rule(folder: Path, rule: Rule) -> None:
    asyncio.run(rule(subject_in(folder)))  # type: ignore[arg-type]


def test_there_are_providers_to_prove() -> None:
    assert {"github", "okta", "aws", "sandbox"} <= {folder.name for folder in FOLDERS}
