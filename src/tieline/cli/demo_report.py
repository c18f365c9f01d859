"""What the demonstration tells: each step's heading, and what was found, as text and tables of at most 100 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tieline.cli.show import console, plain, styled

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tieline.flows.parts import Parts
    from tieline.store.connections import Connection
    from tieline.store.runs import Run

_WIDTH = 100
_SEVERITIES = ("critical", "high", "medium", "low", "info")
_TOP = 8


def _out() -> Console:
    out = console()
    out.width = min(out.width, _WIDTH)
    return out


def _table(*headings: str, right: Sequence[str] = ()) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def begin(url: str) -> None:
    """Say what is about to happen."""
    _out().print(f"An invented company, Larkfield Instruments, answers on {url}. Tieline has never seen it.")


def head(number: int, title: str) -> None:
    """The heading of a step."""
    out = _out()
    out.print()
    out.print(f"{number}. {title}", style="bold cyan")


def connected(connection: Connection) -> None:
    """Say what connecting did."""
    out = _out()
    out.print(f"The token was tried, then sealed. {plain(connection.account_name)} is connected as {connection.id}.")


def read(runs: Sequence[Run]) -> None:
    """Sum up the first reading."""
    seconds = _seconds(runs)
    records, pages = sum(run.records for run in runs), sum(run.pages for run in runs)
    rate = f", {records / seconds:,.0f} a second" if seconds else ""
    _out().print(f"{records:,} records on {pages:,} pages in {seconds:.1f} s{rate}; each page is one transaction.")


def read_again(runs: Sequence[Run]) -> None:
    """Sum up the second reading: what was written is what had changed."""
    records = sum(run.records for run in runs)
    counts = {name: sum(getattr(run, name) for run in runs) for name in ("created", "changed", "unchanged", "removed")}
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    _out().print(f"{records:,} records in {_seconds(runs):.1f} s: {told}. Only what changed was written.")


async def found(parts: Parts, org_id: str) -> None:
    """The entities by kind, the findings by severity, and the gravest checks with their fix."""
    from tieline.store.entity_counts import count_by_kind
    from tieline.store.findings import count_findings

    async with parts.db.work(org_id) as work:
        kinds = await count_by_kind(work)
        counts = await count_findings(work)
    out = _out()
    out.print(
        "Read: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items(), key=lambda one: -one[1]))
    )
    severities = [f"{counts['open', one]:,} {one}" for one in _SEVERITIES if counts.get(("open", one))]
    total = sum(count for (status, _), count in counts.items() if status == "open")
    out.print(f"Open findings: {total:,} ({', '.join(severities)})")
    out.print(_findings_table(parts, await _open_by_check(parts, org_id)))


async def _open_by_check(parts: Parts, org_id: str) -> dict[str, tuple[int, str]]:
    """For each failing check: how many open findings, and one subject as an example."""
    from tieline.store.findings import list_findings
    from tieline.store.listing import MAX_LIMIT, Paging

    found: dict[str, tuple[int, str]] = {}
    cursor: str | None = None
    async with parts.db.work(org_id) as work:
        while True:
            page = await list_findings(work, Paging(cursor, MAX_LIMIT), status="open")
            for one in page.items:
                count, _ = found.get(one.check_id, (0, ""))
                found[one.check_id] = (count + 1, one.subject)
            cursor = page.next
            if cursor is None:
                return found


def _findings_table(parts: Parts, found: dict[str, tuple[int, str]]) -> Table:
    def gravity(check_id: str) -> tuple[int, int]:
        return _SEVERITIES.index(parts.catalog.check(check_id).severity), -found[check_id][0]

    table = _table("severity", "open", "what does not hold (for example where), and the fix", right=["open"])
    for check_id in sorted(found, key=gravity)[:_TOP]:
        check, (count, example) = parts.catalog.check(check_id), found[check_id]
        table.add_row(styled(check.severity), f"{count:,}", f"✗ {check.title} ({plain(example)})\n→ {check.fix}")
    return table


async def evidence(parts: Parts, org_id: str) -> None:
    """How far each framework is covered, by family, and one statement in full."""
    from tieline.flows.controls import list_controls

    standings = await list_controls(parts, org_id)
    out = _out()
    for framework in ("soc2", "iso27001"):
        out.print(_coverage(framework, [one for one in standings if one.control.framework == framework]))
    out.print(
        "supported: all answers speak for it. mixed: some entities pass, some fail. The rest needs other sources."
    )
    await _one_statement(parts, org_id, out)


def _coverage(slug: str, standings: Sequence[Any]) -> Table:
    from tieline.catalog import load_frameworks

    framework = load_frameworks()[slug]
    headings = ("controls", "supported", "mixed", "contradicted", "answers for", "against")
    table = _table(framework.name, *headings, right=headings)
    covered = {one.control.family for one in standings if one.status != "no-evidence"}
    for family in framework.families:
        own = [one for one in standings if one.control.family == family.id]
        if family.id not in covered:
            continue
        states = Counter(one.status for one in own)
        table.add_row(
            plain(f"{family.id} {family.name}"),
            str(len(own)),
            *(_count(states[name]) for name in ("supported", "mixed", "contradicted")),
            _count(sum(one.supporting for one in own)),
            _count(sum(one.contradicting for one in own)),
        )
    return table


def _count(number: int) -> str:
    return f"{number:,}" if number else "·"


async def _one_statement(parts: Parts, org_id: str, out: Console) -> None:
    from tieline.cli.show import lines_of
    from tieline.flows.views import evidence_detail
    from tieline.store.evidence import get_provenance, list_evidence
    from tieline.store.listing import Paging

    async with parts.db.work(org_id) as work:
        items = (await list_evidence(work, Paging(limit=1), control="soc2:CC8.1")).items
        items = items or (await list_evidence(work, Paging(limit=1))).items
        if not items:
            return
        row = evidence_detail(items[0], await get_provenance(work, items[0].run_id))
    out.print()
    out.print("One statement in full; its hash is over `content`, which names the hash of where it came from:")
    shown = {name: row[name] for name in ("id", "content", "hash", "verified")}
    for line in lines_of(shown, "  "):
        out.print(line, overflow="fold")


def story(sentences: Sequence[str]) -> None:
    """What happened at the company."""
    out = _out()
    for sentence in sentences:
        out.print(f"  · {plain(sentence)}")


async def moved(parts: Parts, org_id: str, runs: Sequence[Run]) -> None:
    """The findings that opened and resolved in these runs."""
    from tieline.store.findings import list_findings
    from tieline.store.listing import MAX_LIMIT, Paging

    since = min(run.created_at for run in runs)
    async with parts.db.work(org_id) as work:
        resolved = (await list_findings(work, Paging(limit=MAX_LIMIT), status="resolved")).items
        opened = (await list_findings(work, Paging(limit=MAX_LIMIT), status="open")).items
    table = _table("", "severity", "check", "about")
    for what, items in (("opened", opened), ("resolved", resolved)):
        for one in items:
            if one.changed_at >= since:
                table.add_row(what, styled(one.severity), plain(one.title), plain(one.subject))
    out = _out()
    out.print(table if table.row_count else "No finding moved.")


def done(seconds: float) -> None:
    """How long it took."""
    _out().print(
        f"\nThat took {seconds:.0f} s. Every page, finding and statement is in PostgreSQL, kept per organization."
    )


def say_goodbye(kept: Path | None) -> None:
    """How to look around, or how to keep what there was to look at."""
    out = _out()
    if kept is None:
        out.print("Nothing is kept. To look around: tieline demo --keep")
        return
    out.print("\nTo look around (the company itself has stopped, so a further sync finds nobody there):")
    out.print(f"  export TIELINE_DATA_DIR={kept}")
    out.print("  tieline findings --severity high; tieline controls --framework soc2; tieline evidence verify")
    out.print("  tieline serve   # the API on http://127.0.0.1:8000/v1, described on /docs")
    out.print("  tieline api-keys create")


def _seconds(runs: Sequence[Run]) -> float:
    """From the first beginning to the last end."""
    began = [run.started_at for run in runs if run.started_at]
    ended = [run.finished_at for run in runs if run.finished_at]
    return (max(ended) - min(began)).total_seconds() if began and ended else 0.0
