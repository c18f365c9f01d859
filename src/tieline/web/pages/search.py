"""Search: connections, entities, findings and all else by a few words, and the pages and actions that are called so.

Actions are links to the page where the button is: nothing is changed by going there. The command palette shows the same as options.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from tieline.access.roles import Role
from tieline.flows.search import LIMIT, Found, Kind, begins, search, words_of
from tieline.web.page import AnyPage, Page
from tieline.web.route import ConsoleRoute
from tieline.web.templating import render

router = APIRouter(route_class=ConsoleRoute)

_SYNC = "sync"
_ACTIONS: tuple[tuple[str, str, str, Role], ...] = (
    ("Export an evidence pack", "/evidence", "evidence", "auditor"),
    ("Invite a member", "/access", "access", "admin"),
    ("Create an API key", "/access/api-keys", "key", "admin"),
    ("Connect an account", "/catalogue", "plus", "admin"),
    ("Make a passkey", "/access/passkeys", "key", "auditor"),
    ("See failed runs", "/runs?status=failed", "runs", "auditor"),
    ("See connections that need a person", "/connections?status=needs_reconnect", "connections", "auditor"),
    ("Sign in to another organization", "/sign-in?another=yes", "swap", "auditor"),
    ("See settings in force", "/operator#settings", "operator", "operator"),
    ("Re-wrap stored secrets", "/operator#keys", "key", "operator"),
)
_KINDS: dict[Kind, tuple[str, str, str]] = {
    "connection": ("Connections", "connections", "/connections/"),
    "entity": ("Entities", "entities", "/entities/"),
    "finding": ("Findings", "findings", "/findings/"),
    "run": ("Runs", "runs", "/runs/"),
    "evidence": ("Evidence", "evidence", "/evidence/"),
    "check": ("Checks", "findings", "/findings?check_id="),
    "control": ("Controls", "controls", "/controls/"),
    "provider": ("Providers", "catalogue", "/catalogue/"),
}
"""By kind: the heading, the icon, and the address before the id."""


@dataclass(frozen=True)
class Hit:
    """A line of what was found."""

    name: str
    path: str
    icon: str
    about: str = ""


@dataclass(frozen=True)
class Group:
    """Lines of one kind."""

    title: str
    hits: Sequence[Hit]


@router.get("/search")
async def show_search(page: AnyPage) -> Response:
    """Show what holds the words; with `part` only that, as options of the palette."""
    asked = page.request.query_params.get("q", "").strip()
    words = words_of(asked)
    searched = await search(page.parts, page.org_id, [one for one in words if not _asks_to_sync(one)] or words)
    found = searched.found
    groups = [one for one in (_actions(page, words, found), _places(page, words), *_things(words, found)) if one.hits]
    count = sum(len(one.hits) for one in groups)
    if "part" in page.request.query_params:
        return HTMLResponse(render("parts/options.html", page=page, groups=groups, count=count))
    return page.show(
        "pages/search.html", title="Search", asked=asked, groups=groups, count=count, partly=searched.partly
    )


def _places(page: Page, words: Sequence[str]) -> Group:
    """The places of the navigation that are called so; all of them while nothing was asked."""
    return Group("Go to", [Hit(one.name, one.path, one.icon) for one in page.navigation if begins(words, one.name)])


def _actions(page: Page, words: Sequence[str], found: Sequence[Found]) -> Group:
    if not words:
        return Group("Actions", ())
    syncs = [
        Hit(f"Sync {one.name} now", f"/connections/{one.id}", "run", "on its page")
        for one in found
        if one.kind == "connection" and page.may("member")
    ]
    hits = [*syncs[: LIMIT if any(map(_asks_to_sync, words)) else 1], *_connects(page, words)]
    hits += [Hit(name, path, sign) for name, path, sign, role in _ACTIONS if page.may(role) and begins(words, name)]
    return Group("Actions", hits[: 2 * LIMIT])


def _connects(page: Page, words: Sequence[str]) -> Iterable[Hit]:
    if not page.may("admin"):
        return ()
    named = [one for one in page.parts.catalog.providers.values() if begins(words, f"Connect {one.name}")]
    return [Hit(f"Connect {one.name}", f"/connect/{one.slug}", "plus") for one in named[: LIMIT // 2]]


def _things(words: Sequence[str], found: Sequence[Found]) -> Iterable[Group]:
    """What was found, by kind. Who asks to sync means connections."""
    for kind, (title, sign, before) in _KINDS.items():
        if kind == "connection" or not any(map(_asks_to_sync, words)):
            hits = [Hit(one.name, f"{before}{one.id}", sign, one.about) for one in found if one.kind == kind]
            yield Group(title, hits)


def _asks_to_sync(word: str) -> bool:
    return len(word) > 2 and _SYNC.startswith(word)
