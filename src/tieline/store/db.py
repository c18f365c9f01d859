"""The database: its engine, and the two kinds of work done in it.

`work(org_id)` is a transaction in one organization's rows: row-level security shows it nothing else, whatever a query says.
`system()` is a transaction of the platform itself, which sees the few tables that must be read over all organizations. Both
run as roles that own nothing and cannot bypass row-level security.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg
import orjson
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import MetaData, event, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tieline.errors import Busy, DatabaseError, TielineError
from tieline.ids import to_uuid

APP_ROLE = "tieline_app"
SYSTEM_ROLE = "tieline_system"
BACKUP_ROLE = "tieline_backup"
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
    """A transaction in one organization's rows; `staged` are the temporary tables that it has filled."""

    connection: AsyncConnection
    org_id: str
    staged: set[str] = field(default_factory=set, compare=False)

    @property
    def session(self) -> dict[str, Any]:
        """What is remembered of the session until a transaction in it is rolled back, in this one and those that follow."""
        return self.connection.sync_connection.info if self.connection.sync_connection else {}

    async def driver(self) -> asyncpg.Connection[Any]:
        """The driver's own connection, for COPY; it is in the same transaction."""
        raw = await self.connection.get_raw_connection()
        return cast("asyncpg.Connection[Any]", raw.driver_connection)


@dataclass(frozen=True)
class SystemWork:
    """A transaction of the platform, over all organizations, in the tables that allow it."""

    connection: AsyncConnection

    async def size(self) -> int:
        """The size of the whole database, in bytes."""
        found: int = (await self.connection.execute(text("SELECT pg_database_size(current_database())"))).scalar_one()
        return found

    async def driver(self) -> asyncpg.Connection[Any]:
        """The driver's own connection; it is in the same transaction."""
        raw = await self.connection.get_raw_connection()
        return cast("asyncpg.Connection[Any]", raw.driver_connection)


class Db:
    """One process's access to the database."""

    def __init__(self, url: str | URL, *, pool_size: int = 10) -> None:
        self._url = driver_url(url)
        self._engine = _engine(self._url, pool_size)

    @asynccontextmanager
    async def work(self, org_id: str) -> AsyncIterator[Work]:
        """A transaction as one organization: committed at the end, rolled back if the block raises."""
        async with self._transaction() as connection:
            await connection.execute(select(func.set_config("tieline.org", str(to_uuid(org_id, "org")), True)))
            yield Work(connection, org_id)

    @asynccontextmanager
    async def system(self) -> AsyncIterator[SystemWork]:
        """A transaction of the platform itself."""
        async with self._transaction() as connection:
            await connection.execute(text(f"SET LOCAL ROLE {SYSTEM_ROLE}"))
            yield SystemWork(connection)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction; raises `DatabaseError` if the way to the server is lost, so that this is told from any other `OSError`."""
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._engine.connect())
            except (OSError, TimeoutError) as error:
                raise _away() from error
            transaction = await connection.begin()
            try:
                yield connection
                if transaction.is_active:  # it may have been rolled back
                    await transaction.commit()
            except BaseException as error:
                with suppress(DBAPIError):  # a session that is gone took its transaction along, and `error` says more
                    await transaction.close()
                if isinstance(error, ConnectionError):  # whoever is in a transaction speaks to nobody but the database
                    raise _away() from error
                raise

    @asynccontextmanager
    async def brief(self, milliseconds: int) -> AsyncIterator[SystemWork]:
        """`system`, in which no statement may take longer than that: for what is asked again and again."""
        async with self.system() as work:
            await work.connection.execute(select(func.set_config("statement_timeout", str(milliseconds), True)))
            yield work

    async def driver(
        self, role: str = SYSTEM_ROLE, name: str = "tieline engine", **settings: str
    ) -> asyncpg.Connection[Any]:
        """A connection of its own, outside the pool, as one role; for the job engine and for backups. Close it."""
        url = self._url
        return await asyncpg.connect(
            user=url.username,
            password=url.password,
            host=url.query.get("host") or url.host,
            port=url.port,
            database=url.database,
            ssl=url.query.get("ssl"),
            server_settings={"role": role, "application_name": name, "timezone": "UTC", **settings},
        )

    def apart(self, pool_size: int) -> Db:
        """The same database through a small pool of its own, for who must never wait for what others hold. Close it too."""
        return Db(self._url, pool_size=pool_size)

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


def driver_url(url: str | URL) -> URL:
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


def is_passing(error: BaseException) -> bool:
    """Whether the database failed in a way that passes: what was to be done in that transaction may succeed later."""
    return explain(error) is not None


def explain(error: BaseException) -> TielineError | None:
    """A failure of the database that passes, as it is told to whoever asked; `None` for any other error."""
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, PoolTimeoutError):
        return DatabaseError("The database has no free connection just now", advice=_SOON)
    if not isinstance(error, DBAPIError | asyncpg.PostgresError | asyncpg.InterfaceError):
        return None
    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    if state in _CLASHES:
        return Busy("Others were changing the same at this moment, so this was not done")
    if state == _DISK_FULL:
        return DatabaseError("The database's disk is full", advice="Make room on it; what was asked for was not done.")
    lost = getattr(error, "connection_invalidated", False) or "connection is closed" in str(error)
    return _away() if lost or state.startswith(_AWAY) or isinstance(error, OperationalError) else None


def _away() -> DatabaseError:
    return DatabaseError("The database cannot be reached just now", advice=_SOON)


def _engine(url: URL, pool_size: int) -> AsyncEngine:
    # A process frozen in the middle of a transaction must not hold its locks for ever.
    settings = {"role": APP_ROLE, "application_name": "tieline", "timezone": "UTC"}
    settings["idle_in_transaction_session_timeout"] = "20s"
    settings["default_transaction_isolation"] = (
        "read committed"  # what our locks are made for, whatever the server's default
    )
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args={"server_settings": settings},
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    for name in ("rollback", "rollback_savepoint"):
        event.listen(engine.sync_engine, name, _forget)
    return engine


def _refuse_closed(connection: Any, *_: object) -> None:
    """Take no connection whose server is gone, nor any other from before.

    The event loop learns of that by itself; to ask the server before each transaction would cost three round trips.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError


def _forget(connection: SyncConnection, *_: object) -> None:
    if not connection.invalidated:  # or else all is gone with the session
        connection.info.clear()


_SOON = "Try again soon."

# SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html: serialization failure, deadlock, lock not available;
# classes of lost connections and of too few resources; shutdowns, crashes and starts; a transaction that was idle for too long.
_CLASHES = frozenset({"40001", "40P01", "55P03"})
_DISK_FULL = "53100"
_AWAY = ("08", "53", "57P0", "25P03", "58030")

_WHO_AM_I = """
    SELECT current_setting('server_version_num')::int / 10000 AS version,
           (rolsuper OR rolbypassrls) AS unbound
      FROM pg_roles WHERE rolname = current_user
"""

__all__ = [
    "APP_ROLE",
    "BACKUP_ROLE",
    "SYSTEM_ROLE",
    "Db",
    "OperationalError",
    "SystemWork",
    "Work",
    "explain",
    "is_conflict",
    "is_passing",
    "metadata",
    "within",
]
