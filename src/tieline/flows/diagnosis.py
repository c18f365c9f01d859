"""Diagnosis: what may be wrong with a Tieline that does start, looked at part by part, each with what to do about it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tieline.clock import Clock
from tieline.errors import VaultError
from tieline.flows.backup import last_backup
from tieline.flows.parts import Parts
from tieline.flows.rewrap import place_of
from tieline.store.admission import EngineCounts, count_silent, engine_counts, next_due
from tieline.store.db import SystemWork
from tieline.store.sealed import SealedRow, count_by_key, list_under, sealed_tables
from tieline.store.server import count_overdue, list_unguarded, look_at_server
from tieline.store.workers import Worker, list_workers

CLOCK_TOLERANCE = timedelta(seconds=5)
_LATE = timedelta(minutes=2)
_LONG = timedelta(minutes=15)
_OLD_BACKUP = timedelta(days=8)  # a weekly one may take its time
_GRACE = timedelta(hours=1)
_FEW = 10
"""Connections to the database that a process may open at once."""
_LITTLE, _NONE = 1 << 30, 100 << 20
"""Bytes of free space: 1 GiB, below which it is time, and 100 MiB, below which PostgreSQL may stop."""
_KEY_PATIENCE = 15.0  # seconds for a key service to answer
_START = "Start `tieline serve` or `tieline worker`."


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at, how it is (`ok`, `warning`, `error`), and what to do if it is not well."""

    subject: str
    status: str
    said: str
    advice: str = ""


async def examine_database(parts: Parts, *, where: str, machine: Clock) -> AsyncIterator[Diagnosis]:
    """The server, its clock against this machine's, and whether it keeps organizations apart."""
    async with parts.db.system() as work:
        asked = machine.now()
        server = await look_at_server(work)
        answered = machine.now()
        unguarded = await list_unguarded(work)
    said = f"PostgreSQL {server.version}, {where}, its tables are this release's"
    if server.connections_left < _FEW:
        said = f"only {server.connections_left} of {server.connections} connections are left"
        advice = "Raise max_connections of PostgreSQL, or run fewer processes."
        yield Diagnosis("database", "warning", said, advice)
    else:
        yield Diagnosis("database", "ok", f"{said}; {server.connections_left} connections are left")
    if unguarded:
        said = f"row-level security is not in force on {', '.join(unguarded[:5])}"
        advice = "Organizations are not kept apart there. Undo what was done to these tables, or restore a backup."
        yield Diagnosis("isolation", "error", said, advice)
    else:
        yield Diagnosis("isolation", "ok", "row-level security keeps organizations apart in every table")
    yield _compare_clocks(server.at, asked, answered)


def _compare_clocks(theirs: datetime, asked: datetime, answered: datetime) -> Diagnosis:
    """Theirs was read between two moments of ours, so the time of the question is no difference."""
    apart = max(asked - theirs, theirs - answered, timedelta())
    if apart <= CLOCK_TOLERANCE:
        return Diagnosis("clock", "ok", f"it is {answered:%Y-%m-%d %H:%M:%S} UTC, here and in the database")
    way = "ahead of" if theirs > answered else "behind"
    said = f"the database's is {apart.total_seconds():.0f} s {way} this machine's"
    advice = "Set both clocks by NTP: all processes go by the database's, and providers judge tokens by their own."
    return Diagnosis("clock", "warning", said, advice)


def examine_disk(folder: Path) -> Diagnosis:
    """The room where the data directory is."""
    usage = shutil.disk_usage(folder)
    said = f"{usage.free / (1 << 30):.1f} of {usage.total / (1 << 30):.0f} GiB are free at {folder}"
    status = "error" if usage.free < _NONE else "warning" if usage.free < _LITTLE else "ok"
    return Diagnosis("disk", status, said, "" if status == "ok" else "Make room, or move the data directory.")


async def examine_backups(parts: Parts, org_id: str) -> Diagnosis:
    """When the newest backup was made, as the log of the platform's own organization tells."""
    found = await last_backup(parts, org_id)
    if found is None:
        return Diagnosis("backup", "ok", "none was made by `tieline backup create` yet")
    days = (parts.clock.now() - found.at).days
    said = f"the newest is of {found.at:%Y-%m-%d %H:%M} UTC"
    if days < _OLD_BACKUP.days:
        return Diagnosis("backup", "ok", said)
    return Diagnosis("backup", "warning", f"{said}, {days} days ago", "See why `tieline backup create` is not run.")


