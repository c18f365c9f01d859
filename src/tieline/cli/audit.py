"""`tieline audit`: who did what, and whether the log of it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tieline.cli import exits
from tieline.cli.listing import page, paged
from tieline.cli.moment import EARLIER
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_line, show_listing

if TYPE_CHECKING:
    from tieline.flows.audit import Verdict
    from tieline.store.audit import Checkpoint
    from tieline.store.organizations import Organization

_COLUMNS: Columns = [
    ("seq", "seq"),
    ("at", at("at")),
    ("actor", "actor"),
    ("action", "action"),
    ("target", "target"),
    (
        "details",
        lambda row: ", ".join(f"{name}: {value}" for name, value in row["details"].items() if value is not None),
    ),
]


@click.group("audit", cls=NounGroup)
def command() -> None:
    """Who did what: a log that shows when somebody has touched it."""


@command.command("list")
@click.option("--actor", help="Only what this one did: an API key's id, cli:ACCOUNT, engine.")
@click.option("--action", help="Only this action: connection.created.")
@click.option("--target", help="Only what was done to this one: an id.")
@click.option("--since", type=EARLIER, help="Only since then: a date, a time, or 30d for the last 30 days.")
@paged
@opened
async def list_(
    here: Opened,
    actor: str | None,
    action: str | None,
    target: str | None,
    since: datetime | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List what was done, newest first."""
    from tieline.flows.audit import entry_row
    from tieline.flows.views import listing
    from tieline.store.audit import list_entries

    if cursor and not cursor.isdecimal():
        raise click.UsageError("--cursor takes the `next` of the page before, which is a number here")
    wanted = {"actor": actor, "action": action, "target": target}
    async with here.work() as work:
        found = await list_entries(work, page(limit, cursor), since=since, **wanted)
    show_listing(listing(found, entry_row), _COLUMNS, json=here.session.json, none="Nothing was done that is so.")


@command.command("verify")
@click.option("--all-organizations", is_flag=True, help="Verify the log of each organization.")
@click.option(
    "--checkpoint",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also against what `tieline audit checkpoints` wrote earlier, kept elsewhere.",
)
@opened
async def verify(here: Opened, all_organizations: bool, file: Path | None) -> int:
    """Verify that nothing was changed, removed, put in, moved or cut off; ends with 1 if something was."""
    from tieline.flows.audit import verify as act
    from tieline.store.organizations import list_organizations

    exported = _read(file) if file else None
    chosen = [here.org]
    if all_organizations:
        async with here.parts.db.system() as work:
            chosen = await list_organizations(work)
    if exported is not None and not {one.org_id for one in exported} & {one.id for one in chosen}:
        raise click.UsageError(
            f"{file} holds no checkpoint of {'any organization' if all_organizations else here.org.slug}"
        )
    verdicts = [(one, await act(here.parts, one.id, checkpoints=exported)) for one in chosen]
    if here.session.json:
        show_json({"items": [_row(*one) for one in verdicts], "next": None})
    else:
        for one in verdicts:
            say(_words(*one))
    return exits.FAILED if any(verdict.reason for _, verdict in verdicts) else exits.FINE


@command.command("export")
@opened
async def export(here: Opened) -> None:
    """Write all entries, oldest first, as JSON, one a line."""
    from tieline.flows.audit import export as act

    async for row in act(here.parts, here.org.id):
        show_line(row)


@command.command("checkpoints")
@opened
async def checkpoints(here: Opened) -> None:
    """Write the signed checkpoints and the public key that checks them, as JSON; keep it where Tieline cannot reach it."""
    from tieline.flows.audit import export_checkpoints

    show_json(await export_checkpoints(here.parts, here.org.id))


@command.command("prune")
@click.option("--before", type=EARLIER, required=True, help="A date, a time, or 365d for what is older than a year.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@opened
async def prune(here: Opened, before: datetime, yes: bool) -> None:
    """Take away old entries, up to the last checkpoint signed before a time; the rest stays verifiable."""
    from tieline.flows.audit import prune as act

    if not yes:
        click.confirm(f"Take away the entries from before {before:%Y-%m-%d %H:%M} UTC for good?", abort=True, err=True)
    count = await act(here.parts, here.org.id, before=before)
    if here.session.json:
        show_json({"entries": count})
    else:
        say(f"{count:,} entries were taken away.")


def _read(file: Path) -> Sequence[Checkpoint]:
    import json

    from tieline.flows.audit import read_checkpoints

    try:
        return read_checkpoints(json.loads(file.read_bytes()))
    except ValueError:
        raise click.UsageError(f"{file} is not JSON") from None


def _row(organization: Organization, verdict: Verdict) -> dict[str, Any]:
    return {"id": organization.id, "slug": organization.slug, "whole": verdict.reason is None} | vars(verdict)


def _words(organization: Organization, verdict: Verdict) -> str:
    counted = f"{verdict.entries:,} entries and {verdict.checkpoints:,} checkpoints"
    if verdict.reason is None:
        return f"{organization.slug}: {counted}, all as they were written."
    return f"{organization.slug}: not to be relied on from entry {verdict.first_bad_seq} on. {verdict.reason}."
