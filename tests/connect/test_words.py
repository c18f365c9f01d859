"""The texts of the pages: the same keys and placeholders in every language, each that is used, none that is not."""

from __future__ import annotations

import importlib.resources
import re
from datetime import UTC, datetime
from string import Formatter

import pytest

from tieline.catalog import load_catalog
from tieline.connect.words import LOCALES, choose_locale, words_of
from tieline.sdk.entities import KINDS

_FOLDER = importlib.resources.files("tieline.connect")
_USED = re.compile(r"""\bt\(\s*"([^"]+)"(?: if [^"]+ else "([^"]+)")?""")


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("locale", LOCALES)
def test_every_language_has_the_same_keys_and_placeholders(locale: str) -> None:
    first, other = words_of(LOCALES[0]).texts, words_of(locale).texts
    assert set(first) == set(other)
    assert {key: placeholders(text) for key, text in first.items()} == {
        key: placeholders(text) for key, text in other.items()
    }
    assert all(text.strip() for text in other.values())
    assert len(other["months"].split()) == 12


def test_there_is_a_file_for_each_language_and_no_other() -> None:
    assert {one.name for one in (_FOLDER / "locales").iterdir()} == {f"{locale}.toml" for locale in LOCALES}


def test_the_second_language_is_not_the_first_again() -> None:
    english, german = words_of("en").texts, words_of("de").texts
    same = {key for key, text in german.items() if text == english[key]}
    assert len(same) < len(german) / 20, same


def test_each_text_that_a_template_asks_for_is_there_and_each_that_is_there_is_asked_for() -> None:
    known, used = set(words_of("en").texts), set()
    shared = _FOLDER.parent / "web/templates/parts/form.html"
    for template in [*(_FOLDER / "templates").iterdir(), shared]:
        text = template.read_text("utf-8")
        for one, other in _USED.findall(text):
            used |= {one, other} - {""}
    used = {key for key in used if not key.endswith(".")}
    plural = {key for key in used if f"{key}.one" in known}
    assert used - plural <= known
    asked = used | {f"{key}.{form}" for key in plural for form in ("one", "other")}
    by_code = {"language", "months", "date"}
    by_name = ("steps.", "errors.", "kinds.", "ways.")
    assert {key for key in known - asked - by_code if not key.startswith(by_name)} == set()


@pytest.mark.parametrize("locale", LOCALES)
def test_every_kind_and_every_way_has_a_name(locale: str) -> None:
    known = words_of(locale).texts
    assert {f"kinds.{kind}" for kind in KINDS} <= set(known)
    ways = {f"ways.{auth.slot}" for one in load_catalog().providers.values() for auth in one.modes}
    assert ways <= set(known)


def test_a_number_decides_the_form() -> None:
    words = words_of("de")
    assert words("choose.found", count=1) == "1 Dienst passt dazu."
    assert words("choose.found", count=0) == "0 Dienste passen dazu."


def test_a_time_is_written_as_people_do() -> None:
    at = datetime(2026, 3, 7, 8, 5, tzinfo=UTC)
    assert words_of("en").moment(at) == "7 March 2026, 08:05 UTC"
    assert words_of("de").moment(at) == "7. März 2026, 08:05 UTC"


@pytest.mark.parametrize(
    ("accepted", "locale"),
    [
        ("de", "de"), ("de-AT,de;q=0.9", "de"), ("fr,de;q=0.1", "de"), ("en,de", "en"), ("de;q=0.1,en;q=0.2", "en"), ("DE", "de"),
        ("de;q=0", "en"), ("", "en"), ("*", "en"), ("x" * 100_000, "en"), (",;,=q", "en"), ("de;q=5", "en"),
    ],
)  # fmt: skip
def test_the_language_is_the_one_that_the_browser_likes_best(accepted: str, locale: str) -> None:
    assert choose_locale(accepted) == locale
