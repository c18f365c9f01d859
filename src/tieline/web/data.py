"""Data: what providers sent, of whatever shape, as text for people. Templates escape it as they do everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

_LONGEST = 20_000
_SHORTEST = 200


def pretty(value: Any) -> str:
    """JSON over several lines, cut off where it is longer than anybody reads."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n… {len(text) - _LONGEST} more characters"


def plain(value: Any) -> str:
    """One value in a line: yes and no in words, `unknown` for what was not told."""
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case str():
            return value if len(value) <= _SHORTEST else f"{value[:_SHORTEST]}…"
        case {"count": int() as count, "complete": bool() as complete, **rest} if not rest:  # what a check found linked
            return f"{count} found, {'all of them read' if complete else 'more may be there'}"
    text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    return text if len(text) <= _SHORTEST else f"{text[:_SHORTEST]}…"


def pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Values by name, each in a line."""
    return [(name, plain(value)) for name, value in values.items()]
