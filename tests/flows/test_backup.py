"""Backup and restore: all opens again, what was due goes on, nothing is told twice; and without the key ring nothing is read."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import select
from tests.canaries import Canary, hatch, sightings
from tests.conftest import named
from tests.flows.bench import ALL, Bench, MovableClock, parts_over, take_snapshot
from tests.flows.rows import every_row

from tieline import faults
from tieline.engine import Engine, EngineLimits
from tieline.errors import BackupError, Conflict, DatabaseError, KeyRingError, VaultError
from tieline.flows.audit import export_checkpoints, read_checkpoints, sign_checkpoints, verify
from tieline.flows.backup import Restored, create_backup, last_backup, restore_backup, verify_backup
from tieline.flows.organizations import create_organization
from tieline.flows.sync import run_sync
from tieline.ids import to_uuid
from tieline.stages.archive import Manifest, drafting
from tieline.store.credentials import credentials
from tieline.store.db import Db
from tieline.store.migrate import migrate
from tieline.store.outbox import list_outbox
from tieline.store.schedules import begin
from tieline.vault import LocalKeyRing, Place, Vault, key_id_of, load_or_create, with_new_key
from tieline.vault.key_file import _create

STARTED = {"people", "groups", "devices"}
SECOND_PAGE = r"GET /v1/people\?.*after="


async def on(url: str, statement: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statements)
    await connection.close()


def url_of(bench: Bench) -> str:
    return bench.parts.db._url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def empty_url(server: str) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"empty_{uuid4().hex[:12]}"
    asyncio.run(on(server, f"CREATE DATABASE {name}"))
    yield named(server, name)
    asyncio.run(on(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "all.zip"


async def restore(url: str, file: Path, ring: LocalKeyRing, **how: Any) -> Restored:
    """Restore by a process that has this ring."""
    db = Db(url, pool_size=2)
    try:
        return await restore_backup(parts_over(db, ring, MovableClock()), url, file, knows=ring.ids.__contains__, **how)
    finally:
        await db.close()


@asynccontextmanager
async def moved(bench: Bench, url: str, ring: LocalKeyRing) -> AsyncIterator[Bench]:
    """The same connection, over the database that its backup was restored into."""
    db = Db(url, pool_size=6)
    yield Bench(parts_over(db, ring, bench.clock), bench.clock, bench.sandbox, replace(bench.connection))
    await db.close()


async def told(bench: Bench) -> Counter[str]:
    """What the outbox holds."""
    async with bench.parts.db.work(bench.org) as work:
        return Counter(one.type for one in (await list_outbox(work, ALL)).items)


def moved_in(runs: dict[str, list[Any]]) -> Counter[str]:
    """What all runs wrote together, and how many of each operation came to which end."""
    counts = Counter(f"{name} {status}" for name, ended in runs.items() for status, _ in ended)
    for ended in runs.values():
        for _, wrote in ended:
            counts.update(wrote)
    return counts


async def work_to_the_end(bench: Bench) -> None:
    """Let an engine carry out what is due until no run is unfinished."""

    async def sync(hold: Any) -> None:
        await run_sync(bench.parts, hold)

    until = asyncio.Event()
    limits = EngineLimits(org_cap=1)  # one run after the other, as on the bench
    engine = asyncio.create_task(
        Engine(bench.parts.db, {"sync": sync}, clock=bench.clock, limits=limits).run(until=until)
    )
    while await bench.unfinished():
        await asyncio.sleep(0.05)
    until.set()
    await engine


async def test_what_was_under_way_goes_on_and_nothing_is_told_twice(
    bench: Bench, empty_url: str, ring: LocalKeyRing, file: Path
) -> None:
    """Of eleven runs some are done, one stands after its first page, and others are held by a worker that is no more."""
    bench.sandbox.spoil(SECOND_PAGE, times=None, status=503)
    holds = await bench.admit()
    operations = {one.id: one.operation for one in await bench.schedules()}
    for hold in holds:
        if operations[hold.schedule_id] in STARTED:
            await bench.carry_out(hold)
    async with bench.parts.db.work(bench.org) as work:
        assert await begin(work, next(one for one in holds if operations[one.schedule_id] == "policies"))
    bench.sandbox.heal()
    people = (await bench.runs("people"))[0]
    assert people.checkpoint is not None
    assert (await bench.runs("groups"))[0].status == "succeeded"
    assert sum(one.held_by is not None for one in await bench.schedules()) == len(holds) - 3

    await create_backup(bench.parts, bench.org, file)
    done = await restore(empty_url, file, ring)
    assert done.runs == len(holds) - 3
    async with moved(bench, empty_url, ring) as copy:
        before = await told(copy)
        assert before == await told(bench) != Counter()
        assert (await copy.run(people.id)).checkpoint == people.checkpoint
        for hold in holds:
            if operations[hold.schedule_id] not in STARTED:
                await bench.carry_out(hold)
        await bench.drain()
        copy.clock.move_to(max(one.next_run_at for one in await copy.schedules() if one.next_run_at and one.run_id))
        await work_to_the_end(copy)
        there, here = await take_snapshot(copy), await take_snapshot(bench)
        assert moved_in(there.pop("runs")) == moved_in(here.pop("runs")), "whichever run it was that saw a pair last"
        assert there == here
        assert await told(copy) == await told(bench)
        assert {one.id for one in await copy.runs()} == {one.id for one in await bench.runs()}, (
            "the runs that were begun went on"
        )


async def test_every_credential_opens_again_and_the_log_verifies_against_checkpoints_kept_elsewhere(
    synced: Bench, empty_url: str, ring: LocalKeyRing, file: Path
) -> None:
    await sign_checkpoints(synced.parts)
    kept = read_checkpoints(await export_checkpoints(synced.parts, synced.org))
    made = await create_backup(synced.parts, synced.org, file)
    assert (noted := await last_backup(synced.parts, synced.org))
    assert noted.details == {"manifest": made.sha256, "rows": made.manifest.rows}
    await restore(empty_url, file, ring)
    async with moved(synced, empty_url, ring) as copy:
        found = await verify(copy.parts, copy.org, checkpoints=kept)
        assert (found.reason, found.checkpoints) == (None, len(kept))
        rows = await on(
            empty_url, "SELECT action, details ->> 'manifest' AS manifest FROM audit_entries ORDER BY seq DESC LIMIT 1"
        )
        assert dict(rows[0]) == {"action": "backup.restored", "manifest": made.sha256}
        runs = await copy.sync("groups")
        assert (runs["groups"].status, runs["groups"].changed, runs["groups"].created) == ("succeeded", 0, 0)


async def test_without_the_key_ring_nothing_secret_is_in_a_backup_nor_opens_out_of_it(
    synced: Bench, empty_url: str, ring: LocalKeyRing, file: Path
) -> None:
    canaries = [hatch("token"), hatch("other", after='/+&%\\"')]
    for version, canary in enumerate(canaries, start=50):
        place = Place(synced.org, synced.connection.id, "spare", version)
        sealed = await synced.parts.vault.seal(canary.value, place)
        await execute(
            url_of(synced),
            f"""INSERT INTO credentials (id, org_id, connection_id, slot, version, sealed, key_id, fingerprint, created_at, created_by)
                SELECT gen_random_uuid(), org_id, id, 'spare', {version}, '\\x{sealed.hex()}', '{key_id_of(sealed)}', '0', now(), 'test'
                  FROM connections""",
        )
    made = await create_backup(synced.parts, synced.org, file)
    assert made.manifest.keys == [ring.current_id]
    material = [Canary("key ring", one) for one in material_of(ring)]
    shown = texts_of(file)
    assert any(sealed.hex() in one for one in shown), "what is sealed is in it"
    assert not [seen for one in shown for seen in sightings(one, canaries + material)]

    other = LocalKeyRing.generate()
    with pytest.raises(KeyRingError, match=ring.current_id):
        await restore(empty_url, file, other)
    renamed = LocalKeyRing({ring.current_id: os.urandom(32)}, **{"current_id": ring.current_id} | singles_of(other))
    with pytest.raises(KeyRingError, match="not made under this key ring"):
        await restore(empty_url, file, renamed)
    with pytest.raises(KeyRingError, match="not made under this key ring"):
        await verify_backup(file, other.audit_key)
    assert await every_row(empty_url) == {}, "nothing was written"

    await restore(empty_url, file, with_new_key(ring))
    async with moved(synced, empty_url, ring) as copy, copy.parts.db.work(copy.org) as work:
        rows = (await work.connection.execute(select(credentials))).all()
    assert len(rows) == 3
    opened = []
    for row in rows:
        place = Place(synced.org, row.connection_id, row.slot, row.version, row.serial)
        opened.append(await Vault(ring).open(row.sealed.sealed, place))
        for stranger in (other, renamed):
            with pytest.raises(VaultError):
                await Vault(stranger).open(row.sealed.sealed, place)
    assert {one.value for one in canaries} < set(opened)


def texts_of(file: Path) -> list[str]:
    """What an archive holds, unpacked and as it is."""
    with zipfile.ZipFile(file) as archive:
        return [archive.read(name).decode() for name in archive.namelist()] + [file.read_bytes().decode("latin-1")]


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def is_there(file: Path) -> bool:
    return file.exists()


def points_in(log: Path) -> list[str]:
    return log.read_text().split()


def material_of(ring: LocalKeyRing) -> list[bytes]:
    return [*ring._keys.values(), *singles_of(ring).values()]


def singles_of(ring: LocalKeyRing) -> dict[str, bytes]:
    return ring._singles()


async def test_a_backup_is_one_moment_whatever_is_written_meanwhile(
    synced: Bench, empty_url: str, ring: LocalKeyRing, file: Path
) -> None:
    url = url_of(synced)
    before, changing = await every_row(url), list[asyncio.Task[None]]()
    change = "DELETE FROM finding_events; DELETE FROM findings; UPDATE organizations SET name = 'Other'"

    def told(*_: Any) -> None:
        if not changing:  # the first table is being written, the others are not
            changing.append(asyncio.create_task(execute(url, change)))

    await create_backup(synced.parts, synced.org, file, told=told)
    await changing[0]
    assert (await every_row(url))["findings"] == []
    await restore(empty_url, file, ring)
    after = await every_row(empty_url)
    for table in ("findings", "finding_events", "organizations", "entities", "evidence"):
        assert after[table] == before[table] != []


async def test_a_copy_beside_the_original_can_be_kept_from_running(
    synced: Bench, empty_url: str, ring: LocalKeyRing, file: Path
) -> None:
    await create_backup(synced.parts, synced.org, file)
    assert (await restore(empty_url, file, ring, paused=True)).paused == 1
    async with moved(synced, empty_url, ring) as copy:
        assert ((await copy.standing()).status, (await copy.standing()).status_message) == (
            "paused",
            "Paused by the restore of a backup",
        )
        assert not any(one.enabled for one in await copy.schedules())
        assert await copy.admit() == []


async def test_an_audit_log_that_was_altered_before_keeps_nothing_else_from_being_restored(
    synced: Bench, empty_url: str, ring: LocalKeyRing, file: Path
) -> None:
    other = await create_organization(synced.parts, slug="altered", name="Altered")
    await execute(url_of(synced), f"UPDATE audit_heads SET seal = 'x' WHERE org_id = '{to_uuid(other.id, 'org')}'")
    await create_backup(synced.parts, synced.org, file)
    assert (await restore(empty_url, file, ring)).unrecorded == ["altered"]
    async with moved(synced, empty_url, ring) as copy:
        assert (await verify(copy.parts, copy.org)).reason is None
        assert (await verify(copy.parts, other.id)).reason is not None
        assert await take_snapshot(copy) == await take_snapshot(synced)


# Refused


async def test_an_instance_that_is_not_empty_is_refused_and_left_as_it_is(
    synced: Bench, ring: LocalKeyRing, file: Path, fresh_database_url: str
) -> None:
    await create_backup(synced.parts, synced.org, file)
    await execute(fresh_database_url, "INSERT INTO organizations VALUES (gen_random_uuid(), 'acme', 'Acme', now())")
    before = await every_row(fresh_database_url)
    with pytest.raises(Conflict, match="not empty: there is something in organizations") as refused:
        await restore(fresh_database_url, file, ring)
    assert "another database" in refused.value.what_to_do
    assert await every_row(fresh_database_url) == before


async def test_a_backup_that_this_release_cannot_use_is_refused_before_anything_is_written(
    empty_url: str, ring: LocalKeyRing, file: Path, tmp_path: Path
) -> None:
    made = Manifest("2026-11-22T10:00:00Z", "9", "18", ["9999"], 1, [], [])
    with drafting(file) as draft:
        draft.seal(made, ring.audit_key)
    with pytest.raises(BackupError, match=r"newer Tieline \(revision 9999\)"):
        await restore(empty_url, file, ring)
    for table in ("sessions", "pgqueuer", "alembic_version", "pg_class", "nowhere", 'organizations" CASCADE; --'):
        with drafting(other := tmp_path / f"{uuid4().hex}.zip") as draft:
            with draft.part(table, ["id"]):
                pass
            draft.seal(replace(made, revisions=["0001"], parts=draft.parts), ring.audit_key)
        with pytest.raises(BackupError, match="not to be restored"):
            await restore(empty_url, other, ring)
    cut_short(file)
    with pytest.raises(BackupError, match="damaged"):
        await restore(empty_url, file, ring)
    assert await every_row(empty_url) == {}


async def test_rows_that_the_database_does_not_take_leave_it_as_it_was(
    empty_url: str, ring: LocalKeyRing, file: Path
) -> None:
    with drafting(file) as draft:
        with draft.part("organizations", ["id", "slug"]) as take:
            take(b"no-uuid\tacme\n")
        draft.seal(Manifest("2026-11-22T10:00:00Z", "1", "18", ["0001"], 1, [], draft.parts), ring.audit_key)
    with pytest.raises(BackupError, match="does not take the rows"):
        await restore(empty_url, file, ring)
    assert await every_row(empty_url) == {}


async def test_nothing_is_restored_into_a_database_at_work_nor_by_two_at_once(
    synced: Bench, empty_url: str, ring: LocalKeyRing, file: Path
) -> None:
    await create_backup(synced.parts, synced.org, file)
    await migrate(empty_url)
    db = Db(empty_url)
    async with db.system():
        with pytest.raises(Conflict, match="A Tieline is at work"):
            await restore(empty_url, file, ring)
    await db.close()
    outcomes = await asyncio.gather(*(restore(empty_url, file, ring) for _ in range(2)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["Conflict", "Restored"]


async def test_a_restore_that_is_interrupted_leaves_the_instance_as_it_was(
    synced: Bench, empty_url: str, ring: LocalKeyRing, file: Path
) -> None:
    await create_backup(synced.parts, synced.org, file)
    task: asyncio.Task[Restored] = asyncio.create_task(
        restore(empty_url, file, ring, told=lambda table, _: table == "findings" and task.cancel())
    )
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await every_row(empty_url) == {}
    assert (await restore(empty_url, file, ring)).manifest.rows > 1_000


# Killed


def start(act: Callable[..., Any], *given: Any, fault: str, killed: Path) -> BaseProcess:
    """A backup or a restore in a process of its own, which dies where `fault` says."""
    forking = get_context("forkserver")
    forking.set_forkserver_preload(
        ["tieline.flows.sync", "tieline.engine", "tieline.catalog", "tieline.stages.collect"]
    )
    process = forking.Process(target=act, args=(*given, fault, str(killed)), daemon=True)
    process.start()
    return process


def carry_out(url: str, keys: str, org_id: str | None, file: str, fault: str, killed: str) -> None:
    """Back up an organization's database, or restore if none is named."""
    os.environ |= {"TIELINE_FAULT": fault, "TIELINE_FAULT_LOG": killed}
    importlib.reload(faults)

    async def act() -> None:
        ring = load_or_create(Path(keys), may_create=False)
        db = Db(url, pool_size=2)
        parts = parts_over(db, ring, MovableClock())
        if org_id:
            await create_backup(parts, org_id, Path(file))
        else:
            await restore_backup(parts, url, Path(file), knows=ring.ids.__contains__)

    asyncio.run(act())


