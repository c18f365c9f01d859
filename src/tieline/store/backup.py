"""What a backup holds of the database: which tables, and their rows as they all were at one moment.

The rows are COPY's text format, which every PostgreSQL from 15 on writes and reads alike. They are read by a role that sees all
organizations and can change nothing; work goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from tieline.store.db import BACKUP_ROLE, Db
from tieline.store.sealed import sealed_tables
from tieline.store.tables import metadata

LEFT_OUT: dict[str, str] = {
    "sessions": "browsers signed in, some of which may have been signed out since",
    "sign_in_links": "links that work once, some of which may have been used since",
    "attempts": "sign-ins at providers under way, which work once",
    "connect_sessions": "connect sessions under way, whose tickets work once",
    "passkey_challenges": "passkey challenges, which work once",
    "workers": "the processes that run now",
    "worker_hours": "what those processes did",
}
"""Tables that are not in a backup, and what they hold. Nor are the job engine's: its jobs are made anew from the schedules."""

# Forms that every server reads, whatever its own settings are.
_FORMS = {"datestyle": "ISO, YMD", "intervalstyle": "iso_8601", "bytea_output": "hex", "extra_float_digits": "3"}
_PATIENT = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}


@dataclass(frozen=True)
class Snapshot:
    """The database as it was at one moment."""

    connection: asyncpg.Connection[Any]

    async def revisions(self) -> list[str]:
        """The revisions that it is at."""
        rows = await self.connection.fetch("SELECT version_num FROM alembic_version ORDER BY 1")
        return [row["version_num"] for row in rows]

    async def server(self) -> str:
        """The version of PostgreSQL."""
        version: str = await self.connection.fetchval("SELECT current_setting('server_version')")
        return version

    async def organizations(self) -> int:
        """How many organizations there are."""
        count: int = await self.connection.fetchval("SELECT count(*) FROM organizations")
        return count

    async def keys(self) -> list[str]:
        """Names of the encryption keys without which something in the backup could not be opened."""
        names: set[str] = set()
        for each in sealed_tables():
            if each.name not in LEFT_OUT:
                query = f"SELECT DISTINCT key_id FROM {each.name} WHERE key_id IS NOT NULL"  # noqa: S608  names are ours
                names |= {row["key_id"] for row in await self.connection.fetch(query)}
        return sorted(names)

    async def columns(self, table: str) -> list[str]:
        """The columns of a table that are stored as given; what is generated from them is generated anew."""
        rows = await self.connection.fetch(_COLUMNS, table)
        return [row["attname"] for row in rows]

    async def copy_out(self, table: str, columns: list[str], write: Callable[[bytes], None]) -> None:
        """Give the rows of a table to `write`, one line each, as they come from the server."""

        async def take(chunk: bytes) -> None:
            write(chunk)

        await self.connection.copy_from_table(table, schema_name="public", columns=columns, output=take, format="text")


def kept_tables() -> list[str]:
    """The tables that are in a backup, each after those that it refers to."""
    return [str(table.name) for table in metadata.sorted_tables if table.name not in LEFT_OUT]


@asynccontextmanager
async def take_snapshot(db: Db) -> AsyncIterator[Snapshot]:
    """The database as it is now, for as long as the block lasts."""
    connection = await db.driver(BACKUP_ROLE, "tieline backup", **_FORMS, **_PATIENT)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield Snapshot(connection)
    finally:
        await connection.close()


_COLUMNS = """
    SELECT attname FROM pg_attribute
     WHERE attrelid = ('public.' || quote_ident($1))::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
     ORDER BY attnum
"""
