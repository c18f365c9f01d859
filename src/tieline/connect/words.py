"""Words: the texts of the pages in each language, apart from code. What a provider or the catalog declares stays as it is declared."""

from __future__ import annotations

import importlib.resources
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, get_args

from tieline.flows.connect_sessions import Locale

LOCALES: Final = get_args(Locale)
_WANTED = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q\s*=\s*([01](?:\.\d{1,3})?)\s*)?")


@dataclass(frozen=True)
class Words:
    """The texts of one language, by dotted key; one that depends on a number has the forms `one` and `other`."""

    locale: str
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """A text with its placeholders filled in; by `count`, in the right form. Raises `KeyError` for one that there is not."""
        if key not in self.texts and "count" in values:
            key = f"{key}.{'one' if values['count'] == 1 else 'other'}"
        return self.texts[key].format(**values)

    def get(self, key: str, default: str, **values: Any) -> str:
        """A text, or what stands where this language has none."""
        return self(key, **values) if key in self.texts else default

    def moment(self, at: datetime) -> str:
        """A time as people write it."""
        utc = at.astimezone(UTC)
        month = self("months").split()[utc.month - 1]
        return self("date", day=utc.day, month=month, year=utc.year, time=f"{utc:%H:%M}")


@cache
def words_of(locale: str) -> Words:
    """The texts of a language; raises `FileNotFoundError` for one that there is not."""
    file = importlib.resources.files("tieline.connect") / "locales" / f"{locale}.toml"
    return Words(locale, dict(_flat(tomllib.loads(file.read_text("utf-8")))))


def choose_locale(accepted: str) -> str:
    """The language that a browser's `Accept-Language` likes best among ours (RFC 9110, section 12.5.4), by default the first."""
    liked = [
        (-float(one[2] or 1), number, one[1].lower())
        for number, part in enumerate(accepted[:1_000].split(","))
        if (one := _WANTED.fullmatch(part))
    ]
    ours = (name for weight, _, name in sorted(liked) if weight and name in LOCALES)
    return next(ours, LOCALES[0])


def _flat(table: Mapping[str, Any], head: str = "") -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{head}{name}.")
        else:
            yield f"{head}{name}", str(value)
