"""`tieline controls`: each requirement of a framework, and where it stands."""

from __future__ import annotations

from datetime import datetime

import click

from tieline.cli.session import Command, Opened, opened
from tieline.cli.show import Columns, at, show_listing

_COLUMNS: Columns = [
    ("control", "id"),
    ("title", "title"),
    ("status", "status"),
    ("for", "supporting"),
    ("against", "contradicting"),
    ("unknown", "unknown"),
    ("last evidence", at("last_evidence_at")),
]


@click.command("controls", cls=Command)
@click.option("--framework", help="Only of this framework: soc2 or iso27001.")
@click.option(
    "--status",
    type=click.Choice(["supported", "contradicted", "mixed", "no-evidence"]),
    help="Only those that stand like this.",
)
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    help="As could be known at the end of this day, in UTC, from the evidence.",
)
@opened
async def command(here: Opened, framework: str | None, status: str | None, as_of: datetime | None) -> None:
    """Show each control and how many standing answers speak, or spoke, for and against it."""
    from tieline.flows.catalog_views import control_row
    from tieline.flows.controls import list_controls

    day = as_of.date() if as_of else None
    found = await list_controls(here.parts, here.org.id, framework=framework, status=status, as_of=day)
    show_listing({"items": [control_row(one) for one in found], "next": None}, _COLUMNS, json=here.session.json)
