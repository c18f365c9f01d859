"""Backup: all that an installation knows in one file, and an empty installation made to know it.

A backup is taken while everything goes on. It never holds the key ring, without which nothing sealed in it can be read and it is not
restored: keep a copy of that apart. What serves once only (sessions, links, tickets) is left out, since it may have been used since.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from tieline import faults
from tieline.errors import AuditError, BackupError, KeyRingError
from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.flows.pauses import pause_within
from tieline.stages.archive import Archive, Draft, Manifest, drafting, open_archive
from tieline.stages.chain import moment
from tieline.store.audit import Entry, list_entries
from tieline.store.backup import Snapshot, kept_tables, take_snapshot
from tieline.store.connections import list_connections
from tieline.store.db import Work, within
from tieline.store.listing import MAX_LIMIT, Paging
from tieline.store.organizations import list_organizations
from tieline.store.restore import Restoring, restoring

Told = Callable[[str, int], None]
"""Hears of each table whose rows come or go: its name and how many rows there were since it last heard."""


@dataclass(frozen=True)
class Backup:
    """A backup that was made or looked at; `sha256` is its manifest's."""

    manifest: Manifest
    sha256: str


@dataclass(frozen=True)
class Restored:
    """What was restored: how many `runs` were under way and go on, and how many connections were paused.

    `unrecorded` are the slugs of organizations whose audit log had been altered before, so that it takes no entry.
    """

    manifest: Manifest
    runs: int
    paused: int
    unrecorded: list[str]


async def create_backup(parts: Parts, org_id: str, path: Path, *, told: Told | None = None) -> Backup:
    """Write all that is stored to a new file, and record it in one organization, the platform's own.

    A file that is there is whole: it gets its name last. Raises `Conflict` if the name is taken.
    """
    with drafting(path) as draft:
        async with take_snapshot(parts.db) as snapshot:
            manifest = await _write(parts, snapshot, draft, told or _silent)
        digest = draft.seal(manifest, parts.keys.audit_key)
        faults.passing("backup.sealed")
        async with parts.db.work(org_id) as work:
            await record(work, parts, "backup.created", org_id, manifest=digest, rows=manifest.rows)
    return Backup(manifest, digest)


async def verify_backup(path: Path, key: bytes | None, *, told: Told | None = None) -> Backup:
    """Read every byte of a backup and compare it with what was written, and under `key` also with who wrote it.

    Raises `BackupError`, and `KeyRingError` if it was not made under the key ring whose audit key this is.
    """
    with open_archive(path) as archive:
        if key is not None:
            _check_maker(archive, key)
        for part in archive.manifest.parts:
            async for chunk in archive.lines(part):
                (told or _silent)(part.table, chunk.count(b"\n"))
        return Backup(archive.manifest, archive.sha256)


async def restore_backup(
    parts: Parts,
    url: str,
    path: Path,
    *,
    knows: Callable[[str], bool],
    ready: Callable[[], None] | None = None,
    paused: bool = False,
    told: Told | None = None,
) -> Restored:
    """Fill the empty instance at a database's URL with a backup, wholly or not at all; what was due then is due in it.

    Nothing is written before file and keys are found to be right: `knows` tells whether there is a key of a name, and `ready` is called then.
    `paused` pauses every connection, for a copy beside an original that goes on. Raises `BackupError`, `KeyRingError` or `Conflict`.
    """
    with open_archive(path) as archive:
        manifest = archive.manifest
        if lost := [name for name in manifest.keys if not knows(name)]:
            raise KeyRingError(
                f"{len(lost)} key(s) are missing that values in the backup were sealed with: {', '.join(lost[:3])}",
                advice="Name the key ring's copy that was kept apart, from then or later: --key-ring FILE",
            )
        _check_maker(archive, parts.keys.audit_key)
        if ready:
            ready()
        async with restoring(url) as place:
            faults.passing("restore.marked")
            await _fill(place, archive, told or _silent)
            runs = await place.free_holds(parts.clock.now())
            count, unrecorded = await _conclude(place, parts, archive, paused=paused)
            faults.passing("restore.concluded")
    return Restored(manifest, runs, count, unrecorded)


async def last_backup(parts: Parts, org_id: str) -> Entry | None:
    """The newest backup, as the platform's own organization's audit log tells of it."""
    async with parts.db.work(org_id) as work:
        found = await list_entries(work, Paging(limit=1), action="backup.created", target=org_id)
    return found.items[0] if found.items else None


def name_backup(at: datetime) -> str:
    """The name of a backup made at a time, by which they sort."""
    return f"tieline-{at:%Y%m%dT%H%M%SZ}.zip"


async def _write(parts: Parts, snapshot: Snapshot, draft: Draft, told: Told) -> Manifest:
    made_at = moment(parts.clock.now())
    for table in kept_tables():
        columns = await snapshot.columns(table)
        with draft.part(table, columns) as write:

            def take(chunk: bytes, table: str = table, write: Callable[[bytes], None] = write) -> None:
                write(chunk)
                told(table, chunk.count(b"\n"))

            await snapshot.copy_out(table, columns, take)
        faults.passing("backup.table")
    return Manifest(
        made_at=made_at,
        tieline=version("tieline"),
        postgres=await snapshot.server(),
        revisions=await snapshot.revisions(),
        organizations=await snapshot.organizations(),
        keys=await snapshot.keys(),
        parts=draft.parts,
    )


async def _fill(place: Restoring, archive: Archive, told: Told) -> None:
    manifest = archive.manifest
    tables = [part.table for part in manifest.parts]
    await place.prepare(manifest.revisions, tables)
    for part in manifest.parts:
        async with aclosing(archive.lines(part)) as lines:
            rows = await place.fill(part.table, part.columns, lines)
        if rows != part.rows:
            raise BackupError(f"The backup is damaged: its table {part.table} has {rows} rows, not {part.rows}")
        told(part.table, rows)
        faults.passing("restore.table")
    await place.conclude(tables)


async def _conclude(place: Restoring, parts: Parts, archive: Archive, *, paused: bool) -> tuple[int, list[str]]:
    """Pause what is to be paused, and record the restore in every organization's audit log; how many connections, and where it takes none."""
    count, unrecorded = 0, list[str]()
    about = {"made_at": archive.manifest.made_at, "manifest": archive.sha256, "paused": paused}
    for organization in await list_organizations(await place.as_platform()):
        work = await within(await place.as_platform(), organization.id)
        count += await _pause_all(work, parts) if paused else 0
        try:
            async with work.connection.begin_nested():
                await record(work, parts, "backup.restored", organization.id, **about)
        except AuditError:  # altered before the backup; what else there is must come back all the same
            unrecorded.append(organization.slug)
    return count, unrecorded


async def _pause_all(work: Work, parts: Parts) -> int:
    count = 0
    cursor: str | None = None
    while True:
        found = await list_connections(work, Paging(cursor, MAX_LIMIT))
        for connection in found.items:
            if connection.status not in {"paused", "disconnected"}:
                await pause_within(work, parts, connection.id, message="Paused by the restore of a backup")
                count += 1
        cursor = found.next
        if cursor is None:
            return count


def _check_maker(archive: Archive, key: bytes) -> None:
    if not archive.was_made_under(key):
        raise KeyRingError(
            "The backup was not made under this key ring, or somebody has altered it",
            advice="Name the key ring's copy that was kept apart: --key-ring FILE",
        )


def _silent(_table: str, _rows: int) -> None:
    return
