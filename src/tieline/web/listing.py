"""Lists: filters that live in the address, one page of rows at a time, and the same rows as CSV.

A list page is one call of `show_list`: it reads the filters, fetches, and either renders the template with `rows`, `next`, `asked`
and `columns`, or writes every page of rows as CSV (`?format=csv`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import QueryParams
from starlette.responses import Response, StreamingResponse

from tieline.errors import Invalid
from tieline.flows.sheet import cell, line
from tieline.flows.views import JsonRow
from tieline.store.listing import Paging
from tieline.web.page import ApiCall, Page

PAGE_SIZE = 50
MAX_ROWS = 1_000
"""Rows of a list that is shown whole, such as the members of an organization."""
_CSV_PAGE = 1_000
_CSV_MOST = 100_000  # rows; whoever needs more asks the API
_LONGEST = 200

Fetch = Callable[[Mapping[str, str | None], Paging], Awaitable[JsonRow]]
"""Gives one page of rows, as `views.listing` does, for the values of the filters (`None` where none is set)."""


@dataclass(frozen=True)
class Filter:
    """A filter: a choice of (value, label), or without choices a text. A hidden one is set by links only."""

    name: str
    label: str
    choices: Sequence[tuple[str, str]] | None = None
    hidden: bool = False


@dataclass(frozen=True)
class Column:
    """A column of the CSV: its heading, and where its value is in a row, dotted."""

    heading: str
    key: str


@dataclass(frozen=True)
class Asked:
    """What the address asks for."""

    filters: Sequence[Filter]
    values: Mapping[str, str | None]
    cursor: str | None
    as_csv: bool = False

    @property
    def set(self) -> dict[str, str]:
        """The filters that are set."""
        return {name: value for name, value in self.values.items() if value is not None}

    def api(self, path: str) -> ApiCall:
        """The API call that gives these rows."""
        return ApiCall(path, self.set | ({"cursor": self.cursor} if self.cursor else {}))


@dataclass(frozen=True)
class Listed:
    """One page of a list, for a template."""

    asked: Asked
    rows: list[JsonRow]
    next: str | None
    columns: Sequence[Column] = field(default_factory=tuple)


def read_asked(query: QueryParams, filters: Sequence[Filter]) -> Asked:
    """What an address asks for; raises `Invalid` for a choice that there is not. Empty values are those of unused filters."""
    values: dict[str, str | None] = {}
    for one in filters:
        value = query.get(one.name, "").strip()[:_LONGEST] or None
        if value and not value.isprintable():
            raise Invalid(f"The filter “{one.label}” has a value that cannot be looked for")
        if value and one.choices is not None and value not in {choice for choice, _ in one.choices}:
            raise Invalid(f"The filter “{one.label}” has no such choice", advice="Choose one from the list.")
        values[one.name] = value
    return Asked(filters, values, query.get("cursor") or None, query.get("format") == "csv")


async def show_list(
    page: Page,
    template: str,
    *,
    title: str,
    filters: Sequence[Filter],
    columns: Sequence[Column],
    fetch: Fetch,
    api: str,
    **context: Any,
) -> Response:
    """A list page, or its CSV. `api` is the path of the route that gives the same rows."""
    asked = read_asked(page.request.query_params, filters)
    if asked.as_csv:
        return answer_csv(title, columns, lambda paging: fetch(asked.values, paging))
    found = await fetch(asked.values, Paging(asked.cursor, PAGE_SIZE))
    listed = Listed(asked, found["items"], found["next"], columns)
    return page.show(template, title=title, listed=listed, rows=listed.rows, api=asked.api(api), **context)


def answer_csv(name: str, columns: Sequence[Column], fetch: Callable[[Paging], Awaitable[JsonRow]]) -> Response:
    """Every page of rows as CSV (RFC 4180), written as it is read."""

    async def lines() -> AsyncIterator[str]:
        yield line([one.heading for one in columns])
        cursor, written = None, 0
        while written < _CSV_MOST:
            found = await fetch(Paging(cursor, _CSV_PAGE))
            for row in found["items"]:
                yield line([cell(_at(row, one.key)) for one in columns])
            cursor, written = found["next"], written + len(found["items"])
            if cursor is None:
                return

    file = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower()).strip("-")
    headers = {"Content-Disposition": f'attachment; filename="{file}.csv"'}
    return StreamingResponse(lines(), headers=headers, media_type="text/csv; charset=utf-8")


def _at(row: JsonRow, key: str) -> Any:
    value: Any = row
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
