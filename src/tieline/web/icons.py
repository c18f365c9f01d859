"""Icons: our own drawings on a 16 by 16 grid, put into the page as SVG so that they take the colour of the text around."""

from __future__ import annotations

from markupsafe import Markup

_PATHS = {
    "home": "M2.5 7.5 8 3l5.5 4.5M4 6.5V13h8V6.5M6.5 13V9.5h3V13",
    "catalogue": "M2.5 3h4.5v4.5H2.5zM9 3h4.5v4.5H9zM2.5 9.5h4.5V14H2.5zM11.25 9.5v4.5M9 11.75h4.5",
    "connections": "M2 8h3M11 8h3M5 8a3 3 0 0 1 3-3M8 11a3 3 0 0 0 3-3M8 5v1.5M8 9.5V11",
    "runs": "M3 8a5 5 0 0 1 9-3M13 8a5 5 0 0 1-9 3M12 2.5V5H9.5M4 13.5V11h2.5",
    "entities": "M8 2.5 13.5 5 8 7.5 2.5 5zM2.5 8 8 10.5 13.5 8M2.5 11 8 13.5l5.5-2.5",
    "findings": "M8 2.5 14 13H2zM8 6.5v3M8 11.3v.2",
    "controls": "M8 2 13 4v4c0 3-2 5-5 6-3-1-5-3-5-6V4zM5.8 8l1.6 1.6L10.5 6.5",
    "evidence": "M4 2h5.5L12.5 5v9H4zM9.5 2v3h3M6 8h4.5M6 10.5h4.5",
    "access": "M8 8.5A2.75 2.75 0 1 0 8 3a2.75 2.75 0 0 0 0 5.5M2.5 14c.5-2.7 2.6-4 5.5-4s5 1.3 5.5 4",
    "audit": "M3 2.5h10v11H3zM5.5 5.5h5M5.5 8h5M5.5 10.5h2.5",
    "operator": "M2.5 3.5h11v3.5h-11zM2.5 9h11v3.5h-11zM5 5.2v.1M5 10.7v.1M7.5 5.25h3.5M7.5 10.75h3.5",
    "good": "M3 8.5 6.5 12 13 4.5",
    "bad": "M4 4l8 8M12 4l-8 8",
    "warn": "M8 3v6.5M8 12.4v.2",
    "wait": "M8 2.5A5.5 5.5 0 1 0 8 13.5 5.5 5.5 0 0 0 8 2.5M8 5v3l2 1.5",
    "quiet": "M4 8h8",
    "run": "M5 3.5v9l7-4.5z",
    "plus": "M8 3v10M3 8h10",
    "copy": "M5.5 5.5h7.5v8H5.5zM3 10.5V2.5h7.5",
    "out": "M6.5 3H3v10h3.5M7 8h7M11.5 5.5 14 8l-2.5 2.5",
    "next": "M6 3.5 10.5 8 6 12.5",
    "download": "M8 2.5v8M4.5 7.5 8 11l3.5-3.5M3 13.5h10",
    "code": "M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5",
    "menu": "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
    "theme": "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
    "search": "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9M10.3 10.3l3.2 3.2",
    "swap": "M3 5.5h9M9.5 3 12 5.5 9.5 8M13 10.5H4M6.5 8 4 10.5 6.5 13",
    "key": "M10 9.5A3.25 3.25 0 1 0 7.2 7.6L2.5 12.3v1.2h2.2v-1.7h1.7l1.7-2.7",
}
NAMES = frozenset(_PATHS)


def icon(name: str, title: str = "") -> Markup:
    """An icon; with a title it says something by itself, without one it only stands beside words that say it."""
    told = Markup('role="img" aria-label="{}"').format(title) if title else Markup('aria-hidden="true"')
    return Markup('<svg class="icon" viewBox="0 0 16 16" {}><path d="{}"/></svg>').format(told, _PATHS[name])


def mark(slug: str, name: str) -> Markup:
    """A provider's mark: its initials on one of eight tints, which its slug decides. No trademark is copied."""
    words = [one for one in name.replace("-", " ").split() if one[:1].isalnum()] or [slug]
    initials = (words[0][0] + words[1][0] if len(words) > 1 else words[0][:2]).upper()
    return Markup('<span class="mark tint-{}" aria-hidden="true">{}</span>').format(sum(slug.encode()) % 8, initials)
