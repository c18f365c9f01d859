"""How results are told: medians with their spread, tables, goals with what was reached, and a chart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from statistics import median
from typing import TypeVar

T = TypeVar("T")
_STYLE = (
    "<style>text{font:14px system-ui,sans-serif;fill:#1f2937}.h{font-weight:600}rect{fill:#94a3b8}.own{fill:#0f766e}"
    "@media(prefers-color-scheme:dark){text{fill:#e5e7eb}rect{fill:#64748b}.own{fill:#2dd4bf}}</style>"
)
DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Spread:
    """The median of some figures, with the least and the greatest."""

    middle: float
    least: float
    most: float

    def told(self, form: str = ".2f", unit: str = "") -> str:
        """As text, the spread in brackets where there is one."""
        if self.least == self.most:
            return f"{self.middle:{form}}{unit}"
        return f"{self.middle:{form}}{unit} ({self.least:{form}} … {self.most:{form}})"


@dataclass(frozen=True)
class Goal:
    """What was asked and what was reached; `met` is `None` where it could not be measured."""

    name: str
    asked: str
    reached: str
    met: bool | None


@dataclass(frozen=True)
class Table:
    """A titled table of text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def plain(self) -> str:
        """For a terminal."""
        widths = [max(len(row[place]) for row in (self.head, *self.rows)) for place in range(len(self.head))]
        lines = [
            row[0].ljust(widths[0])
            + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            for row in (self.head, *self.rows)
        ]
        return "\n".join([self.title, "", *lines])

    def markdown(self) -> str:
        """For a document."""
        lines = [f"| {' | '.join(row)} |" for row in (self.head, ["---"] * len(self.head), *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines] if self.title else lines)


@dataclass(frozen=True)
class Bars:
    """A bar chart: name and value of each bar, the longest first."""

    title: str
    unit: str
    bars: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Report:
    """All that one benchmark has to tell."""

    question: str
    machine: str
    goals: Sequence[Goal] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Bars] = field(default_factory=tuple)

    def tell(self, path: Path | None) -> None:
        """Print it, and keep it as JSON if a path is given."""
        print(f"\n{self.question}\nOn {self.machine}.")
        for table in (*self.tables, goal_table(self.goals)):
            if table.rows:
                print(f"\n{table.plain()}")
        if path:
            path.write_text(json.dumps(asdict(self), indent=1))


def read_report(path: Path) -> Report:
    """A report that was kept."""
    kept = json.loads(path.read_text())
    return Report(
        kept["question"],
        kept["machine"],
        [Goal(**one) for one in kept["goals"]],
        [Table(**one) for one in kept["tables"]],
        [Bars(**one) for one in kept["charts"]],
    )


def goal_table(goals: Sequence[Goal]) -> Table:
    """The goals with what was reached."""
    verdicts = {True: "yes", False: "**no**", None: "not measured"}
    return Table(
        "Goals",
        ("", "goal", "reached", "met"),
        [(one.name, one.asked, one.reached, verdicts[one.met]) for one in goals],
    )


def spread(figures: Sequence[float]) -> Spread:
    """Median, least and greatest."""
    return Spread(median(figures), min(figures), max(figures))


def ratio(these: Sequence[T], those: Sequence[T], figure: Callable[[T], float]) -> Spread:
    """This to that, round by round."""
    return spread([figure(this) / figure(that) for this, that in zip(these, those, strict=True)])


def at_least(name: str, found: Spread, bound: float, asked: str, *, unit: str = "×", form: str = ".2f") -> Goal:
    """A goal that the median must reach."""
    return Goal(name, asked, found.told(form, unit), found.middle >= bound)


def at_most(name: str, found: Spread, bound: float, asked: str, *, unit: str = "×", form: str = ".2f") -> Goal:
    """A goal that the median must not exceed."""
    return Goal(name, asked, found.told(form, unit), found.middle <= bound)


def draw(chart: Bars) -> str:
    """The chart as SVG, which follows the reader's choice of light or dark."""
    bars = sorted(chart.bars, key=lambda one: -one[1])
    longest, height = bars[0][1] or 1, 44 + 30 * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" role="img" aria-label="{escape(chart.title)}">',
        _STYLE,
        f'<text class="h" x="8" y="22">{escape(chart.title)}</text>',
    ]
    for place, (name, value) in enumerate(bars):
        top, width = 36 + 30 * place, max(360 * value / longest, 1)
        own = ' class="own"' if name.startswith("Tieline") else ""
        parts += [
            f'<text x="8" y="{top + 16}">{escape(name)}</text>',
            f'<rect{own} x="230" y="{top}" width="{width:.0f}" height="22" rx="3"/>',
            f'<text x="{238 + width:.0f}" y="{top + 16}">{value:,.0f} {escape(chart.unit)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
