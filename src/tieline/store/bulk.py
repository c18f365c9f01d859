"""Many rows at once: COPY into a temporary table, then one INSERT from there.

COPY straight into a table is refused where row-level security holds, and is the fastest way in everywhere else; the temporary
table has the target's columns and is emptied at the end of each transaction. What is the same in all rows is not sent with each of
them. A few rows are not worth that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from tieline.store.db import Work

_FEW = 20
_NOTHING: Mapping[str, Any] = MappingProxyType({})
# What stays a few milliseconds is not worth compressing, which PostgreSQL would do with every row of more than 2,032 bytes.
_UNCOMPRESSED = "toast_tuple_target = 4080"


async def insert_many(
    work: Work,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    same: Mapping[str, Any] = _NOTHING,
    first: str = "",
    on_conflict: str = "",
) -> None:
    """Insert rows of driver values (`uuid.UUID`, `datetime`, `str` for JSON, …), in the order of `columns`.

    `same` are further columns, with the value that they have in every row. `on_conflict` is the rest of the statement after
    `INSERT … SELECT …`, in which `was` is the table; `first` stands before it: another part of its `WITH`, which finds the rows in
    `incoming`, and the table as it was.
    """
    if not rows:
        return
    driver = await work.driver()
    if len(rows) < _FEW and not first and not on_conflict:
        names = (*columns, *same)
        given = ", ".join(f"${place + 1}" for place in range(len(names)))
        one = f"INSERT INTO {table.name} ({_listed(names)}) VALUES ({given})"  # noqa: S608  names are the table's own
        await driver.executemany(one, [(*row, *same.values()) for row in rows])
        return
    staging = f"incoming_{table.name}"
    there: set[str] = work.session.setdefault("staging", set())
    if staging not in there:
        like = f"SELECT {_listed(columns)} FROM {table.name} WITH NO DATA"  # noqa: S608  as above
        how = f"WITH ({_UNCOMPRESSED}) ON COMMIT DELETE ROWS"
        # A rollback makes us forget also what an earlier transaction of the session had made for good.
        await driver.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} {how} AS {like}")
        there.add(staging)
    if staging in work.staged:
        await driver.execute(f"TRUNCATE {staging}")
    work.staged.add(staging)
    await driver.copy_records_to_table(staging, records=rows, columns=list(columns))
    await driver.execute(_move(table, tuple(columns), tuple(same), first, on_conflict), *same.values())


@cache
def _move(table: Table, columns: tuple[str, ...], same: tuple[str, ...], first: str, on_conflict: str) -> str:
    """The statement that takes the rows out of the temporary table; what is `same` in all are its parameters."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = {name: table.c[name].type.compile(dialect=dialect) for name in same}
    parameters = "".join(f', ${place}::{types[name]} AS "{name}"' for place, name in enumerate(same, 1))
    names = _listed((*columns, *same))
    return f"""WITH incoming AS NOT MATERIALIZED (SELECT *{parameters} FROM incoming_{table.name}){first and ", " + first}
        INSERT INTO {table.name} AS was ({names}) SELECT {names} FROM incoming {on_conflict}"""  # noqa: S608  as above


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