async def examine_keys(parts: Parts) -> Diagnosis:
    """Whether each key that stored values need opens one of them; what that is, is dropped at once."""
    async with parts.db.system() as work:
        rows = {key_id: await _one_under(work, key_id) for key_id in sorted(await count_by_key(work))}
    for key_id, row in rows.items():
        if row is None:
            continue
        try:
            async with asyncio.timeout(_KEY_PATIENCE):
                await parts.vault.open(row.sealed.sealed, place_of(row))
        except (VaultError, TimeoutError):
            said = f"what is sealed under {key_id} does not open"
            advice = (
                "The key ring may be another's, the key service away or the row damaged: the log says in a word which."
            )
            return Diagnosis("keys", "error", said, advice)
    return Diagnosis("keys", "ok", f"{len(rows)} key(s) are in use, and each opens what it sealed")


async def _one_under(work: SystemWork, key_id: str) -> SealedRow | None:
    for each in sealed_tables():
        if rows := await list_under(work, each, key_id, limit=1):
            return rows[0]
    return None


async def examine_engine(parts: Parts, *, stale_after: timedelta) -> AsyncIterator[Diagnosis]:
    """What waits, what is held, and who is there to see to it."""
    now = parts.clock.now()
    async with parts.db.system() as work:
        counts, due = await engine_counts(work, now=now), await next_due(work)
        stuck, silent_since = await count_silent(work, before=now - stale_after)
        workers = await list_workers(work)
        overdue = await count_overdue(work, now=now, grace=_GRACE)
    alive = [one for one in workers if not one.is_silent(now)]
    yield _tell_queue(counts, due, alive, now)
    yield _tell_holds(counts, stuck, silent_since, alive)
    yield _tell_workers(workers, alive)
    if overdue:
        said = f"{overdue} row(s) are still there that should have been cleared away more than an hour ago"
        advice = "Look in the workers' log for `A chore failed`." if alive else f"{_START} Both do the upkeep."
        yield Diagnosis("upkeep", "warning", said, advice)
    else:
        yield Diagnosis("upkeep", "ok", "nothing is overdue")


def _tell_queue(counts: EngineCounts, due: datetime | None, alive: list[Worker], now: datetime) -> Diagnosis:
    waited = now - counts.oldest if counts.oldest else timedelta()
    said = f"{counts.waiting} run(s) wait since {counts.oldest:%Y-%m-%d %H:%M} UTC" if counts.oldest else ""
    if waited > _LATE and not alive and not counts.held:
        return Diagnosis("engine", "warning", f"{said} and nobody carries them out", _START)
    if waited > _LONG:
        advice = "Start another worker, raise TIELINE_WORKER_SLOTS, or see on the Engine page which organization is at its limit."
        return Diagnosis("engine", "warning", said, advice)
    planned = f"; the next is due {due:%Y-%m-%d %H:%M} UTC" if due and not counts.waiting else ""
    return Diagnosis("engine", "ok", f"{counts.held} run(s) under way, {counts.waiting} due{planned}")


def _tell_holds(counts: EngineCounts, stuck: int, since: datetime | None, alive: list[Worker]) -> Diagnosis:
    if stuck:
        said = f"{stuck} run(s) are with workers of which nothing is heard, since {since:%Y-%m-%d %H:%M:%S} UTC"
        restart = "Others take them over within a minute; if these stay, restart `tieline serve` or `tieline worker`."
        return Diagnosis("holds", "warning", said, restart if alive else f"{_START} It goes on with them.")
    if counts.held and not alive:
        return Diagnosis("holds", "warning", f"{counts.held} run(s) are with workers, of which none is heard", _START)
    return Diagnosis("holds", "ok", f"{counts.held} run(s) are with workers, and none has been silent for long")


def _tell_workers(workers: Sequence[Worker], alive: list[Worker]) -> Diagnosis:
    died = [one for one in workers if one not in alive]
    if died:
        names = ", ".join(sorted({one.host for one in died})[:3])
        said = f"{len(alive)} worker(s) are heard of; {len(died)} fell silent within the last hour, on {names}"
        return Diagnosis("workers", "warning", said, "If you did not stop them, look in their log for why they ended.")
    return Diagnosis("workers", "ok", f"{len(alive)} worker(s) are heard of")
