"""`tieline evidence`: statements for and against controls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from tieline.cli import exits
from tieline.cli.listing import none_of, page, paged
from tieline.cli.moment import EARLIER
from tieline.cli.session import NounGroup, Opened, opened
from tieline.cli.show import Columns, at, say, show_json, show_listing, show_row, warn

F = TypeVar("F", bound=Callable[..., Any])

_COLUMNS: Columns = [
    ("id", "id"),
    ("stance", "status"),
    ("statement", "statement"),
    ("controls", "controls"),
    ("observed", at("observed_at")),
    ("hash", lambda row: row["hash"][:12]),
]


def _absent(_context: click.Context, _option: click.Parameter, out: Path) -> Path:
    if out.exists():
        raise click.BadParameter(f"{out} is there already; name another file.")
    return out


def filtered(command: F) -> F:
    """Add the options that say which statements are meant; the command gets them as `given`."""
    options = [
        click.option("--control", help="Only for this control: soc2:CC6.1."),
        click.option("--framework", help="Only for this framework: soc2 or iso27001."),
        click.option("--check", help="Only of this check."),
        click.option("--connection", help="Only from this connection."),
        click.option("--provider", help="Only from this provider."),
        click.option("--entity", help="Only about this entity."),
        click.option("--stance", type=click.Choice(["supports", "contradicts"]), help="Only for, or only against."),
        click.option("--before", type=EARLIER, help="Only what was observed before: a date, a time, or 30d for so long ago."),
        click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="Only what was observed by the end of this day, in UTC."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group("evidence", cls=NounGroup)
def command() -> None:
    """Statements for and against controls: dated, hashed, never changed."""


@command.command("list")
@filtered
@paged
@opened
async def list_(here: Opened, /, limit: int, cursor: str | None, **given: Any) -> None:
    """List the statements, newest first."""
    from tieline.flows.views import evidence_row, listing
    from tieline.store.evidence import list_evidence

    wanted, before = _wanted(given)
    async with here.work() as work:
        found = await list_evidence(work, page(limit, cursor), **wanted, before=before)
    none = none_of("There is no evidence yet.", *wanted.values(), before)
    show_listing(listing(found, evidence_row), _COLUMNS, json=here.session.json, none=none)


@command.command("pack")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_absent,
    required=True,
    help="The zip to write; it must not exist.",
)
@filtered
@opened
async def pack(here: Opened, /, out: Path, **given: Any) -> int:
    """Write statements to a zip that verifies offline, and verify it: at most 100,000, the newest."""
    from tieline.flows.pack_verifier import check

    unfinished = out.with_name(f"{out.name}.part")
    try:
        await _write_pack(here, unfinished, given)
        manifest, problems = check(unfinished)
        if not problems:
            unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    told = {name: manifest.get(name) for name in ("statements", "provenances", "complete", "sha256")}
    if here.session.json:
        show_json({"file": str(out), "wrong": problems, **told})
    elif problems:
        say("The pack does not verify, so it was not kept:")
        for one in problems:
            say(f"  {one}")
    else:
        say(f"{out} holds {told['statements']:,} statements and verifies. Its manifest has SHA-256 {told['sha256']}.")
        if not told["complete"]:
            warn("There were more than fit in it: these are the newest.")
    return exits.FAILED if problems else exits.FINE


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


async def _write_pack(here: Opened, file: Path, given: dict[str, Any]) -> None:
    from tieline.flows.pack import open_pack

    def told(count: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{count:,} statements")
            sys.stderr.flush()

    wanted, before = _wanted(given)
    parts = await open_pack(here.parts, here.org.id, wanted, before=before, told=told)
    with file.open("wb") as written:
        async for part in parts:
            written.write(part)
    if sys.stderr.isatty():
        warn("")


def _wanted(given: dict[str, Any]) -> tuple[dict[str, Any], datetime | None]:
    """The filters under the names of the columns, and until when."""
    from tieline.flows.controls import end_of

    if given["before"] and given["as_of"]:
        raise click.UsageError("Say --before or --as-of, not both.")
    before = end_of(given["as_of"].date()) if given["as_of"] else given["before"]
    names = {"check": "check_id", "connection": "connection_id", "entity": "entity_id"}
    wanted = {names.get(name, name): value for name, value in given.items() if name not in {"before", "as_of"}}
    return wanted, before


async def _detail(here: Opened, evidence: str) -> dict[str, Any]:
    from tieline.flows.views import evidence_detail
    from tieline.store.evidence import get_evidence, get_provenance

    async with here.work() as work:
        found = await get_evidence(work, evidence)
        return evidence_detail(found, await get_provenance(work, found.run_id))
