"""What a backup holds: every row of every table as it was, in whatever instance it is restored into, by the owner of the tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import make_url
from tests.conftest import new_organization, parts_of
from tests.flows.rows import CHAINED, every_row, furnish

from tieline.flows.audit import verify
from tieline.flows.backup import create_backup, restore_backup
from tieline.flows.organizations import create_organization
from tieline.flows.parts import Parts
from tieline.store.backup import LEFT_OUT, kept_tables
from tieline.store.db import Db
from tieline.store.migrate import migrate
from tieline.store.tables import metadata
from tieline.vault import LocalKeyRing

SERVER = "tieline_app, tieline_system, tieline_backup"


async def on(url: str, *statements: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return [await connection.fetch(one) for one in statements][-1]
    finally:
        await connection.close()


@asynccontextmanager
async def opened(url: str, ring: LocalKeyRing) -> AsyncIterator[Parts]:
    db = Db(url, pool_size=3)
    try:
        yield parts_of(db, ring)
    finally:
        await db.close()


@pytest.fixture
def new_database(server: str, template: str) -> Iterator[Callable[[], str]]:
    """Makes databases without anything in them, each owned by a role that is no superuser."""
    owner, made = f"owner_{uuid4().hex[:12]}", list[str]()
    asyncio.run(
        on(server, f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'x'", f"GRANT {SERVER} TO {owner} WITH ADMIN OPTION")
    )

    def make() -> str:
        made.append(f"owned_{uuid4().hex[:12]}")
        asyncio.run(on(server, f"CREATE DATABASE {made[-1]} OWNER {owner}"))
        return (
            make_url(server).set(database=made[-1], username=owner, password="x").render_as_string(hide_password=False)
        )

    yield make
    for name in made:
        asyncio.run(on(server, f"DROP DATABASE {name} WITH (FORCE)"))
    asyncio.run(on(server, f"DROP ROLE {owner}"))


def above(server: str, url: str) -> str:
    """The same database as the server's own superuser."""
    return make_url(server).set(database=make_url(url).database).render_as_string(hide_password=False)


def without_holds(rows: list[str], names: list[str]) -> list[str]:
    """Schedules without who holds them, and without when those are due that were held."""
    places = [names.index(one) for one in ("held_by", "held_at", "beat_at")]
    found = []
    for row in rows:
        fields = row.split("\t")
        held = fields[places[0]] != "\\N"
        for place in places:
            fields[place] = "-"
        found.append((held, fields[names.index("id")], "\t".join(fields), names.index("next_run_at")))
    return ["\t".join(one for n, one in enumerate(row.split("\t")) if n != due) for _, _, row, due in sorted(found, key=lambda one: one[1])]  # fmt: skip


@pytest.mark.parametrize("state", ["never started", "started"])
async def test_every_row_of_every_table_comes_back_as_it_was(
    new_database: Callable[[], str], server: str, ring: LocalKeyRing, tmp_path: Path, state: str
) -> None:
    original, copy = await asyncio.to_thread(new_database), await asyncio.to_thread(new_database)
    await migrate(original)
    await furnish(above(server, original), seed=len(state))
    async with opened(original, ring) as parts:
        organization = await create_organization(parts, slug="default", name="Default")
        before = await every_row(above(server, original))
        assert all(before[table] for table in metadata.tables if table not in CHAINED), "every table has rows to lose"
        made = await create_backup(parts, organization.id, tmp_path / "all.zip")
    if state == "started":
        await migrate(copy)
        async with opened(copy, ring) as parts:
            await create_organization(parts, slug="default", name="Default")
    async with opened(copy, ring) as parts:
        done = await restore_backup(parts, copy, tmp_path / "all.zip", knows=lambda _: True)
        assert (await verify(parts, organization.id)).reason is None
    after = await every_row(above(server, copy))
    names = [row["attname"] for row in await on(original, "SELECT attname FROM pg_attribute WHERE attrelid = 'schedules'::regclass AND attnum > 0 ORDER BY attnum")]  # fmt: skip
    assert set(after) == set(before)
    for table in set(before) - CHAINED - set(LEFT_OUT) - {"schedules"}:
        assert after[table] == before[table], table
    assert without_holds(after["schedules"], names) == without_holds(before["schedules"], names)
    assert done.runs == sum(row.split("\t")[names.index("held_by")] != "\\N" for row in before["schedules"]) > 0
    assert all(row.split("\t")[names.index("held_by")] == "\\N" for row in after["schedules"])
    assert not any(after[table] for table in LEFT_OUT)
    organizations = len(before["organizations"])
    assert len(after["audit_entries"]) == len(before["audit_entries"]) + organizations == 1 + organizations
    assert (made.manifest.organizations, made.manifest.rows) == (
        organizations,
        sum(len(before[one]) for one in kept_tables()),
    )


async def test_the_instance_is_guarded_as_before_when_it_has_been_filled(
    new_database: Callable[[], str], ring: LocalKeyRing, tmp_path: Path
) -> None:
    original, copy = await asyncio.to_thread(new_database), await asyncio.to_thread(new_database)
    guards = """SELECT relname, relrowsecurity, relforcerowsecurity, array_agg((tgname, tgenabled)::text ORDER BY tgname) FILTER (WHERE NOT tgisinternal) AS triggers
                  FROM pg_class LEFT JOIN pg_trigger ON tgrelid = pg_class.oid
                 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' GROUP BY 1, 2, 3 ORDER BY 1"""
    await migrate(original)
    async with opened(original, ring) as parts:
        organization = await new_organization(parts.db)
        await create_backup(parts, organization.id, tmp_path / "all.zip")
    async with opened(copy, ring) as parts:
        await restore_backup(parts, copy, tmp_path / "all.zip", knows=lambda _: True)
    assert [dict(row) for row in await on(copy, guards)] == [dict(row) for row in await on(original, guards)]


async def test_a_backup_of_a_former_release_is_brought_to_the_form_of_this_one(
    new_database: Callable[[], str], ring: LocalKeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from tieline.store import migrate as migrations

    original, copy, newer = [await asyncio.to_thread(new_database) for _ in range(3)]
    await migrate(original)
    async with opened(original, ring) as parts:
        organization = await new_organization(parts.db)
        await create_backup(parts, organization.id, tmp_path / "all.zip")
    shutil.copytree(str(migrations._MIGRATIONS), tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "migrations" / "pre" / "0002_second.py").write_text(
        "from alembic import op\nrevision, down_revision = '0002', '0001'\n"
        "def upgrade():\n    op.execute('ALTER TABLE organizations ADD colour text')\n    op.execute(\"UPDATE organizations SET colour = 'of ' || slug\")\n"
    )
    monkeypatch.setattr(migrations, "_MIGRATIONS", tmp_path / "migrations")
    async with opened(copy, ring) as parts:
        await restore_backup(parts, copy, tmp_path / "all.zip", knows=lambda _: True)
    await on(copy, "ALTER TABLE organizations NO FORCE ROW LEVEL SECURITY")
    assert [tuple(one) for one in await on(copy, "SELECT slug, colour FROM organizations")] == [
        (organization.slug, f"of {organization.slug}")
    ]
    await migrate(newer)
    async with opened(newer, ring) as parts:
        with pytest.raises(Exception, match="of a newer form than the backup"):
            await restore_backup(parts, newer, tmp_path / "all.zip", knows=lambda _: True)
