"""The index of an evidence pack: what each control has for and against it, as a page that any browser shows without a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC

from markupsafe import Markup

from tieline.catalog import find_control
from tieline.flows.sheet import cell, line
from tieline.store.evidence import Evidence

HEADINGS = ("id", "observed_at", "says", "statement", "controls", "check", "provider", "kind", "external_id", "hash")
"""The columns of `summary.csv`, one line for each statement."""
_SHOWN = 50
"""Statements that the page shows of each control, the newest; the summary has all."""


def summary_line(one: Evidence) -> bytes:
    """A statement as a line of `summary.csv`."""
    told = (
        one.id, one.observed_at.astimezone(UTC).isoformat(timespec="seconds"), one.stance, _words(one), " ".join(one.controls),
        one.check_id, one.provider, one.kind, one.external_id, one.hash.hex(),
    )  # fmt: skip
    return line([cell(value) for value in told]).encode()


@dataclass
class _Heard:
    """What was heard of one control: how often each, and the newest statements."""

    counts: Counter[str] = field(default_factory=Counter)
    newest: list[tuple[str, str, str, str]] = field(default_factory=list)


class Index:
    """What is heard of the controls while the statements go by, newest first; it keeps counts and a few of each."""

    def __init__(self, controls: Sequence[str] = ()) -> None:
        self._heard = {control: _Heard() for control in controls}

    def add(self, statements: Iterable[Evidence]) -> None:
        """Take statements into account."""
        for one in statements:
            for control in one.controls:
                heard = self._heard.setdefault(control, _Heard())
                heard.counts[one.stance] += 1
                if len(heard.newest) < _SHOWN:
                    day = f"{one.observed_at.astimezone(UTC):%Y-%m-%d %H:%M}"
                    heard.newest.append((one.id, day, one.stance, _words(one)))

    def page(self, about: Mapping[str, str]) -> bytes:
        """The page; `about` is what is told at its head, by name."""
        facts = Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(*one) for one in about.items())
        controls = sorted(self._heard.items(), key=lambda one: _in_order(one[0]))
        rows = Markup("").join(_row(control, heard) for control, heard in controls)
        sections = Markup("").join(_section(control, heard) for control, heard in controls if heard.newest)
        return str(_PAGE.format(facts=facts, rows=rows, sections=sections)).encode()


def _row(control: str, heard: _Heard) -> Markup:
    name = Markup('<a href="#{0}">{0}</a>').format(control) if heard.newest else Markup("{}").format(control)
    newest = heard.newest[0][1] if heard.newest else "no statement"
    told = Markup("<tr><th scope=row>{} {}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n")
    return told.format(name, _title(control), heard.counts["supports"], heard.counts["contradicts"], newest)


def _section(control: str, heard: _Heard) -> Markup:
    rows = Markup("").join(
        Markup('<tr><td>{}</td><td class="{}">{}</td><td>{}</td><td><code>{}</code></td></tr>\n').format(
            day, stance, "For" if stance == "supports" else "Against", words, row_id
        )
        for row_id, day, stance, words in heard.newest
    )
    rest = heard.counts.total() - len(heard.newest)
    more = Markup("<p>The newest {}; summary.csv has {} more.</p>").format(len(heard.newest), rest) if rest else ""
    asks = known.asks if (known := find_control(control)) else ""
    return Markup(
        '<section id="{0}"><h2>{0} {1}</h2><p>{2}</p>{3}<table><thead><tr><th scope=col>Observed (UTC)<th scope=col>Says'
        "<th scope=col>Statement<th scope=col>Id</tr></thead><tbody>{4}</tbody></table></section>\n"
    ).format(control, _title(control), asks, more, rows)


def _title(control: str) -> str:
    known = find_control(control)
    return known.title if known else ""


def _words(one: Evidence) -> str:
    return str(one.content.get("statement", ""))


def _in_order(control: str) -> list[tuple[int, str]]:
    """So that A.5.9 comes before A.5.10."""
    parts = control.replace(":", ".").split(".")
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


_PAGE = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Evidence pack</title><meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100%; margin: .5rem 0 2rem }}
th, td {{ text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #8886; font-weight: 400 }}
thead th {{ font-size: .85rem; opacity: .75 }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem }} dt {{ opacity: .75 }} dd {{ margin: 0 }}
code {{ font-size: .8rem; overflow-wrap: anywhere }} h2 {{ font-size: 1.1rem }} .contradicts {{ font-weight: 600 }}
</style></head><body>
<h1>Evidence pack</h1>
<dl>{facts}</dl>
<p>To verify it, unpack it and run <code>python3 verify.py</code> in its folder: it needs Python 3.9 or newer and no network.</p>
<table><caption>What is stated of each control</caption>
<thead><tr><th scope=col>Control<th scope=col>For<th scope=col>Against<th scope=col>Newest (UTC)</tr></thead><tbody>
{rows}</tbody></table>
{sections}</body></html>
""")
