"""The timeline of a run: two lanes over its time, reading above and storing below, with every wait hatched; and the same in numbers.

What waits has its own pattern and stands in words below, so that colour is never the only sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

from tieline.store.run_spans import Span
from tieline.store.runs import Run
from tieline.web.words import counted, number

_WIDTH = 1000.0
_LEAST = 2.0  # so that a short page beside a long wait is still seen
_LANE = 18
_TOPS = {"read": 1, "store": 23}
_WAITS = {
    "rate-limited": "Waited for the rate limit, at rest",
    "provider-unavailable": "Waited for the provider to come back",
    "stopped": "Paused",
    "brake": "Held until a person released it",
}
_HATCH = Markup(
    '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="hatch-ground" width="7" height="7"/><path class="hatch-line" d="M0 0v7"/></pattern></defs>'
)


@dataclass(frozen=True)
class Bar:
    """A stretch of a lane. `look` is `reading`, `storing`, `closing` or `waiting`."""

    lane: str
    look: str
    begun: datetime
    ended: datetime
    told: str


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    name: str
    after: str
    read: str
    limited: str
    retried: str
    stored: str


@dataclass(frozen=True)
class Timeline:
    """How a run's time went, drawn and in numbers; `sums` are (look, label, how long) of all that took any time."""

    drawn: Markup
    ends: tuple[str, str]
    sums: Sequence[tuple[str, str, str]]
    lines: Sequence[Line]


def draw(run: Run, spans: Sequence[Span], now: datetime) -> Timeline:
    """The timeline of a run from when it was asked for until it ended, or goes on, or now."""
    bars = [*_around(run, spans, now), *(bar for one in spans for bar in _bars_of(one, run, now))]
    begun = run.created_at
    ended = max([run.finished_at or now, *(one.ended for one in bars)])
    sums = _sums(spans, bars)
    label = "How the time went. " + ", ".join(f"{name}: {told}" for _, name, told in sums)
    drawn = Markup("").join(_rect(one, begun, ended) for one in bars)
    svg = Markup('<svg viewBox="0 0 {} 42" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>')
    lines = [_line(one, begun) for one in spans]
    return Timeline(svg.format(_WIDTH, label, _HATCH, drawn), ("0 s", told(ended - begun)), sums, lines)


def told(time: timedelta) -> str:
    """How long, in words: "0.4 s", "2 min 5 s", "3 hours 4 min"."""
    seconds = max(time.total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{counted(minutes // 60, 'hour')} {minutes % 60} min"


def _around(run: Run, spans: Sequence[Span], now: datetime) -> Iterable[Bar]:
    """What is before the first page and after the last one."""
    first = run.started_at or run.finished_at or now
    yield Bar("read", "waiting", run.created_at, first, "Waited for a worker")
    pages = [one for one in spans if not one.cause]
    if run.checkpoint and run.checkpoint.get("collected") and pages:
        yield Bar("store", "closing", max(one.ended_at for one in pages), run.finished_at or now, "Closed what is gone")
    elif run.started_at and not pages and not any(one.cause for one in spans):
        yield Bar("read", "reading", run.started_at, run.finished_at or now, "Read")
    if run.resume_at and not run.finished_at:
        yield Bar("read", "waiting", now, run.resume_at, "Waits until it goes on")


def _bars_of(span: Span, run: Run, now: datetime) -> Iterable[Bar]:
    if span.cause:
        open_end = run.finished_at or (now if run.resume_at or run.status == "queued" else span.ended_at)
        ended = span.ended_at if span.ended_at > span.begun_at else open_end
        yield Bar("read", "waiting", span.begun_at, ended, _WAITS.get(span.cause, "Waited"))
        return
    name, at = _name(span), span.begun_at
    for look, ms, what in (
        ("waiting", span.limited_ms, "waited for the rate limit"),
        ("waiting", span.retried_ms, "waited before trying again"),
        ("reading", span.read_ms - span.limited_ms - span.retried_ms, "read"),
    ):
        until = at + timedelta(milliseconds=max(ms, 0))
        yield Bar("read", look, at, until, f"{name}: {what}")
        at = until
    load = timedelta(milliseconds=span.load_ms)
    yield Bar("store", "storing", span.ended_at - load, span.ended_at, f"{name}: stored")


def _sums(spans: Sequence[Span], bars: Iterable[Bar]) -> list[tuple[str, str, str]]:
    """What the time went to, the waits first by cause."""
    pages = [one for one in spans if not one.cause]
    limited, retried = sum(one.limited_ms for one in pages), sum(one.retried_ms for one in pages)
    sums = {
        ("reading", "Read"): timedelta(milliseconds=sum(one.read_ms for one in pages) - limited - retried),
        ("storing", "Stored"): timedelta(milliseconds=sum(one.load_ms for one in pages)),
    }
    for one in bars:
        if ":" not in one.told:
            key = one.look, one.told
            sums[key] = sums.get(key, timedelta()) + (one.ended - one.begun)
    sums[("waiting", "Waited for the rate limit")] = timedelta(milliseconds=limited)
    sums[("waiting", "Waited before trying again")] = timedelta(milliseconds=retried)
    return [(look, name, told(time)) for (look, name), time in sums.items() if time >= timedelta(milliseconds=1)]


def _line(span: Span, begun: datetime) -> Line:
    after = told(span.begun_at - begun)
    if span.cause:
        ended = told(span.ended_at - span.begun_at) if span.ended_at > span.begun_at else "until now"
        return Line(_WAITS.get(span.cause, "Waited"), after, ended, "–", "–", "–")
    times = (span.read_ms, span.limited_ms, span.retried_ms, span.load_ms)
    return Line(_name(span), after, *(told(timedelta(milliseconds=one)) if one else "–" for one in times))


def _name(span: Span) -> str:
    if span.pages > 1:
        return f"{number(span.pages)} pages from page {number(span.page)}"
    return f"Page {number(span.page)}"


def _rect(bar: Bar, begun: datetime, ended: datetime) -> Markup:
    whole = (ended - begun).total_seconds() or 1.0
    x = max((bar.begun - begun).total_seconds() / whole * _WIDTH, 0.0)
    width = (bar.ended - begun).total_seconds() / whole * _WIDTH - x
    if width <= 0:
        return Markup("")
    width = max(width, _LEAST)
    fill = Markup(' fill="url(#hatch)"') if bar.look == "waiting" else Markup("")
    return Markup(
        '<rect class="{}"{} x="{:.2f}" y="{}" width="{:.2f}" height="{}"><title>{}: {}</title></rect>'
    ).format(
        bar.look, fill, min(x, _WIDTH - width), _TOPS[bar.lane], width, _LANE, bar.told, told(bar.ended - bar.begun)
    )
