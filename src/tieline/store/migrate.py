"""Bring the database to the form that this release needs; one process at a time, and quickly when there is nothing to do."""

from __future__ import annotations

import importlib.resources

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tieline.errors import DatabaseError
from tieline.store.db import driver_url

_MIGRATIONS = importlib.resources.files("tieline.store.migrations")
_LOCK = 0x7469_656C  # any number, the same in every process

RESTORING = "tieline_restoring"
"""The table that is there while a backup is restored, and stays if that is cut short: nothing starts beside it."""


def known_revisions() -> set[str]:
    """The revisions that this release knows, by the names of their files."""
    halves = (_MIGRATIONS / "pre", _MIGRATIONS / "post")
    return {file.name[:4] for half in halves if half.is_dir() for file in half.iterdir() if file.name[:4].isdigit()}


async def migrate(url: str) -> list[str]:
    """Apply what is missing; the revisions applied. Raises `DatabaseError`, also for a database of a newer release."""
    engine = create_async_engine(driver_url(url), poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.connect() as connection:
            before = await connection.run_sync(applied_revisions)
            if unknown := before - known_revisions():
                raise DatabaseError(
                    f"The database was made by a newer Tieline (revision {min(unknown)})",
                    advice="Upgrade Tieline, or point it at another database.",
                )
            await connection.run_sync(_refuse_unfinished)
            if before == _heads():
                return []
            applied = await connection.run_sync(upgrade)
            await connection.commit()
            return applied
    except (DBAPIError, asyncpg.PostgresError, OSError) as error:
        reason = type(getattr(error, "orig", error)).__name__
        raise DatabaseError(f"The database cannot be reached or migrated ({reason})") from None
    finally:
        await engine.dispose()


def _heads() -> set[str]:
    """The newest revision of each half."""
    found = set()
    for half in ("pre", "post"):
        if (_MIGRATIONS / half).is_dir():
            names = {file.name[:4] for file in (_MIGRATIONS / half).iterdir() if file.name[:4].isdigit()}
            found |= {max(names)} if names else set()
    return found


def applied_revisions(connection: Connection) -> set[str]:
    """The revisions that a database is at; none if it was never migrated."""
    exists = connection.execute(text("SELECT to_regclass('alembic_version') IS NOT NULL")).scalar_one()
    if not exists:
        return set()
    return set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def _refuse_unfinished(connection: Connection) -> None:
    if connection.execute(text("SELECT to_regclass(:mark) IS NOT NULL"), {"mark": RESTORING}).scalar_one():
        raise DatabaseError(
            "A backup is being restored into this database, or that was cut short; nothing of it is there yet",
            advice="Wait for its end, or run the same `tieline backup restore` again.",
        )


def upgrade(connection: Connection, to: str = "heads") -> list[str]:
    """Apply what is missing up to a revision, in the transaction that there is, once no other process is at it; those applied."""
    from alembic import command  # only when there is something to apply: Alembic takes a while to import
    from alembic.config import Config

    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    before = applied_revisions(connection)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{_MIGRATIONS / 'pre'}\n{_MIGRATIONS / 'post'}")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
    return sorted(applied_revisions(connection) - before)
