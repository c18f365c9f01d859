"""The documentation says what is true: every setting and error is in it, and its examples work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tieline.connect.app
import tieline.web.app  # noqa: F401  so that every error is defined
from tieline.catalog import compile_catalog
from tieline.errors import TielineError
from tieline.sdk import Account, Provider
from tieline.settings import Settings, variable_of

ROOT = Path(__file__).parent.parent


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/operating.md").read_text()

    for name, field in Settings.model_fields.items():
        assert f"| `{variable_of(name)}` |" in page
        assert field.description in page


def test_every_error_is_documented() -> None:
    page = (ROOT / "docs/errors.md").read_text()

    for error in errors(TielineError):
        assert f"| `{error.slug}` | {error.status} |" in page
        assert error.advice in page


def test_the_provider_in_the_readme_loads() -> None:
    (example,) = [block for block in blocks("README.md") if "listing(" in block]
    names: dict[str, object] = {}
    exec(example, names)
    provider = names["acme"]

    assert isinstance(provider, Provider)
    assert len(example.splitlines()) <= 30
    assert compile_catalog([provider], []).provider("acme") is provider


def test_the_mapping_in_the_guide_compiles() -> None:
    (example,) = blocks("docs/mappings.md")
    mapping = eval(example, {"Account": Account})
    record = {
        "id": 2**53 + 1,
        "type": "employee",
        "first_name": "Ada",
        "last_name": "Byron",
        "suspended": True,
        "work_email": None,
    }
    account = mapping.compile().apply(record)

    assert mapping.faults() == []
    assert (account.external_id, account.status, account.email) == ("9007199254740993", "suspended", None)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_fits_one_screen_and_names_what_was_rejected(page: Path) -> None:
    text = page.read_text()

    assert len(text.splitlines()) <= 40
    assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences", "Rejected"))


def blocks(page: str) -> list[str]:
    """The Python examples of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[:1]


def errors(kind: type[TielineError]) -> Iterator[type[TielineError]]:
    """An error and all below it."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__.startswith("tieline."):
            yield from errors(below)