async def ended(process: BaseProcess) -> int | None:
    await asyncio.to_thread(process.join, 60)
    return process.exitcode


@pytest.fixture
def keys(tmp_path: Path, ring: LocalKeyRing, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of the key ring."""
    monkeypatch.setattr(LocalKeyRing, "generate", lambda: ring)
    _create(tmp_path / "keys.json")
    return str(tmp_path / "keys.json")


async def test_a_backup_that_is_killed_leaves_no_file_and_does_not_hinder_the_next(
    synced: Bench, keys: str, file: Path, tmp_path: Path
) -> None:
    url = url_of(synced)
    points = ["backup.table:1", "backup.table:9", "backup.sealed:1"]
    for point in points:
        process = start(carry_out, url, keys, synced.org, str(file), fault=point, killed=tmp_path / "killed")
        assert await ended(process) == -signal.SIGKILL
        assert not is_there(file)
    assert points_in(tmp_path / "killed") == [one.partition(":")[0] for one in points]
    assert await last_backup(synced.parts, synced.org) is None
    await create_backup(synced.parts, synced.org, file)
    assert (await verify_backup(file, synced.parts.keys.audit_key)).manifest.rows > 1_000


async def test_a_restore_that_is_killed_leaves_nothing_but_a_mark_beside_which_nothing_starts(
    synced: Bench, empty_url: str, keys: str, ring: LocalKeyRing, file: Path, tmp_path: Path
) -> None:
    await create_backup(synced.parts, synced.org, file)
    points = ["restore.marked:1", "restore.table:1", "restore.table:20", "restore.concluded:1"]
    for point in points:
        process = start(carry_out, empty_url, keys, None, str(file), fault=point, killed=tmp_path / "killed")
        assert await ended(process) == -signal.SIGKILL
        assert set(await every_row(empty_url)) == {"tieline_restoring"}
        with pytest.raises(DatabaseError, match="was cut short") as refused:
            await migrate(empty_url)
        assert "again" in refused.value.what_to_do
    assert points_in(tmp_path / "killed") == [one.partition(":")[0] for one in points]
    await restore(empty_url, file, ring)
    assert await migrate(empty_url) == []
    async with moved(synced, empty_url, ring) as copy:
        assert await take_snapshot(copy) == await take_snapshot(synced)
