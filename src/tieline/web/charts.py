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
_BROAD, _TALL = 960.0, 112.0


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


@dataclass(frozen=True)
class Layer:
    """What each column has of one kind; `look` is the kind's pattern, one of `LOOKS`, for colour alone would not tell."""

    label: str
    look: str
    counts: Sequence[int]


LOOKS = {
    "solid": "",
    "hatched": "M-1 1 1-1M0 6 6 0M5 7 7 5",
    "lined": "M0 3h6",
    "crossed": "M-1 1 1-1M0 6 6 0M5 7 7 5M-1 5 1 7M0 0 6 6M5-1 7 1",
    "dotted": "M1.5 1.5h.1M4.5 4.5h.1",
    "hollow": "",
}
"""Patterns of a 6 by 6 tile; the colours of each are in the style sheet."""


def columns(
    title: str, labels: Sequence[str], layers: Sequence[Layer], *, more: Sequence[tuple[str, Sequence[str]]] = ()
) -> Markup:
    """Columns of layers, the first at the bottom; the table behind has `more` columns, each a heading and its cells.

    The patterns have ids, so there can be one such chart on a page.
    """
    sums = [sum(layer.counts[place] for layer in layers) for place in range(len(labels))]
    most = max(sums, default=0) or 1
    drawn = [Markup('<line class="axis" x1="0" x2="{0}" y1="{1}" y2="{1}"/>').format(_BROAD, _TALL)]
    for place, label in enumerate(labels):
        drawn.append(_column(label, [(one, one.counts[place]) for one in layers], place, len(labels), most))
    shown = [one for one in layers if any(one.counts)]
    legend = _legend_of_looks([(one.look, f"{one.label.capitalize()}: {number(sum(one.counts))}") for one in shown])
    rows = [
        (label, *(number(one.counts[place]) for one in shown), *(cells[place] for _, cells in more))
        for place, label in enumerate(labels)
    ]
    headings = ("", *(one.label.capitalize() for one in shown), *(heading for heading, _ in more))
    svg = Markup(
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}"><defs>{}</defs>{}</svg>'
    ).format(_BROAD, _TALL, title, _patterns(), Markup("").join(drawn))
    peak = Markup('<p class="peak" aria-hidden="true">{}</p>').format(f"Most on a day: {number(most)}")
    return Markup(
        '<figure class="chart broad">{}{}<figcaption>{}{}<details><summary>As a table</summary>{}</details></figcaption></figure>'
    ).format(peak if any(sums) else "", svg, _labels(labels), legend, _table(title, headings, rows))


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


def _column(label: str, parts: Sequence[tuple[Layer, int]], place: int, of: int, most: int) -> Markup:
    """One column, which says what it is where the pointer rests; what there is little of is drawn high enough to be seen."""
    step = _BROAD / of
    x, y, width = place * step + step * 0.14, _TALL, step * 0.72
    drawn = []
    for layer, count in parts:
        if count:
            high = max(count / most * (_TALL - 6), 3.0)
            y -= high
            drawn.append(
                Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" fill="url(#look-{})"/>').format(
                    x, y, width, high, layer.look
                )
            )
    told = ", ".join(f"{number(count)} {layer.label.lower()}" for layer, count in parts if count)
    return Markup("<g><title>{}: {}</title>{}</g>").format(label, told or "none", Markup("").join(drawn))


def _patterns() -> Markup:
    tile = Markup(
        '<pattern id="look-{0}" class="look {0}" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<rect width="6" height="6"/><path d="{1}"/></pattern>'
    )
    return Markup("").join(tile.format(look, path) for look, path in LOOKS.items())


def _legend_of_looks(parts: Sequence[tuple[str, str]]) -> Markup:
    swatch = Markup(
        '<li><svg class="swatch" viewBox="0 0 12 12" aria-hidden="true"><rect width="12" height="12" rx="2" fill="url(#look-{})"/></svg>{}</li>'
    )
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(swatch.format(*one) for one in parts))


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
