"""Charts as SVG with a real table behind: the drawing is for the eye, the table says the same to everybody else.

Colour is never the only sign: what is doubled differs by place (above or below the line), what is stacked stands in the order of its
legend, whose keys have shapes of their own and say each count in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tieline.web.words import number

_WIDTH = 420.0
_HEIGHT = 96.0
_FEW = 10
_WIDEST = 28.0
_WHOLE = 200.0


@dataclass(frozen=True)
class Pair:
    """A day, say, with what went up and what went down on it."""

    label: str
    up: int
    down: int


@dataclass(frozen=True)
class Share:
    """One part of a whole; its tone is `good`, `warn`, `bad`, `wait` or `quiet`."""

    label: str
    count: int
    tone: str


def pairs(title: str, rows: Sequence[Pair], *, up: str, down: str) -> Markup:
    """Bars above and below a line, for two counts by day; `up` and `down` name them."""
    most = max((max(row.up, row.down) for row in rows), default=0) or 1
    half = _HEIGHT / 2
    drawn = [Markup('<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/>').format(_WIDTH, half, half)]
    for place, row in enumerate(rows):
        x, width = _slot(place, len(rows))
        high, low = row.up / most * (half - 3), row.down / most * (half - 3)
        drawn += [_rect(x, half - high - 1, width, high, "up"), _rect(x, half + 1, width, low, "down")]
    sums = (up, sum(row.up for row in rows), "up"), (down, sum(row.down for row in rows), "down")
    cells = [(row.label, number(row.up), number(row.down)) for row in rows]
    legend = _legend([(key, f"{name}: {number(count)}") for name, count, key in sums])
    labels = _labels([row.label for row in rows])
    return _figure(title, Markup("").join(drawn), labels + legend, _table(title, ("", up, down), cells))


def bars(title: str, rows: Sequence[tuple[str, int]], *, of: str, tone: str = "wait") -> Markup:
    """A strip of bars, one for each label; `of` names what is counted."""
    most = max((count for _, count in rows), default=0) or 1
    drawn = [Markup('<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/>').format(_WIDTH, _HEIGHT, _HEIGHT)]
    for place, (_, count) in enumerate(rows):
        x, width = _slot(place, len(rows))
        high = count / most * (_HEIGHT - 3)
        drawn.append(_rect(x, _HEIGHT - high, width, high, f"share {tone}"))
    cells = [(label, number(count)) for label, count in rows]
    labels = _labels([label for label, _ in rows])
    return _figure(title, Markup("").join(drawn), labels, _table(title, ("", of), cells))


def sparkline(title: str, values: Sequence[float]) -> Markup:
    """A small line without axes, beside a number that is told in words; it has no table of its own."""
    if len(values) < 2:
        return Markup("")
    low, span = min(values), (max(values) - min(values)) or 1
    step = 80 / (len(values) - 1)
    points = " ".join(f"{place * step:.1f},{22 - (value - low) / span * 20:.1f}" for place, value in enumerate(values))
    line = Markup('<polyline points="{}"/>').format(points)
    return Markup('<svg class="sparkline" viewBox="0 0 80 24" role="img" aria-label="{}">{}</svg>').format(title, line)


def stack(title: str, shares: Sequence[Share]) -> Markup:
    """A whole and its parts as one bar, in the order of the legend below, which says each count in words."""
    whole, drawn, x = sum(one.count for one in shares) or 1, [], 0.0
    for one in shares:
        width = one.count / whole * _WHOLE
        drawn.append(_rect(x, 0, width, 10, f"share {one.tone}"))
        x += width
    told = f"{title}: " + ", ".join(f"{one.label} {one.count}" for one in shares)
    legend = _legend([(one.tone, f"{one.label}: {number(one.count)}") for one in shares])
    return Markup(
        '<div class="stack"><svg viewBox="0 0 200 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>{}</div>'
    ).format(told, Markup("").join(drawn), legend)


def _slot(place: int, of: int) -> tuple[float, float]:
    """Where a bar begins and how wide it is."""
    step = _WIDTH / of
    width = min(step * 0.7, _WIDEST)
    return place * step + (step - width) / 2, width


def _rect(x: float, y: float, width: float, height: float, name: str) -> Markup:
    if height <= 0 or width <= 0:
        return Markup("")
    where = x, y, width, height
    return Markup('<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>').format(name, *where)


def _labels(labels: Sequence[str]) -> Markup:
    """The labels below the bars, for the eye alone: the table has them too. Of many only the first and the last."""
    shown = [one.partition(" ")[0] for one in labels] if len(labels) <= _FEW else [labels[0], labels[-1]]
    ticks = (Markup("<span>{}</span>").format(one) for one in shown)
    kind = "few" if len(labels) <= _FEW else "ends"
    return Markup('<div class="ticks {}" aria-hidden="true">{}</div>').format(kind, Markup("").join(ticks))


def _legend(parts: Sequence[tuple[str, str]]) -> Markup:
    keys = (Markup('<li><span class="key {}"></span>{}</li>').format(tone, told) for tone, told in parts)
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(keys))


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(one) for one in headings)
    body = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            first, Markup("").join(Markup('<td class="number">{}</td>').format(one) for one in rest)
        )
        for first, *rest in rows
    )
    lines = Markup("<thead><tr>{}</tr></thead><tbody>{}</tbody>").format(head, body)
    return Markup("<table><caption>{}</caption>{}</table>").format(title, lines)


def _figure(title: str, drawn: Markup, legend: Markup, table: Markup) -> Markup:
    return Markup(
        '<figure class="chart"><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
        "<figcaption>{}<details><summary>As a table</summary>{}</details></figcaption></figure>"
    ).format(_WIDTH, _HEIGHT, title, drawn, legend, table)
