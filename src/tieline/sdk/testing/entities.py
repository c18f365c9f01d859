"""Comparing what was read with what is written down, in words that name the first difference."""

from __future__ import annotations

import json
from typing import Any

from tieline.sdk.testing.fixtures import NotConforming

_SHOWN = 400


def compare(wanted: Any, found: Any, *, where: str) -> None:
    """Raise `NotConforming` unless both are the same; operations and entities are named."""
    if wanted is None:
        raise NotConforming(f"{where} is missing: set TIELINE_UPDATE_FIXTURES=1 to write it, then read it")
    if wanted == found:
        return
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in sorted({*wanted, *found}):
            if wanted.get(name) != found.get(name):
                raise NotConforming(f"{where}: {name}: {_difference(wanted.get(name), found.get(name))}")
    raise NotConforming(f"{where}: {_difference(wanted, found)}")


def _difference(wanted: Any, found: Any) -> str:
    if not isinstance(wanted, list) or not isinstance(found, list):
        return f"{_show(wanted)} was expected, {_show(found)} was read"
    before, after = ({(one["kind"], one["external_id"]): one for one in rows} for rows in (wanted, found))
    for key in sorted({*before, *after}):
        if key not in after:
            return f"{key} is missing"
        if key not in before:
            return f"{key} was not expected: {_show(after[key])}"
        if before[key] != after[key]:
            fields = [name for name in {**before[key], **after[key]} if before[key].get(name) != after[key].get(name)]
            told = {name: (before[key].get(name), after[key].get(name)) for name in fields}
            return f"{key} differs (expected, read): {_show(told)}"
    return "the order differs"


def _show(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
