"""Organizations are kept apart by the database itself: what follows asks with no scope in the query at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Integer,
    Interval,
    LargeBinary,
    Table,
    Text,
    Uuid,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tieline.errors import DatabaseError
from tieline.ids import new_id
from tieline.store import db as store
from tieline.store.credentials import credentials
from tieline.store.db import Db, driver_url
from tieline.store.tables import metadata
from tieline.store.types import Ciphertext, Id, RawJson, Sealed, UtcTime

OWNED = [table for table in metadata.sorted_tables if "org_id" in table.c]
HISTORY = {
    "entity_versions",
    "evidence",
    "provenances",
    "finding_events",
    "outbox",
    "audit_entries",
    "audit_checkpoints",
}
NEVER_DELETED = HISTORY | {"audit_heads"}
NOW = datetime(2026, 11, 20, tzinfo=UTC)

PLATFORM_MAY = {
    ("attempts", "DELETE"), ("connect_sessions", "DELETE"),
    ("api_keys", "SELECT"), ("schedules", "SELECT"), ("schedules", "UPDATE"), ("organizations", "SELECT"),
    ("organizations", "INSERT"), ("organizations", "UPDATE"),
}  # fmt: skip
PLATFORM_MAY_SOME_COLUMNS = {("api_keys", "UPDATE", "last_used_at"), ("credentials", "SELECT", "key_id")} | {
    ("audit_heads", "SELECT", name) for name in ("org_id", "seq", "checkpoint_seq")
}
REWRAPPING = {
    "credentials": {"id", "org_id", "connection_id", "slot", "version", "serial", "expires_at", "retired_at"},
    "revocations": {"id", "org_id", "connection_id", "slot", "version", "serial", "due_at"},
    "oauth_apps": {"id", "org_id", "version"},
    "attempts": {"id", "org_id", "expires_at"},
    "connect_sessions": {"id", "org_id", "expires_at"},
}
"""Where a sealed value is and which place it is bound to, so that it can be brought under another key; and when it is due."""
PLATFORM_MAY |= {("sessions", "DELETE"), ("sign_in_links", "DELETE")}
PLATFORM_MAY_SOME_COLUMNS |= {
    *(("members", "SELECT", name) for name in ("id", "org_id", "email", "status")),
    *(("sessions", "SELECT", name) for name in ("seen_at", "expires_at")),
    ("sign_in_links", "SELECT", "expires_at"),
}
PLATFORM_MAY |= {("passkey_challenges", right) for right in ("SELECT", "INSERT", "UPDATE", "DELETE")}
PLATFORM_MAY |= {("entity_versions", "DELETE")}
PLATFORM_MAY_SOME_COLUMNS |= {("entity_versions", "SELECT", name) for name in ("entity_id", "kind", "until")}
PLATFORM_MAY |= {
    (name, right) for name in ("workers", "worker_hours") for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
}
PLATFORM_MAY |= {("issuer_keys", "SELECT"), ("issuer_keys", "INSERT"), ("issuer_keys", "DELETE")}
PLATFORM_MAY_SOME_COLUMNS |= {
    *((table, "SELECT", name) for table, names in REWRAPPING.items() for name in (*names, "sealed", "key_id")),
    *((table, "UPDATE", name) for table in (*REWRAPPING, "issuer_keys") for name in ("sealed", "key_id")),
}

PLATFORM_MAY |= {("run_tallies", "SELECT")}
PLATFORM_MAY_SOME_COLUMNS |= {
    *(("connections", "SELECT", name) for name in ("id", "provider", "status", "disconnected_at")),
    *(("tallies", "SELECT", name) for name in ("connection_id", "check_id", "outcome", "entities")),
}

every_table = pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)


@dataclass
class Tenants:
    """Two organizations with one row in every table each."""

    url: str
    ids: list[str] = field(default_factory=lambda: [new_id("org"), new_id("org")])
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def mine(self) -> str:
        return self.ids[0]

    @property
    def theirs(self) -> str:
        return self.ids[1]

    async def fill(self) -> None:
        """Write as the owner, whom row-level security holds too: so as one organization after the other."""
        engine = create_async_engine(driver_url(self.url), poolclass=NullPool)
        for org in self.ids:
            async with engine.begin() as connection:
                row = {"id": org, "slug": org, "name": "Test", "created_at": NOW}
                await connection.execute(insert(metadata.tables["organizations"]).values(**row))
                for table in OWNED:
                    self.rows[org, table.name] = row = self.row(table, org)
                    await connection.execute(insert(table).values(**row))
        await engine.dispose()

    def row(self, table: Table, org: str) -> dict[str, Any]:
        """A new row, which points to the organization's rows in other tables."""
        return {column.name: self._value(column, org) for column in table.columns if column.computed is None}

    def _value(self, column: Column[Any], org: str) -> Any:
        if column.name == "org_id":
            return org
        for key in column.foreign_keys:
            return self.rows[org, key.column.table.name][key.column.name]
        return made_for(column)


