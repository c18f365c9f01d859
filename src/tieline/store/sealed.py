"""Sealed values wherever they are: which tables hold them, under which keys, and how they come under another.

Each table's own module says so here in one line, and a test holds that line against the columns: a table that was forgotten
would keep an old key in use for ever, or be left unreadable when that key is taken away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, func, literal, select, text

from tieline.ids import to_uuid
from tieline.store.db import SystemWork
from tieline.store.types import Ciphertext, Id

PLATFORM = "platform"
"""Stands for the organization of what belongs to none."""


@dataclass(frozen=True)
class SealedTable:
    """A table with columns `id`, `sealed` and `key_id`, and what of a row says to which place its sealed value is bound."""

    table: Table
    owner: str
    slot: str | None

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def place(self) -> list[ColumnElement[Any]]:
        """Organization, owner, slot, version and serial."""
        columns = self.table.c
        return [
            columns.get("org_id", literal(PLATFORM)),
            columns[self.owner],
            columns.slot if self.slot is None else literal(self.slot),
            columns.get("version", literal(0)),
            columns.get("serial", literal(0)),
        ]


@dataclass(frozen=True)
class SealedRow:
    """A sealed value and the place that it is bound to."""

    id: str
    sealed: Ciphertext
    org_id: str
    owner_id: str
    slot: str
    version: int
    serial: int


SEALED: dict[str, SealedTable] = {}


def holds_sealed(table: Table, *, owner: str = "id", slot: str | None = None) -> None:
    """Note that a table holds sealed values: the column that names their owner, and their slot unless a column of that name does."""
    SEALED[table.name] = SealedTable(table, owner, slot)


def sealed_tables() -> list[SealedTable]:
    """All tables with sealed values, by name."""
    from tieline.store import tables  # noqa: F401  each fills the registry when it is imported

    return [SEALED[name] for name in sorted(SEALED)]


async def count_by_key(work: SystemWork) -> Counter[str]:
    """How many sealed values each key is needed for, over all tables and organizations."""
    counted: Counter[str] = Counter()
    for each in sealed_tables():
        key_id = each.table.c.key_id
        held = select(key_id, func.count()).where(key_id.is_not(None)).group_by(key_id)  # null where it was destroyed
        rows = await work.connection.execute(held)
        for name, count in rows:
            counted[name] += count
    return counted


async def keys_in_use(work: SystemWork) -> set[str]:
    """Names of the encryption keys that stored values need, over all tables and organizations."""
    return set(await count_by_key(work))


async def list_under(
    work: SystemWork, each: SealedTable, key_id: str, *, after: str | None = None, limit: int = 200
) -> list[SealedRow]:
    """The next values under a key, by id."""
    columns = each.table.c
    query = select(columns.id, columns.sealed, *each.place).where(columns.key_id == key_id)
    if after is not None:
        query = query.where(columns.id > after)
    return [SealedRow(*row) for row in await work.connection.execute(query.order_by(columns.id).limit(limit))]


async def exchange(work: SystemWork, each: SealedTable, rows: Sequence[tuple[SealedRow, bytes, str]]) -> int:
    """Put the same secrets, each sealed under the key named, in place of those read; how many.

    A value that someone has changed since stays as they made it.
    """
    prefix = cast("Id", each.table.c.id.type).prefix
    given = {
        "ids": [to_uuid(row.id, prefix) for row, _, _ in rows],
        "old": [row.sealed.sealed for row, _, _ in rows],
        "new": [sealed for _, sealed, _ in rows],
        "keys": [key_id for _, _, key_id in rows],
    }
    return (await work.connection.execute(text(_EXCHANGE.format(table=each.name)), given)).rowcount


# Locked in the order of their ids, so that two who do this at once wait for each other and never in a circle.
_EXCHANGE = """
    WITH given AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:old AS bytea[]), CAST(:new AS bytea[]), CAST(:keys AS text[]))
                   AS given (id, old, new, key_id)
    ), held AS (
        SELECT {table}.id, given.new, given.key_id
          FROM {table} JOIN given ON given.id = {table}.id AND given.old = {table}.sealed
         ORDER BY {table}.id FOR UPDATE OF {table}
    )
    UPDATE {table} SET sealed = held.new, key_id = held.key_id FROM held WHERE {table}.id = held.id
"""
