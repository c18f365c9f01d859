"""The short set of all benchmarks that have goals, and the page that shows what they found.

    python benchmarks/all.py [--only sync admission] [--long] [--keep DIRECTORY]

It writes the tables between the markers in `docs/benchmarks.md` and the chart beside it. `--keep` keeps each report as JSON, and goes on
from those that are there, so that a benchmark that was run by itself (with `--json DIRECTORY/NAME.json`) counts as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from rig.report import DOCS, Report, draw, goal_table, read_report

HERE = Path(__file__).parent
PAGE = DOCS / "benchmarks.md"
CHART = DOCS / "benchmarks-sync.svg"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
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
    parser.add_argument("--keep", type=Path, help="keep the reports in this directory, and use those that are there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as fleeting:
        kept = asked.keep or Path(fleeting)
        kept.mkdir(exist_ok=True)
        for name in asked.only:
            _run(SETS[name][asked.long], kept / f"{name}.json")
        reports = {name: read_report(path) for name in SETS if (path := kept / f"{name}.json").exists()}
    write_page(reports)


def _run(command: Sequence[str], report: Path) -> None:
    script, *arguments = command
    print(f"\n— {' '.join(command)}", flush=True)
    began = time.monotonic()
    done = subprocess.run([sys.executable, str(HERE / script), *arguments, "--json", str(report)], check=False)
    print(f"({time.monotonic() - began:.0f} s" + (", failed)" if done.returncode else ")"), flush=True)


def write_page(reports: dict[str, Report]) -> None:
    """Put what was found between the markers of the page, and draw the first sync beside it."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n\n{_measured(reports)}\n\n{END}{tail}")
    if charts := [chart for one in reports.values() for chart in one.charts]:
        CHART.write_text(draw(charts[0]))


def _measured(reports: dict[str, Report]) -> str:
    goals = [goal for one in reports.values() for goal in one.goals]
    parts = [f"### Goals\n\nMeasured on {time.strftime('%d %B %Y')}.", _bare(goal_table(goals).markdown())]
    for name, one in reports.items():
        title = name.replace("-", " ").capitalize()
        tables = "\n\n".join(table.markdown() for table in one.tables)
        parts.append(f"### {title}\n\n{one.question} On {one.machine}.\n\n{tables}".rstrip())
    return "\n\n".join(parts)


def _bare(table: str) -> str:
    """Without its title, which the heading says."""
    return table.partition("\n\n")[2]


if __name__ == "__main__":
    main()
