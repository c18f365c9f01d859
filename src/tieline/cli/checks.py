"""`tieline checks`: the rules, and how their answers stand."""

from __future__ import annotations

import click

from tieline.cli.session import Command, Opened, opened
from tieline.cli.show import Columns, show_listing

_COLUMNS: Columns = [
    ("check", "id"),
    ("kind", "kind"),
    ("severity", "severity"),
    ("title", "title"),
    ("pass", "answers.pass"),
    ("fail", "answers.fail"),
    ("unknown", "answers.unknown"),
]


@click.command("checks", cls=Command)
@click.option("--kind", help="Only those that judge this kind of entity.")
@opened
async def command(here: Opened, kind: str | None) -> None:
    """Show each check and how many entities pass, fail, or cannot be judged."""
    from tieline.flows.catalog_views import check_row
    from tieline.store.tallies import count_outcomes

    async with here.work() as work:
        counts = await count_outcomes(work)
    chosen = [one for one in here.parts.catalog.checks if kind in {None, one.kind}]
    rows = [check_row(one) | {"answers": _ANSWERS | counts.get(one.id, {})} for one in chosen]
    show_listing({"items": rows, "next": None}, _COLUMNS, json=here.session.json)


_ANSWERS = {"pass": 0, "fail": 0, "unknown": 0}
