"""`tieline doctor`: is all well, and if not, what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from tieline.cli import exits
from tieline.cli.session import Command, Session, current, run_async
from tieline.cli.show import plain, say, show_json
from tieline.errors import DatabaseError, KeyRingError, SetupError

if TYPE_CHECKING:
    from tieline.cli.session import Running

_LATE = timedelta(minutes=2)
_CLOCK_TOLERANCE = timedelta(seconds=5)


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at, how it is (`ok`, `warning`, `error`), and what to do if it is not well."""

    subject: str
    status: str
    said: str
    advice: str = ""


@click.command("doctor", cls=Command)
def command() -> None:
    """Look at the settings, the database, the key ring, the clock, the providers and the engine."""
    session = current()
    found = run_async(_examine(session))
    if session.json:
        show_json({"items": [asdict(one) for one in found], "next": None})
    else:
        for one in found:
            say(f"{one.status:<8} {one.subject:<10} {plain(one.said)}")
            if one.advice:
                say(f"{'':19} → {plain(one.advice)}")
    if any(one.status == "error" for one in found):
        click.get_current_context().exit(exits.SETUP)


async def _examine(session: Session) -> list[Diagnosis]:
    session.start_log("error")
    try:
        settings = session.read_settings()
    except SetupError as error:
        return [Diagnosis("settings", "error", error.message, error.what_to_do)]
    found = [Diagnosis("settings", "ok", f"the data directory is {settings.data_dir}")]
    try:
        async with session.open(settings) as tieline:
            return found + [one async for one in _look(tieline)]
    except SetupError as error:
        subject = {DatabaseError: "database", KeyRingError: "key ring"}.get(type(error), "start")
        return [*found, Diagnosis(subject, "error", error.message, error.what_to_do)]


async def _look(tieline: Running) -> AsyncIterator[Diagnosis]:
    async with tieline.parts.db.system() as work:
        driver = await work.driver()
        version, at = await driver.fetchrow("SELECT current_setting('server_version'), clock_timestamp()")
        now = tieline.parts.clock.now()
    where = "the operator's own" if tieline.settings.database_url else "embedded"
    yield Diagnosis("database", "ok", f"PostgreSQL {version}, {where}")
    ring = tieline.ring
    yield Diagnosis("key ring", "ok", f"{len(ring.ids)} key(s) in {tieline.settings.key_ring_path}; keep a copy of it")
    if abs(at - now) > _CLOCK_TOLERANCE:
        advice = "Set both clocks by NTP."
        yield Diagnosis("clock", "warning", f"the database's differs by {abs(at - now).total_seconds():.0f} s", advice)
    else:
        yield Diagnosis("clock", "ok", f"it is {now:%Y-%m-%d %H:%M:%S} UTC, here and in the database")
    yield _providers(tieline)
    yield await _engine(tieline)


def _providers(tieline: Running) -> Diagnosis:
    catalog = tieline.parts.catalog
    if catalog.broken:
        told = "; ".join(f"{name}: {why}" for name, why in catalog.broken.items())
        return Diagnosis("providers", "warning", f"cannot be loaded: {told}", "`tieline provider check` says more.")
    return Diagnosis("providers", "ok", f"{len(catalog.providers)} providers, {len(catalog.checks)} checks")


async def _engine(tieline: Running) -> Diagnosis:
    from tieline.store.admission import engine_counts, next_due

    now = tieline.parts.clock.now()
    async with tieline.parts.db.system() as work:
        counts, due = await engine_counts(work, now=now), await next_due(work)
    if counts.oldest and now - counts.oldest > _LATE and not counts.held:
        said = f"{counts.waiting} run(s) wait since {counts.oldest:%Y-%m-%d %H:%M} UTC and nobody carries them out"
        return Diagnosis("engine", "warning", said, "Start `tieline serve` or `tieline worker`.")
    planned = f"; the next is due {due:%Y-%m-%d %H:%M} UTC" if due and not counts.waiting else ""
    return Diagnosis("engine", "ok", f"{counts.held} run(s) under way, {counts.waiting} due{planned}")
