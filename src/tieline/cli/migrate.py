"""`tieline migrate`: bring the database to the form that this release needs."""

from __future__ import annotations

import click

from tieline.cli.session import Command, Session, current, run_async
from tieline.cli.show import say, show_json


@click.command("migrate", cls=Command)
def command() -> None:
    """Apply what is missing; every start does so too, this does nothing else."""
    run_async(_migrate(current()))


async def _migrate(session: Session) -> None:
    from tieline.store.migrate import known_revisions

    session.start_log()
    async with session.open():  # opening migrates
        revisions = sorted(known_revisions())
    if session.json:
        show_json({"revisions": revisions})
    else:
        say(f"The database is at revision {revisions[-1]}, as this release needs it.")