MAKERS: list[tuple[type[Any], Callable[[Any], Any]]] = [
    (Id, lambda column: new_id(column.type.prefix)),
    (Sealed, lambda _: Ciphertext(b"sealed")),
    (UtcTime, lambda _: NOW),
    (Interval, lambda _: timedelta(hours=1)),
    (Boolean, lambda _: False),
    (Integer, lambda _: 1),
    (ARRAY, lambda _: []),
    (Uuid, lambda _: None),
    (LargeBinary, lambda _: uuid4().bytes),
    (Text, lambda column: f"{column.name}-{uuid4().hex}"),
    (JSON, lambda _: {}),
    (RawJson, lambda _: {}),
]


def made_for(column: Column[Any]) -> Any:
    """A value that a column takes; a type that is not listed fails here, so that a new table cannot go untested."""
    return next(make(column) for kind, make in MAKERS if isinstance(column.type, kind))


@pytest.fixture(scope="module")
def tenants(server: str, template: str) -> Iterator[Tenants]:
    """Filled once; tests roll back whatever they change."""
    name = f"tenants_{uuid4().hex[:12]}"
    asyncio.run(as_owner(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    made = Tenants(driver_url(server).set(drivername="postgresql", database=name).render_as_string(hide_password=False))
    asyncio.run(made.fill())
    yield made
    asyncio.run(as_owner(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def as_owner(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@pytest.fixture
async def both(tenants: Tenants) -> AsyncIterator[Db]:
    """The database of the two organizations."""
    opened = Db(tenants.url, pool_size=1)
    yield opened
    await opened.close()


async def refused(db: Db, org: str, statement: Any) -> str:
    """The SQLSTATE with which the database refuses a statement, or nothing; whatever it did is undone."""
    async with db.work(org) as work:
        savepoint = await work.connection.begin_nested()
        try:
            await work.connection.execute(statement)
        except DBAPIError as error:
            return str(getattr(error.orig, "sqlstate", ""))
        finally:
            await savepoint.rollback()
    return ""


NOT_ALLOWED = "42501"


# As one organization


@every_table
async def test_a_bare_select_shows_one_organization_its_own_rows_only(both: Db, tenants: Tenants, table: Table) -> None:
    for org in tenants.ids:
        async with both.work(org) as work:
            assert set((await work.connection.execute(select(table.c.org_id))).scalars()) == {org}


async def test_an_organization_sees_no_other_in_the_list_of_them(both: Db, tenants: Tenants) -> None:
    async with both.work(tenants.mine) as work:
        rows = await work.connection.execute(select(metadata.tables["organizations"].c.id))
        assert list(rows.scalars()) == [tenants.mine]


@every_table
async def test_a_row_cannot_be_written_into_another_organization(both: Db, tenants: Tenants, table: Table) -> None:
    row = tenants.row(table, tenants.theirs)
    assert await refused(both, tenants.mine, insert(table).values(**row)) == NOT_ALLOWED


@every_table
async def test_an_own_row_can_be_written(both: Db, tenants: Tenants, table: Table) -> None:
    """The reverse: it is the organization that refuses the row above, not something else."""
    row = {column.name: made_for(column) for column in table.primary_key} | {"org_id": tenants.mine}
    row = tenants.row(table, tenants.mine) | {name: row[name] for name in row if not table.c[name].foreign_keys}
    state = await refused(both, tenants.mine, insert(table).values(**row))
    assert state in {"", "23505"}


@every_table
async def test_a_row_cannot_be_moved_to_another_organization(both: Db, tenants: Tenants, table: Table) -> None:
    assert await refused(both, tenants.mine, update(table).values(org_id=tenants.theirs)) == NOT_ALLOWED


@every_table
async def test_anothers_rows_can_be_neither_changed_nor_deleted(both: Db, tenants: Tenants, table: Table) -> None:
    if table.name in NEVER_DELETED:
        assert await refused(both, tenants.mine, delete(table)) == NOT_ALLOWED
        return
    theirs = table.c.org_id == tenants.theirs
    async with both.work(tenants.mine) as work:
        changed = await work.connection.execute(update(table).where(theirs).values(org_id=tenants.theirs))
        deleted = await work.connection.execute(delete(table).where(theirs))
        assert (changed.rowcount, deleted.rowcount) == (0, 0)


@pytest.mark.parametrize("name", sorted(HISTORY))
async def test_history_can_be_neither_changed_nor_deleted_even_by_its_own_organization(
    both: Db, tenants: Tenants, name: str
) -> None:
    table = metadata.tables[name]
    untouched = update(table).values(org_id=table.c.org_id)
    assert await refused(both, tenants.mine, untouched) == NOT_ALLOWED
    assert await refused(both, tenants.mine, delete(table)) == NOT_ALLOWED
    assert await refused(both, tenants.mine, text(f"TRUNCATE {name}")) == NOT_ALLOWED


@every_table
async def test_no_table_can_be_emptied_or_altered_by_the_application(both: Db, tenants: Tenants, table: Table) -> None:
    for statement in ("TRUNCATE {}", "ALTER TABLE {} DISABLE ROW LEVEL SECURITY", "DROP TABLE {}"):
        assert await refused(both, tenants.mine, text(statement.format(table.name))) == NOT_ALLOWED


async def test_no_organization_can_be_made_changed_or_deleted_by_another(both: Db, tenants: Tenants) -> None:
    table = metadata.tables["organizations"]
    row = {"id": new_id("org"), "slug": uuid4().hex, "name": "Test", "created_at": NOW}
    for statement in (insert(table).values(**row), update(table).values(name="x"), delete(table)):
        assert await refused(both, tenants.mine, statement) == NOT_ALLOWED


@pytest.mark.parametrize("name", ["pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics"])
async def test_the_application_sees_nothing_of_the_queue(both: Db, tenants: Tenants, name: str) -> None:
    assert await refused(both, tenants.mine, text(f"SELECT * FROM {name}")) == NOT_ALLOWED


# As none, and afterwards


@every_table
async def test_without_an_organization_nothing_shows_and_nothing_can_be_written(
    both: Db, tenants: Tenants, table: Table
) -> None:
    async with both._engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 0
        with pytest.raises(DBAPIError, match="row-level security"):
            await connection.execute(insert(table).values(**tenants.row(table, tenants.mine)))


async def test_an_organization_is_forgotten_when_its_transaction_ends(both: Db, tenants: Tenants) -> None:
    """The pool has one connection, so this is the very one that the work before used."""
    async with both.work(tenants.mine):
        pass
    with pytest.raises(RuntimeError, match="stop"):
        async with both.work(tenants.mine):
            raise RuntimeError("stop")
    async with both._engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(OWNED[0]))).scalar_one() == 0
    async with both.system():
        pass
    async with both._engine.connect() as connection:
        assert (await connection.execute(text("SELECT current_user"))).scalar_one() == "tieline_app"


async def test_work_for_many_organizations_side_by_side_stays_apart(tenants: Tenants) -> None:
    db = Db(tenants.url, pool_size=3)

    async def look(org: str) -> None:
        async with db.work(org) as work:
            for table in OWNED[:4]:
                assert set((await work.connection.execute(select(table.c.org_id))).scalars()) == {org}

    await asyncio.gather(*(look(tenants.ids[number % 2]) for number in range(60)))
    await db.close()


@pytest.mark.parametrize("org", ["", "org_", "run_01k3f8x2v1abcdefghjkmnpqrs", "org_' OR true --", "org_" + "z" * 26])
async def test_work_needs_an_organization_of_the_right_form(both: Db, org: str) -> None:
    with pytest.raises(ValueError, match="not an id of the form org_"):
        async with both.work(org):
            pytest.fail("the work began")


# As the platform


async def test_the_platform_may_do_what_is_listed_here_and_no_more(both: Db) -> None:
    async with both.system() as work:
        rows = await work.connection.execute(
            text("""SELECT tablename, right_, has_table_privilege(current_user, tablename::regclass, right_)
                      FROM pg_tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS right_
                     WHERE schemaname = 'public' AND tablename NOT LIKE 'pgqueuer%' AND tablename NOT LIKE 'toy_%'""")
        )
        assert {(table, right) for table, right, allowed in rows if allowed} == PLATFORM_MAY
        rows = await work.connection.execute(
            text("""SELECT table_name, privilege_type, column_name FROM information_schema.column_privileges
                     WHERE grantee = 'tieline_system' AND table_name NOT LIKE 'pgqueuer%'""")
        )
        some = {tuple(row) for row in rows if (row[0], row[1]) not in PLATFORM_MAY}
        assert some == PLATFORM_MAY_SOME_COLUMNS


async def test_the_platform_sees_over_all_organizations_what_it_must(both: Db, tenants: Tenants) -> None:
    async with both.system() as work:
        for name in ("organizations", "api_keys", "schedules"):
            column = metadata.tables[name].c["id" if name == "organizations" else "org_id"]
            assert set((await work.connection.execute(select(column))).scalars()) == set(tenants.ids)
        assert len((await work.connection.execute(select(credentials.c.key_id))).all()) == 2


@pytest.mark.parametrize(
    "column",
    [one for one in credentials.c if one.name not in {*REWRAPPING["credentials"], "sealed", "key_id"}],
    ids=lambda one: one.name,
)
async def test_the_platform_reads_no_more_of_a_credential_than_it_needs(both: Db, column: Column[Any]) -> None:
    async with both.system() as work:
        with pytest.raises(DBAPIError, match="permission denied"):
            await work.connection.execute(select(column))


async def test_no_organizations_setting_widens_what_the_platform_sees(both: Db, tenants: Tenants) -> None:
    async with both.system() as work:
        await work.connection.execute(select(func.set_config("tieline.org", str(uuid4()), True)))
        assert len((await work.connection.execute(select(credentials.c.key_id))).all()) == 2
        with pytest.raises(DBAPIError, match="permission denied"):
            await work.connection.execute(select(metadata.tables["connections"].c.name))


# The role that all this stands on


async def test_a_role_that_row_level_security_does_not_hold_is_refused(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "APP_ROLE", driver_url(tenants.url).username)
    opened = Db(tenants.url, pool_size=1)
    try:
        with pytest.raises(DatabaseError, match="can bypass row-level security"):
            await opened.verify()
    finally:
        await opened.close()
