"""Templating: Jinja2 with everything escaped, nothing undefined, and the few functions that all templates share."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from tieline.web import charts
from tieline.web.icons import icon, mark
from tieline.web.words import browser, counted, number, tone, when, word


def render(template: str, **context: Any) -> str:
    """A template of the console as text. It needs a `page`."""
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tieline.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {
        "icon": icon,
        "mark": mark,
        "tone": tone,
        "when": _when,
        "charts": charts,
        "counted": counted,
    }
    environment.filters |= {"word": word, "number": number, "browser": browser}
    return environment


@pass_context
def _when(context: Context, value: Any, missing: str = "never") -> Markup:
    """`when(row.created_at)`: the time as of the page's own clock."""
    return when(value, context["page"].now, missing)
