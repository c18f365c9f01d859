"""Data: what providers sent, of whatever shape, as text for people. Templates escape it as they do everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

_LONGEST = 20_000
_SHORTEST = 200
_FOLDED = 60  # letters of a text from which on it is folded
_BRANCHES = 1_500
_BESIDE = 100


@dataclass(frozen=True)
class Branch:
    """One key of a record and its value: a text in a line, its whole where that is long, or what it holds.

    `left` is how many of those it holds are not shown, `tells` what kind of value it is.
    """

    name: str
    text: str
    tells: str
    whole: str | None = None
    inner: tuple[Branch, ...] = ()
    left: int = 0


@dataclass
class _Budget:
    """How many branches may still be shown."""

    left: int = field(default=_BRANCHES)


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


def tree(record: Any) -> tuple[Branch, ...]:
    """A record by its keys, in its order; at most 1,500 branches in all, a hundred beside one another."""
    return _inside(record, _Budget()) if isinstance(record, dict) else (_branch("", record, _Budget()),)


def _branch(name: str, value: Any, budget: _Budget) -> Branch:
    budget.left -= 1
    if isinstance(value, dict | list):
        what = f"{len(value)} {'key' if isinstance(value, dict) else 'item'}{'' if len(value) == 1 else 's'}"
        inner = _inside(value, budget)
        return Branch(name, what if value else "empty", type(value).__name__, None, inner, len(value) - len(inner))
    if isinstance(value, str):
        long = len(value) > _FOLDED or "\n" in value
        whole = (value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…") if long else None
        return Branch(name, f"{' '.join(value[:_FOLDED].split())}…" if long else value, "text", whole)
    return Branch(name, orjson.dumps(value).decode(), "null" if value is None else "value")


def _inside(value: dict[str, Any] | list[Any], budget: _Budget) -> tuple[Branch, ...]:
    named = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for name, one in islice(named, _BESIDE):
        if budget.left <= 0:
            break
        found.append(_branch(str(name), one, budget))
    return tuple(found)
