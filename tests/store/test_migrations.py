"""Migrations: the database that they make is the one that the code declares, whoever applies them and how often."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tieline.engine import install_sql
from tieline.errors import DatabaseError
from tieline.store.backup import LEFT_OUT, kept_tables
from tieline.store.db import Db, driver_url
from tieline.store.migrate import known_revisions, migrate
from tieline.store.tables import metadata

WITHOUT_ORGANIZATION = {
    "issuer_keys",
    "passkey_challenges",  # nobody is known yet when they are made
    "alembic_version",
    "organizations",  # its id is the organization
    "pgqueuer",  # holds ids of schedules only, and belongs to the system role
    "pgqueuer_log",
    "pgqueuer_schedules",
    "pgqueuer_statistics",
    "workers",  # processes serve all organizations
    "worker_hours",
}


def beside(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


async def on(url: str, statement: str, *values: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


@pytest.fixture
def empty_database_url(server: str) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"empty_{uuid4().hex[:12]}"
    asyncio.run(on(server, f"CREATE DATABASE {name}"))
    yield beside(server, name)
    asyncio.run(on(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def inspected(database_url: str) -> AsyncIterator[Any]:
    """A connection of the owner's to the migrated database."""
    engine = create_async_engine(driver_url(database_url), poolclass=NullPool)
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


def ours(named: Any, name: str | None, kind: str, *_: Any) -> bool:
    """Leave out the job engine's tables, which `test_the_queue_is_the_one_that_the_engine_declares` compares."""
    table = name if kind == "table" else getattr(getattr(named, "table", None), "name", "")
    return not str(table).startswith(("pgqueuer", "toy_"))


async def test_the_migrated_database_equals_what_the_code_declares(inspected: Any) -> None:
    def differences(connection: Connection) -> list[Any]:
        how = {"compare_type": True, "compare_server_default": True, "include_object": ours}
        return list(compare_metadata(MigrationContext.configure(connection, opts=how), metadata))

    assert await inspected.run_sync(differences) == []


async def indexes_of(url: str, tables: str) -> set[tuple[str, str]]:
    rows = await on(
        url, f"SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename {tables}"
    )
    return {(row["tablename"], row["indexdef"]) for row in rows}


