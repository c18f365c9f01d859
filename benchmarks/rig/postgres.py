"""A PostgreSQL as Tieline ships it, for the time of a benchmark, and what it has used."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from rig import machine
from tieline.store.embedded import running
from tieline.store.migrate import migrate

_TEMPLATE = "migrated"


@dataclass(frozen=True)
class Database:
    """One database; `pid` is that of the server itself, from which all its other processes came."""

    url: str
    name: str
    pid: int
    owner: asyncpg.Connection[Any]

    async def cpu(self) -> float:
        """Processor seconds of every process of the server."""
        return await asyncio.to_thread(machine.cpu_seconds, self.pid)

    async def wal(self) -> int:
        """Where the write-ahead log stands, in bytes."""
        return int(await self.owner.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    async def settle(self) -> None:
        """Do now what autovacuum would do at a moment of its own, so that no contestant pays for another."""
        await self.owner.execute("VACUUM (ANALYZE)")


@dataclass(frozen=True)
class Postgres:
    """A running server, in which each contestant gets a database of its own."""

    url: str
    version: str
    pid: int

    @asynccontextmanager
    async def database(self, name: str, *, migrated: bool = False, kept: bool = False) -> AsyncIterator[Database]:
        """A new database, empty or with Tieline's tables, dropped at the end; if `kept`, the one that is there already."""
        if not (kept and await self._has(name)):
            await self.run(f"CREATE DATABASE {name}" + (f" TEMPLATE {_TEMPLATE}" if migrated else ""))
        url = _named(self.url, name)
        owner = await asyncpg.connect(url)
        await owner.execute(
            "CHECKPOINT"
        )  # each begins with a new log; what comes after the first touch of a page is its own
        try:
            yield Database(url, name, self.pid, owner)
        finally:
            await owner.close()
            if not kept:
                await self.run(f"DROP DATABASE {name} WITH (FORCE)")

    async def _has(self, name: str) -> bool:
        connection = await asyncpg.connect(self.url)
        try:
            return bool(await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name))
        finally:
            await connection.close()

    async def run(self, statement: str) -> None:
        """Run a statement in the server's first database, as its owner."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def started(place: Path | None = None) -> AsyncIterator[Postgres]:
    """A server with the settings that Tieline gives its own, but for autovacuum, which would strike now here, now there."""
    folder = place or Path(tempfile.mkdtemp(prefix="tieline-bench-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)  # run as root, PostgreSQL works as another account, which must get through
    try:
        with running(folder / "data", state_dir=folder / "state") as server:
            yield await _prepared(server.url)
    finally:
        if place is None:
            shutil.rmtree(folder, ignore_errors=True)


async def _prepared(url: str) -> Postgres:
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER SYSTEM SET autovacuum = off")
    await connection.execute("SELECT pg_reload_conf()")
    pid = machine.parent_of(await connection.fetchval("SELECT pg_backend_pid()"))
    version = str(await connection.fetchval("SHOW server_version"))
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", _TEMPLATE):
        await connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        await migrate(_named(url, _TEMPLATE))
    await connection.close()
    return Postgres(url, version, pid)


def _named(url: str, database: str) -> str:
    """The same server's URL for another database."""
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{database}?{query}"
