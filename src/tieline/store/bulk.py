"""Many rows at once: COPY into a temporary table, then one INSERT from there.

COPY straight into a table is refused where row-level security holds, and is the fastest way in everywhere else; the temporary
table has the target's columns and is emptied at the end of each transaction. A few rows are not worth that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table

from tieline.store.db import Work

_FEW = 20


async def insert_many(
    work: Work,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    first: str = "",
    on_conflict: str = "",
) -> None:
    """Insert rows of driver values (`uuid.UUID`, `datetime`, `str` for JSON, …), in the order of `columns`.

    `on_conflict` is the rest of the statement after `INSERT … SELECT …`, in which `was` is the table; `first` stands before it: a
    `WITH` that finds the rows in `incoming_<table>`, and the table as it was.
    """
    if not rows:
        return
    driver = await work.driver()
    staging, names = f"incoming_{table.name}", ", ".join(f'"{name}"' for name in columns)
    if len(rows) < _FEW and not first and not on_conflict:
        given = ", ".join(f"${place + 1}" for place in range(len(columns)))
        await driver.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({given})", rows)  # noqa: S608  as below
        return
    like = f"SELECT {names} FROM {table.name} WITH NO DATA"  # noqa: S608  the names are ours, from the table's definition
    await driver.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} ON COMMIT DELETE ROWS AS {like}")
    if staging in work.staged:
        await driver.execute(f"TRUNCATE {staging}")
    work.staged.add(staging)
    await driver.copy_records_to_table(staging, records=rows, columns=list(columns))
    await driver.execute(
        f"{first} INSERT INTO {table.name} AS was ({names}) SELECT {names} FROM {staging} {on_conflict}"  # noqa: S608  ours
    )
