"""Visits in a real browser: a page in a context of its own, over which a watch is kept.

A watch writes down whatever a page must never do: an error in a script, an error or a warning in the console (a violation of the
content security policy is one), a part that does not load, a request to any other place than it may go to.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, Response

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ADVICE = "no chromium here: install one (Debian: apt install chromium)"
OPTIONS = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--font-render-hinting=none",
]
"""How it is started: whatever a page asks for, nothing but the loopback is reached."""


def find_chromium() -> str | None:
    """The path of a chromium that is installed here."""
    return next((found for one in NAMES if (found := shutil.which(one))), None)


def options_here() -> list[str]:
    """`OPTIONS`, and that of whoever is root: chromium's sandbox is not for them."""
    root = os.name == "posix" and os.geteuid() == 0
    return OPTIONS + (["--no-sandbox"] if root else [])


@dataclass
class Watch:
    """What a context's pages did wrong, in the order in which they did it."""

    wrong: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def keep(self, context: BrowserContext) -> None:
        """Keep the watch over all pages of a context."""
        context.on("console", self._heard)
        context.on("weberror", lambda one: self.wrong.append(f"script error: {one.error}"))
        context.on("request", self._asked)
        context.on("response", self._answered)

    def forgive(self, part: str) -> None:
        """Take back what a test provoked itself; it must have happened."""
        assert any(part in one for one in self.wrong), (part, self.wrong)
        self.wrong = [one for one in self.wrong if part not in one]

    def _heard(self, message: ConsoleMessage) -> None:
        # That a page was answered with 404 or 422 is told in the console too; parts of pages are watched in `_answered`.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.wrong.append(f"console {message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        self.requests.append(request.url)
        if urlsplit(request.url).hostname not in {"localhost", "127.0.0.1", None}:
            self.wrong.append(f"asked for {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.wrong.append(f"{response.status} for {response.url}")


@dataclass(frozen=True)
class Visit:
    """A page, and the watch that is kept over it."""

    page: Page
    watch: Watch
