"""`tieline findings`: what is wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from tieline.cli.listing import page, paged
from tieline.cli.moment import LATER
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing, show_row

ACTOR = "cli"
"""Who the history says has muted a finding from here: whoever may open the data directory."""

_COLUMNS: Columns = [
    ("id", "id"),
    ("severity", "severity"),
    ("status", "status"),
    ("title", "title"),
    ("subject", "subject"),
    ("provider", "provider"),
    ("opened", at("opened_at")),
]


@click.group("findings", cls=NounGroup)
def command() -> None:
    """What is wrong."""


@command.command("list")
@click.option("--status", type=click.Choice(["open", "muted", "resolved"]), help="Only with this status.")
@click.option("--severity", type=click.Choice(["critical", "high", "medium", "low", "info"]), help="Only as severe.")
@click.option("--check", help="Only of this check.")
@click.option("--connection", help="Only of this connection.")
@click.option("--provider", help="Only of this provider.")
@click.option("--entity", help="Only about this entity.")
@paged
@opened
async def list_(
    here: Opened,
    status: str | None,
    severity: str | None,
    check: str | None,
    connection: str | None,
    provider: str | None,
    entity: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List the findings, newest first."""
    from tieline.flows.views import finding_row, listing
    from tieline.store.findings import list_findings

    wanted: dict[str, Any] = {"status": status, "severity": severity, "check_id": check, "provider": provider}
    async with here.work() as work:
        found = await list_findings(work, page(limit, cursor), connection_id=connection, entity_id=entity, **wanted)
    show_listing(listing(found, finding_row), _COLUMNS, json=here.session.json, none="There are no findings.")


@command.command("show")
@click.argument("finding")
@opened
async def show(here: Opened, finding: str) -> None:
    """Show a finding, how to put it right, and its history."""
    from tieline.errors import NotFound
    from tieline.flows.views import finding_event_row, finding_row
    from tieline.store.findings import get_finding, list_events

    async with here.work() as work:
        found = await get_finding(work, finding)
        history = [finding_event_row(one) for one in await list_events(work, finding)]
    try:
        fix = here.parts.catalog.check(found.check_id).fix
    except NotFound:  # a check of an earlier release
        fix = None
    show_row(finding_row(found) | {"fix": fix, "history": history}, json=here.session.json)


@command.command("mute")
@click.argument("finding")
@click.option("--reason", required=True, help="Why; it is kept in the history.")
@click.option("--until", type=LATER, help="When it speaks again: a date, a time, or 30d. Without it, never.")
@opened
async def mute(here: Opened, finding: str, reason: str, until: datetime | None) -> None:
    """Silence an open finding."""
    from tieline.flows.mute import mute as act

    muted = await act(here.parts, here.org.id, finding, reason=reason, until=until, actor=ACTOR)
    _told(here, muted, f"Muted {f'until {until:%Y-%m-%d %H:%M} UTC' if until else 'for good'}")


@command.command("unmute")
@click.argument("finding")
@opened
async def unmute(here: Opened, finding: str) -> None:
    """Let a muted finding speak again."""
    from tieline.flows.mute import unmute as act

    _told(here, await act(here.parts, here.org.id, finding, actor=ACTOR), "Open again")


def _told(here: Opened, finding: Any, done: str) -> None:
    from tieline.flows.views import finding_row

    if here.session.json:
        show_json(finding_row(finding))
    else:
        say(f"{done}: {finding.title} ({finding.subject})")
