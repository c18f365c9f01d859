"""A provider's grade follows from what is proven of it, and falls with the proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tieline.catalog.grade import grade_of, write_proof
from tieline.sdk import Account, ApiKey, Basic, Identity, Provider, check


@check(Account, severity="high", controls=["soc2:CC6.1"])
def has_mfa(account: Account) -> bool | None:
    """A second factor."""
    return account.mfa


def provider(*operations: str, **more: Any) -> Provider[Any]:
    made: Provider[Any] = Provider(
        slug="acme", name="Acme", category="hr", base_url="https://api.acme.example", identity=Identity("/", id="i", name="n"),
        **({"auth": ApiKey(header="X-Key")} | more),
    )  # fmt: skip
    for name in operations:
        made.listing(name, f"/{name}", every="1h", into=Account.map(external_id="payload.id"))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fixtures = tmp_path / "fixtures"
    fixtures.mkdir()
    (tmp_path / "provider.py").write_text("acme = 1\n")
    (fixtures / "case.json").write_text("{}")
    people = [{"kind": "account", "external_id": str(number), "mfa": bool(number)} for number in range(2)]
    (fixtures / "entities.json").write_text(json.dumps({"people": people}))
    return tmp_path


def test_nothing_proven_is_no_grade(folder: Path) -> None:
    assert grade_of(provider("people"), [has_mfa], folder).name is None


def test_each_grade_asks_for_more(folder: Path) -> None:
    write_proof(folder, ["a rule"])
    one = grade_of(provider("people"), [has_mfa], folder)
    assert (one.name, one.lacks) == ("bronze", ("a second operation",))
    two = grade_of(provider("people", "more"), [], folder)
    assert two.name == "silver"
    assert len(two.lacks) == 2
    assert grade_of(provider("people", "more", remains="Delete the key."), [has_mfa], folder).name == "gold"


def test_a_way_without_a_case_keeps_it_at_bronze(folder: Path) -> None:
    write_proof(folder, ["a rule"])
    both = provider("people", "more", auth=[ApiKey(header="X-Key"), Basic()], remains="Delete the key.")
    assert grade_of(both, [has_mfa], folder).lacks == ("a case for basic: fixtures/case.basic.json",)


@pytest.mark.parametrize("file", ["provider.py", "fixtures/case.json", "fixtures/entities.json"])
def test_an_edit_ends_the_proof(folder: Path, file: str) -> None:
    write_proof(folder, ["a rule"])
    (folder / file).write_text((folder / file).read_text() + " ")
    assert grade_of(provider("people"), [has_mfa], folder).name is None


def test_a_check_that_only_passes_does_not_make_gold(folder: Path) -> None:
    (folder / "fixtures" / "entities.json").write_text(
        '{"people": [{"kind": "account", "external_id": "1", "mfa": true}]}'
    )
    write_proof(folder, ["a rule"])
    made = provider("people", "more", remains="Delete the key.")
    assert grade_of(made, [has_mfa], folder).name == "silver"
    (folder / "fixtures" / "checks.json").write_text('[{"check": "has-mfa", "outcome": "fail", "entity": {}}]')
    write_proof(folder, ["a rule"])
    assert grade_of(made, [has_mfa], folder).name == "gold"
