"""Filling an empty instance with the rows of a backup, in one transaction: either all of it is there in the end, or nothing.

While it lasts, and if it is cut short, the table `RESTORING` is there, beside which nothing starts. The rows go in as they were:
triggers that would count them a second time are silent meanwhile, and the owner is not held by row-level security.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from tieline.errors import BackupError, Conflict, DatabaseError
from tieline.store.admission import release_all
from tieline.store.backup import LEFT_OUT, kept_tables
from tieline.store.db import SYSTEM_ROLE, SystemWork, driver_url
from tieline.store.migrate import RESTORING, applied_revisions, known_revisions, upgrade
from tieline.store.tables import metadata

_LOCK = 0x7469_7265  # any number that nothing else in this database locks
_NAME = "tieline restore"
_OURS = re.compile(r"(?!alembic_|pgqueuer|tieline_)[a-z_]+")
QUEUE = ("pgqueuer", "pgqueuer_log", "pgqueuer_statistics")
"""The job engine's tables, which begin empty."""
_BY_ITSELF = {"organization.created", "member.first_link_made"}
"""What the audit log tells of an instance that was started and in which nobody has done anything."""


@dataclass(frozen=True)
class Restoring:
    """The transaction that fills an instance."""

    connection: AsyncConnection

    async def prepare(self, revisions: Collection[str], tables: Collection[str]) -> None:
        """Bring the database to the form that the rows have, and its tables to nothing, open to be filled.

        Raises `BackupError` if this release does not know that form, `Conflict` if the database has another already.
        """
        if unknown := sorted(set(revisions) - known_revisions()):
            raise BackupError(
                f"The backup was made by a newer Tieline (revision {unknown[0]})",
                advice="Restore it with that release.",
            )
        for revision in sorted(revisions):
            await self.connection.run_sync(upgrade, revision)
        if await self.connection.run_sync(applied_revisions) != set(revisions):
            raise Conflict(
                "The database is of a newer form than the backup",
                advice="Restore into a database, or a data directory, in which Tieline was never started.",
            )
        there = await self._tables()
        if strange := [one for one in tables if one not in there or one in LEFT_OUT or not _OURS.fullmatch(one)]:
            raise BackupError(f"The backup has a table {strange[0][:60]!r} that is not to be restored")
        emptied = sorted(there & {*metadata.tables, *tables, *QUEUE})
        await self._execute(f"TRUNCATE {', '.join(emptied)}")
        for table in tables:
            await self._execute(f"ALTER TABLE {table} DISABLE TRIGGER USER, NO FORCE ROW LEVEL SECURITY")

    async def fill(self, table: str, columns: list[str], lines: AsyncIterator[bytes]) -> int:
        """Put rows into a table; how many."""
        raw = await self.connection.get_raw_connection()
        driver = cast("asyncpg.Connection[Any]", raw.driver_connection)
        done = await driver.copy_to_table(table, source=lines, columns=columns, schema_name="public", format="text")
        return int(done.rpartition(" ")[2])

    async def conclude(self, tables: Collection[str]) -> None:
        """Close the tables again, and bring the database to the newest form."""
        held = {row.relname for row in await self.connection.execute(text(_HELD))}
        for table in tables:
            force = ", FORCE ROW LEVEL SECURITY" if table in held else ""
            await self._execute(f"ALTER TABLE {table} ENABLE TRIGGER USER{force}")
        await self.connection.run_sync(upgrade)

    async def as_platform(self) -> SystemWork:
        """Go on in the transaction as the platform."""
        await self._execute(f"SET LOCAL ROLE {SYSTEM_ROLE}")
        return SystemWork(self.connection)

    async def free_holds(self, now: Any) -> int:
        """Let all that ran when the backup was made go on as soon as a worker is there; how many runs."""
        return await release_all(await self.as_platform(), now=now)

    async def _tables(self) -> set[str]:
        rows = await self.connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        return set(rows.scalars())

    async def _execute(self, statement: str) -> None:
        await self.connection.execute(text(statement))


