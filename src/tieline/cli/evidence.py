"""`tieline evidence`: statements for and against controls."""

from __future__ import annotations

from typing import Any

import click

from tieline.cli import exits
from tieline.cli.listing import page, paged
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing, show_row

_COLUMNS: Columns = [
    ("id", "id"),
    ("stance", "status"),
    ("statement", "statement"),
    ("controls", "controls"),
    ("observed", at("observed_at")),
    ("hash", lambda row: row["hash"][:12]),
]


@click.group("evidence", cls=NounGroup)
def command() -> None:
    """Statements for and against controls: dated, hashed, never changed."""


@command.command("list")
@click.option("--control", help="Only for this control: soc2:CC6.1.")
@click.option("--check", help="Only of this check.")
@click.option("--connection", help="Only from this connection.")
@click.option("--provider", help="Only from this provider.")
@click.option("--entity", help="Only about this entity.")
@click.option("--stance", type=click.Choice(["supports", "contradicts"]), help="Only for, or only against.")
@paged
@opened
async def list_(
    here: Opened,
    control: str | None,
    check: str | None,
    connection: str | None,
    provider: str | None,
    entity: str | None,
    stance: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List the statements, newest first."""
    from tieline.flows.views import evidence_row, listing
    from tieline.store.evidence import list_evidence

    wanted: dict[str, Any] = {"control": control, "check_id": check, "provider": provider, "stance": stance}
    async with here.work() as work:
        found = await list_evidence(work, page(limit, cursor), connection_id=connection, entity_id=entity, **wanted)
    show_listing(listing(found, evidence_row), _COLUMNS, json=here.session.json, none="There is no evidence yet.")


@command.command("show")
@click.argument("evidence")
@opened
async def show(here: Opened, evidence: str) -> None:
    """Show a statement with what is hashed and where it came from."""
    show_row(await _detail(here, evidence), json=here.session.json)


@command.command("verify")
@click.argument("evidence", required=False)
@click.option("--limit", type=click.IntRange(1, 5000), default=5000, show_default=True, help="How many, newest first.")
@opened
async def verify(here: Opened, evidence: str | None, limit: int) -> int:
    """Compute the hashes of one statement, or of the newest ones, anew and compare them."""
    from tieline.flows.views import evidence_detail
    from tieline.store.evidence import get_provenance, list_evidence

    if evidence:
        rows = [await _detail(here, evidence)]
    else:
        async with here.work() as work:
            found = (await list_evidence(work, page(limit, None))).items
            runs = {one.run_id for one in found}
            origins = {run: await get_provenance(work, run) for run in sorted(runs)}
        rows = [evidence_detail(one, origins[one.run_id]) for one in found]
    wrong = [row["id"] for row in rows if not all(row["verified"].values())]
    if here.session.json:
        show_json({"checked": len(rows), "altered": wrong})
    else:
        say(f"{len(rows):,} statements were checked; " + ("all match their hashes." if not wrong else "altered:"))
        for one in wrong:
            say(f"  {one}")
    return exits.FAILED if wrong else exits.FINE


@command.command("materialize")
@click.option("--connection", help="Only for this connection.")
@opened
async def materialize(here: Opened, connection: str | None) -> None:
    """Judge what is stored anew; where nothing changed, nothing is written."""
    from tieline.flows.materialize import materialize as act

    counts = await act(here.parts, here.org.id, connection_id=connection)
    if here.session.json:
        show_json(counts)
    else:
        say(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()))


async def _detail(here: Opened, evidence: str) -> dict[str, Any]:
    from tieline.flows.views import evidence_detail
    from tieline.store.evidence import get_evidence, get_provenance

    async with here.work() as work:
        found = await get_evidence(work, evidence)
        return evidence_detail(found, await get_provenance(work, found.run_id))
