"""The short set of all benchmarks that have goals, and the page that shows what they found.

    python benchmarks/all.py [--only sync admission] [--long] [--state busy]

Each report is kept as JSON in `benchmarks/reports`, apart by how the machine was: `quiet`, or `busy` with other work. The tables between the
markers in `docs/benchmarks.md` and the chart beside it are written from what is there, so a benchmark that was run by itself (with
`--json benchmarks/reports/quiet/NAME.json`) counts as well, and `--only` with no name writes the page alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from rig.report import DOCS, Goal, Report, Table, draw, read_report

HERE = Path(__file__).parent
KEPT = HERE / "reports"
STATES = ("quiet", "busy")
PAGE = DOCS / "benchmarks.md"
CHART = DOCS / "benchmarks-sync.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SPACE = "\n\n"
SETS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "sync": (("sync.py", "--records", "20000"), ("sync.py",)),
    "slow-provider": (
        ("sync.py", "--delay-ms", "100", "--records", "20000", "--rounds", "1", "--only", "tieline", "limit", "dlt"),
        ("sync.py", "--delay-ms", "100"),
    ),
    "short-pages": (
        ("sync.py", "--page", "100", "--records", "10000"),
        ("sync.py", "--page", "100"),
    ),
    "memory": (("sync.py", "--memory", "100000"), ("sync.py", "--memory", "1000000")),
    "connections": (("connections.py", "--connections", "100", "--rounds", "1"), ("connections.py",)),
    "growth": (
        ("growth.py", "--entities", "300000", "--records", "5000", "--rounds", "1"),
        ("growth.py", "--entities", "10000000"),
    ),
    "admission": (("admission.py", "--schedules", "1000", "100000", "--rounds", "50"), ("admission.py",)),
    "assess": (("assess.py",), ("assess.py",)),
    "vault": (("vault.py", "--rounds", "3"), ("vault.py",)),
    "start": (("start.py", "--rounds", "3"), ("start.py",)),
}
"""Each question with how it is asked in the short set, and in the long one."""


def main() -> None:
    """Run the set and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=sorted(SETS), default=list(SETS), help="ask these questions alone")
    parser.add_argument("--long", action="store_true", help="ask them at full size, which takes some hours")
    parser.add_argument("--state", choices=STATES, default=STATES[0], help="how the machine is meanwhile")
    asked = parser.parse_args()
    kept = KEPT / asked.state
    kept.mkdir(parents=True, exist_ok=True)
    for name in asked.only:
        _run(SETS[name][asked.long], kept / f"{name}.json")
    write_page({state: _read(KEPT / state) for state in STATES})


def _read(kept: Path) -> dict[str, Report]:
    return {name: read_report(path) for name in SETS if (path := kept / f"{name}.json").exists()}


def _run(command: Sequence[str], report: Path) -> None:
    script, *arguments = command
    print(f"\n— {' '.join(command)}", flush=True)
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(HERE / script), *arguments, "--json", str(report)], check=False)
    print(f"({time.monotonic() - began:.0f} s" + (", failed)" if done.returncode else ")"), flush=True)


def write_page(found: dict[str, dict[str, Report]]) -> None:
    """Put what was found between the markers of the page, and draw the first sync beside it."""
    newest = {name: one[name] for name in SETS for one in reversed(found.values()) if name in one}
    newest |= found[STATES[0]]
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    parts = [f"### Goals\n\n{_goals(found)}", *(_told(name, newest[name]) for name in SETS if name in newest)]
    PAGE.write_text(f"{head}{BEGIN}\n\n{SPACE.join(parts)}\n\n{END}{tail}")
    if charts := [chart for one in newest.values() for chart in one.charts]:
        CHART.write_text(draw(charts[0]))


def _goals(found: dict[str, dict[str, Report]]) -> str:
    """Every goal with what was reached in each state of the machine; what was missed stands in bold."""
    reached = {
        state: {goal.name: goal for report in reports.values() for goal in report.goals}
        for state, reports in found.items()
    }
    names = {name: one.asked for state in STATES for name, one in reached[state].items()}
    rows = [(name, asked, *(_cell(reached[state].get(name)) for state in STATES)) for name, asked in names.items()]
    return Table("", ("", "goal", *(f"{state} machine" for state in STATES)), rows).markdown()


def _cell(goal: Goal | None) -> str:
    if goal is None:
        return ""
    return goal.reached if goal.met else f"**{goal.reached}**"


def _told(name: str, one: Report) -> str:
    tables = SPACE.join(table.markdown() for table in one.tables)
    return f"### {name.replace('-', ' ').capitalize()}\n\n{one.question} On {one.machine}.\n\n{tables}".rstrip()


if __name__ == "__main__":
    main()