@asynccontextmanager
async def restoring(url: str) -> AsyncIterator[Restoring]:
    """A transaction in an empty instance, migrated or not, which is committed at the end of the block or leaves it as it was.

    Raises `Conflict` if anything is stored there or at work there, and `DatabaseError` if it cannot be reached or refuses.
    """
    engine = create_async_engine(driver_url(url), poolclass=NullPool, hide_parameters=True, connect_args=_CONNECT)
    try:
        async with engine.connect() as connection:
            await _check_free(connection)
            await connection.execute(text(f"CREATE TABLE IF NOT EXISTS {RESTORING} (since timestamptz DEFAULT now())"))
            await connection.commit()
            try:
                yield Restoring(connection)
                await connection.execute(text("RESET ROLE"))
                await connection.execute(text(f"DROP TABLE {RESTORING}"))
                await connection.commit()
            except BaseException:
                await connection.rollback()
                await connection.execute(text(f"DROP TABLE IF EXISTS {RESTORING}"))
                await connection.commit()
                raise
            await connection.execute(text(f"ANALYZE {', '.join(metadata.tables)}"))
            await connection.commit()
    except (DBAPIError, asyncpg.PostgresError, OSError) as error:
        raise _refused(error) from None
    finally:
        await engine.dispose()


async def _check_free(connection: AsyncConnection) -> None:
    """Refuse a database that is at work, and one in which anything is stored."""
    # Waited for: the server takes a moment to notice that a restore was killed.
    await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'tieline%' AND application_name <> :own"
    )
    if (await connection.execute(others, {"own": _NAME})).scalar_one():
        raise Conflict("A Tieline is at work in this database", advice="Stop it, then restore.")
    if not await connection.run_sync(applied_revisions):
        return
    await connection.execute(text("SET LOCAL ROLE tieline_backup"))
    found = [table for table in kept_tables() if await _is_used(connection, table)]
    await connection.execute(text("RESET ROLE"))
    if found:
        raise Conflict(
            f"This instance is not empty: there is something in {', '.join(found[:3])}",
            advice="Restore into an empty one: another TIELINE_DATA_DIR, or another database in TIELINE_DATABASE_URL.",
        )


async def _is_used(connection: AsyncConnection, table: str) -> bool:
    """Whether a table holds more than what the first start of an instance puts there by itself."""
    if table not in metadata.tables or not await _exists(connection, table):
        return False
    allowed = {
        "organizations": " WHERE slug <> 'default'",
        "audit_entries": f" WHERE action NOT IN ({', '.join(repr(one) for one in sorted(_BY_ITSELF))})",
        "audit_heads": " WHERE false",
        "audit_checkpoints": " WHERE false",
    }
    query = f"SELECT EXISTS (SELECT FROM {table}{allowed.get(table, '')})"  # noqa: S608  names are ours
    return bool((await connection.execute(text(query))).scalar_one())


async def _exists(connection: AsyncConnection, table: str) -> bool:
    return bool((await connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": table})).scalar_one())


def _refused(error: BaseException) -> Exception:
    error = getattr(error, "orig", error)
    error = error.__cause__ or error  # the driver's own, where SQLAlchemy has wrapped it
    if isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError | asyncpg.UndefinedColumnError):
        return BackupError(f"The database does not take the rows of the backup ({type(error).__name__})")
    if isinstance(error, asyncpg.LockNotAvailableError):
        return Conflict("Another restore is at work in this database, or something else that it waits for")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        advice = "Restore as the role that owns the tables, or into a database in which Tieline was never started."
        return DatabaseError("The database role may not do this", advice=advice)
    return DatabaseError(f"The database cannot be reached or filled ({type(error).__name__})")


_CONNECT = {"server_settings": {"application_name": _NAME, "timezone": "UTC", "statement_timeout": "0", "lock_timeout": "10s"}}  # fmt: skip
_HELD = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relrowsecurity"
