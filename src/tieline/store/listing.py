"""Pages of rows, by keyset: a cursor is the id of the last row shown, so inserts in between move nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, Select

from tieline.store.db import Work

T = TypeVar("T")
MAX_LIMIT = 5_000


@dataclass(frozen=True)
class Paging:
    """Which page is asked for: the cursor that the page before gave, and how many rows (at most 5,000)."""

    cursor: str | None = None
    limit: int = 100


@dataclass(frozen=True)
class Listing(Generic[T]):
    """One page of rows; `next` is `None` on the last one."""

    items: list[T]
    next: str | None


async def list_page(
    work: Work,
    query: Select[Any],
    key: ColumnElement[str],
    paging: Paging,
    *,
    read: Callable[[Row[Any]], T],
    newest_first: bool = False,
) -> Listing[T]:
    """Run a query for one page, ordered by `key`, which must be an `Id` column that is among those selected as `id`."""
    if paging.cursor:
        query = query.where(key < paging.cursor if newest_first else key > paging.cursor)
    query = query.order_by(key.desc() if newest_first else key).limit(paging.limit + 1)
    rows = (await work.connection.execute(query)).all()
    shown = rows[: paging.limit]
    return Listing([read(row) for row in shown], shown[-1].id if len(rows) > paging.limit else None)
