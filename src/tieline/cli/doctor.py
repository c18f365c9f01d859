"""`tieline doctor`: is all well, and if not, what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tieline.cli import exits
from tieline.cli.session import Command, Session, current, run_async
from tieline.cli.show import plain, say, show_json
from tieline.errors import DatabaseError, KeyRingError, SetupError

if TYPE_CHECKING:
    from tieline.cli.session import Running
    from tieline.flows.diagnosis import Diagnosis


@click.command("doctor", cls=Command)
@click.option("--offline", is_flag=True, help="Ask neither providers nor the public address.")
def command(offline: bool) -> None:
    """Look at the settings, the database, the keys, the clocks, the engine and the providers, and say what to do."""
    session = current()
    found = run_async(_examine(session, offline=offline))
    if session.json:
        show_json({"items": [asdict(one) for one in found], "next": None})
    else:
        for one in found:
            say(f"{one.status:<8} {one.subject:<10} {plain(one.said)}")
            if one.advice:
                say(f"{'':19} → {plain(one.advice)}")
    if any(one.status == "error" for one in found):
        click.get_current_context().exit(exits.SETUP)


async def _examine(session: Session, *, offline: bool) -> list[Diagnosis]:
    from tieline.flows.diagnosis import Diagnosis

    session.start_log("error")
    try:
        settings = session.read_settings()
    except SetupError as error:
        return [Diagnosis("settings", "error", error.message, error.what_to_do)]
    found = [Diagnosis("settings", "ok", f"the data directory is {settings.data_dir}")]
    try:
        async with session.open(settings) as tieline:
            return found + [one async for one in _look(tieline, offline=offline)]
    except SetupError as error:
        subject = {DatabaseError: "database", KeyRingError: "key ring"}.get(type(error), "start")
        return [*found, Diagnosis(subject, "error", error.message, error.what_to_do)]


async def _look(tieline: Running, *, offline: bool) -> AsyncIterator[Diagnosis]:
    from tieline.clock import SystemClock
    from tieline.flows import diagnosis
    from tieline.flows.reachability import examine_own_address, examine_providers

    parts, settings = tieline.parts, tieline.settings
    where = "the operator's own" if settings.database_url else "embedded"
    async for one in diagnosis.examine_database(parts, where=where, machine=SystemClock()):
        yield one
    yield diagnosis.examine_disk(settings.data_dir)
    said = f"{len(tieline.ring.ids)} key(s) in {settings.key_ring_path}; keep a copy of it"
    yield diagnosis.Diagnosis("key ring", "ok", said)
    yield await diagnosis.examine_keys(parts)
    yield await diagnosis.examine_backups(parts, tieline.organization.id)
    async for one in diagnosis.examine_engine(parts, stale_after=settings.stale_after):
        yield one
    yield _providers(tieline)
    if not offline:
        async for one in examine_providers(parts):
            yield one
        yield await examine_own_address(parts)


def _providers(tieline: Running) -> Diagnosis:
    from tieline.flows.diagnosis import Diagnosis

    catalog = tieline.parts.catalog
    if catalog.broken:
        told = "; ".join(f"{name}: {why}" for name, why in catalog.broken.items())
        return Diagnosis("providers", "warning", f"cannot be loaded: {told}", "`tieline provider check` says more.")
    return Diagnosis("providers", "ok", f"{len(catalog.providers)} providers, {len(catalog.checks)} checks")
