"""The database: its engine, and the two kinds of work done in it.

`work(org_id)` is a transaction in one organization's rows: row-level security shows it nothing else, whatever a query says.
`system()` is a transaction of the platform itself, which sees the few tables that must be read over all organizations. Both
run as roles that own nothing and cannot bypass row-level security.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import asyncpg
import orjson
from sqlalchemy import MetaData, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tieline.errors import DatabaseError
from tieline.ids import to_uuid

APP_ROLE = "tieline_app"
SYSTEM_ROLE = "tieline_system"
OLDEST_POSTGRES = 15

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)


@dataclass(frozen=True)
class Work:
    """A transaction in one organization's rows."""

    connection: AsyncConnection
    org_id: str

    async def driver(self) -> asyncpg.Connection[Any]:
        """The driver's own connection, for COPY; it is in the same transaction."""
        raw = await self.connection.get_raw_connection()
        return cast("asyncpg.Connection[Any]", raw.driver_connection)


@dataclass(frozen=True)
class SystemWork:
    """A transaction of the platform, over all organizations, in the tables that allow it."""

    connection: AsyncConnection

    async def driver(self) -> asyncpg.Connection[Any]:
        """The driver's own connection; it is in the same transaction."""
        raw = await self.connection.get_raw_connection()
        return cast("asyncpg.Connection[Any]", raw.driver_connection)


class Db:
    """One process's access to the database."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self._url = driver_url(url)
        self._engine = _engine(self._url, pool_size)

    @asynccontextmanager
    async def work(self, org_id: str) -> AsyncIterator[Work]:
        """A transaction as one organization: committed at the end, rolled back if the block raises."""
        async with self._engine.begin() as connection:
            await connection.execute(select(func.set_config("tieline.org", str(to_uuid(org_id, "org")), True)))
            yield Work(connection, org_id)

    @asynccontextmanager
    async def system(self) -> AsyncIterator[SystemWork]:
        """A transaction of the platform itself."""
        async with self._engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL ROLE {SYSTEM_ROLE}"))
            yield SystemWork(connection)

    async def driver(self) -> asyncpg.Connection[Any]:
        """A connection of its own, outside the pool, as the system role; for the job engine. Close it."""
        url = self._url
        return await asyncpg.connect(
            user=url.username,
            password=url.password,
            host=url.query.get("host") or url.host,
            port=url.port,
            database=url.database,
            ssl=url.query.get("ssl"),
            server_settings={"role": SYSTEM_ROLE, "application_name": "tieline engine", "timezone": "UTC"},
        )

    async def verify(self) -> None:
        """Refuse a server that is too old, or a role that row-level security would not hold; raises `DatabaseError`."""
        try:
            async with self._engine.connect() as connection:
                row = (await connection.execute(text(_WHO_AM_I))).one()
        except (DBAPIError, OSError) as error:
            raise DatabaseError(f"The database cannot be reached ({type(error).__name__})") from None
        if row.version < OLDEST_POSTGRES:
            raise DatabaseError(f"PostgreSQL {OLDEST_POSTGRES} or newer is needed; this is {row.version}")
        if row.unbound:
            raise DatabaseError(
                "The database role can bypass row-level security, so organizations would not be kept apart"
            )

    async def close(self) -> None:
        """Give all connections back."""
        await self._engine.dispose()


async def within(work: SystemWork, org_id: str) -> Work:
    """Go on in the platform's transaction as one organization, to the end of it: what a new organization begins with."""
    await work.connection.execute(text(f"SET LOCAL ROLE {APP_ROLE}"))
    await work.connection.execute(select(func.set_config("tieline.org", str(to_uuid(org_id, "org")), True)))
    return Work(work.connection, org_id)


def driver_url(url: str) -> URL:
    """A `postgresql://` URL for the asyncpg driver; raises `DatabaseError` for anything else."""
    try:
        parsed = make_url(url)
    except Exception:  # noqa: BLE001  SQLAlchemy's message would quote the URL, password and all
        raise DatabaseError("TIELINE_DATABASE_URL is not a database URL") from None
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise DatabaseError(f"Tieline runs on PostgreSQL only, not on {parsed.get_backend_name()}")
    query = {"ssl" if name == "sslmode" else name: value for name, value in parsed.query.items()}  # libpq's name for it
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def is_conflict(error: DBAPIError) -> bool:
    """Whether the database refused a row because it would be the second of its kind (SQLSTATE 23505)."""
    return getattr(error.orig, "sqlstate", None) == "23505"


def is_away(error: BaseException) -> bool:
    """Whether an error says that the database cannot be reached, has no free connection, or broke one off."""
    if isinstance(error, LookupError):  # to jinja a template that is missing is an OSError too
        return False
    if isinstance(error, OSError | TimeoutError | PoolTimeoutError | OperationalError):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _engine(url: URL, pool_size: int) -> AsyncEngine:
    # A process frozen in the middle of a transaction must not hold its locks for ever.
    settings = {"role": APP_ROLE, "application_name": "tieline", "timezone": "UTC"}
    settings["idle_in_transaction_session_timeout"] = "20s"
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args={"server_settings": settings},
    )


_WHO_AM_I = """
    SELECT current_setting('server_version_num')::int / 10000 AS version,
           (rolsuper OR rolbypassrls) AS unbound
      FROM pg_roles WHERE rolname = current_user
"""

__all__ = [
    "APP_ROLE",
    "SYSTEM_ROLE",
    "Db",
    "OperationalError",
    "SystemWork",
    "Work",
    "is_away",
    "is_conflict",
    "metadata",
    "within",
]