async def test_every_index_is_the_declared_one_expressions_and_conditions_included(
    database_url: str, empty_database_url: str
) -> None:
    engine = create_async_engine(driver_url(empty_database_url), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    declared = f"IN ({', '.join(repr(name) for name in metadata.tables)})"
    migrated = await indexes_of(database_url, declared)
    assert migrated == await indexes_of(empty_database_url, declared)


async def columns_of(url: str) -> set[tuple[Any, ...]]:
    rows = await on(
        url,
        """SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name LIKE 'pgqueuer%'""",
    )
    return {tuple(row) for row in rows}


async def test_the_queue_is_the_one_that_the_engine_declares(database_url: str, empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(install_sql())
    await connection.close()
    assert await columns_of(database_url) == await columns_of(empty_database_url)
    assert await indexes_of(database_url, "LIKE 'pgq%'") == await indexes_of(empty_database_url, "LIKE 'pgq%'")


# Row-level security


async def test_every_table_of_organizations_is_held_by_row_level_security_even_against_its_owner(
    database_url: str,
) -> None:
    rows = await on(
        database_url,
        """SELECT relname, relrowsecurity AND relforcerowsecurity AS held,
                  EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'org_id' AND attnotnull) AS owned
             FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace""",
    )
    tables = {row["relname"]: row for row in rows}
    assert {name for name, row in tables.items() if not row["owned"]} == WITHOUT_ORGANIZATION
    assert {name for name, row in tables.items() if row["owned"]} == set(metadata.tables) - {
        "organizations",
        "issuer_keys",
        "passkey_challenges",
        "workers",
        "worker_hours",
    }
    open_tables = {name for name, row in tables.items() if row["owned"] and not row["held"]}
    assert open_tables == set()
    assert tables["organizations"]["held"]


async def test_every_policy_but_the_platforms_compares_with_the_organization_at_work(database_url: str) -> None:
    rows = await on(database_url, "SELECT tablename, policyname, roles::text[], qual, with_check FROM pg_policies")
    platform = {row["tablename"] for row in rows if row["policyname"] == "platform"}
    assert platform == {
        "organizations",
        "api_keys",
        "schedules",
        "credentials",
        "audit_heads",
        "attempts",
        "connect_sessions",
        "entity_versions",
        "oauth_apps",
        "revocations",
        "members",
        "sessions",
        "sign_in_links",
        "run_tallies",
        "connections",
        "tallies",
    }
    for row in rows:
        if row["policyname"] == "platform":
            assert row["roles"] == ["tieline_system"]
        elif row["policyname"] == "backup":
            assert row["roles"] == ["tieline_backup"]
        else:
            assert row["policyname"] == "organization"
            assert "current_setting('tieline.org'" in row["qual"]
            assert row["with_check"] in (row["qual"], None if row["tablename"] == "organizations" else row["qual"])


async def test_neither_role_can_log_in_or_step_around_row_level_security(database_url: str) -> None:
    rows = await on(
        database_url,
        """SELECT rolname, rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb AS strong
             FROM pg_roles WHERE rolname LIKE 'tieline\\_%'""",
    )
    assert {row["rolname"]: row["strong"] for row in rows} == dict.fromkeys(
        ["tieline_app", "tieline_system", "tieline_backup"], False
    )


async def test_nobody_else_has_any_right_to_a_table(database_url: str) -> None:
    rows = await on(
        database_url,
        """SELECT DISTINCT grantee FROM information_schema.role_table_grants
            WHERE table_schema = 'public' AND grantee <> (SELECT tableowner FROM pg_tables WHERE tablename = 'organizations')""",
    )
    assert {row["grantee"] for row in rows} == {"tieline_app", "tieline_system", "tieline_backup"}


async def test_who_makes_a_backup_reads_all_that_belongs_into_it_and_nothing_else_and_changes_nothing(
    database_url: str,
) -> None:
    granted = await on(
        database_url,
        "SELECT table_name, privilege_type FROM information_schema.role_table_grants WHERE grantee = 'tieline_backup'",
    )
    assert {row["privilege_type"] for row in granted} == {"SELECT"}
    assert {row["table_name"] for row in granted} == {*kept_tables(), "alembic_version"}
    assert set(kept_tables()) == set(metadata.tables) - set(LEFT_OUT)
    policies = await on(database_url, "SELECT tablename, cmd, qual FROM pg_policies WHERE policyname = 'backup'")
    assert {(row["cmd"], row["qual"]) for row in policies} == {("SELECT", "true")}
    unheld = {"alembic_version", "issuer_keys"}
    assert {row["tablename"] for row in policies} == {row["table_name"] for row in granted} - unheld


# Applying them


async def test_an_empty_database_is_brought_to_the_newest_form_and_then_left_alone(empty_database_url: str) -> None:
    assert set(await migrate(empty_database_url)) == known_revisions()
    assert await migrate(empty_database_url) == []
    db = Db(empty_database_url)
    await db.verify()
    await db.close()


async def test_two_processes_migrating_at_once_do_it_once(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == sorted(known_revisions())


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str) -> None:
    await on(empty_database_url, "CREATE TABLE findings (id int)")
    with pytest.raises(DatabaseError, match="DuplicateTableError"):
        await migrate(empty_database_url)
    left = await on(empty_database_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert [row["tablename"] for row in left] == ["findings"]
    await on(empty_database_url, "DROP TABLE findings")
    assert set(await migrate(empty_database_url)) == known_revisions()


async def test_a_database_of_a_newer_release_is_refused_and_left_as_it_is(fresh_database_url: str) -> None:
    await on(fresh_database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match=r"made by a newer Tieline \(revision 9999\)") as refused:
        await migrate(fresh_database_url)
    assert "Upgrade Tieline" in refused.value.what_to_do
    assert [row[0] for row in await on(fresh_database_url, "SELECT version_num FROM alembic_version")] == ["9999"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://anna:hunter2@127.0.0.1:1/nowhere", "cannot be reached or migrated"),
        ("mysql://anna:hunter2@127.0.0.1/db", "PostgreSQL only, not on mysql"),
        ("postgresql://anna:hunter2@127.0.0.1:none/db", "is not a database URL"),
        ("hunter2", "is not a database URL"),
    ],
)
async def test_a_database_that_cannot_be_used_is_told_without_its_password(url: str, told: str) -> None:
    with pytest.raises(DatabaseError, match=told) as refused:
        await migrate(url)
    assert "hunter2" not in str(refused.value) + repr(refused.value) + refused.value.what_to_do
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))
