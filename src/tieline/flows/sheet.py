"""Sheets: rows as lines of CSV (RFC 4180) that a spreadsheet opens without taking anything in them for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import orjson


def cell(value: Any) -> str:
    """A value as a cell. One that a spreadsheet would take for a formula is quoted with an apostrophe (CWE-1236)."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def line(cells: Sequence[str]) -> str:
    """Cells as one line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue()
