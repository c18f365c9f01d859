"""The routes of Connect: pages that belong to one session, and that only its own sites may frame.

No cookie is read or set on them, for in a frame there may be none. Every answer has the session's language, look and policy, also that which tells
what went wrong; where no session is known, nobody may frame it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from fastapi.routing import APIRoute
from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tieline.connect.words import Words, choose_locale, words_of
from tieline.flows.parts import Parts
from tieline.store.connect_sessions import ConnectSession
from tieline.web.files import address_of
from tieline.web.form import Form
from tieline.web.icons import icon, mark
from tieline.web.route import check_origin, tell_error

PACKAGE = "tieline.connect"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors {}"
)
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex",
}


@dataclass(frozen=True)
class Visit:
    """A visit to a session's pages; `ticket` is what the next form carries."""

    request: Request = field(repr=False)
    parts: Parts = field(repr=False)
    session: ConnectSession | None = None
    ticket: str = field(default="", repr=False)
    form: Form = field(default_factory=Form)
    locale: str | None = None

    @property
    def words(self) -> Words:
        """The texts: in the session's language, else the browser's."""
        chosen = self.session.locale if self.session else self.locale
        return words_of(chosen or choose_locale(self.request.headers.get("accept-language", "")))

    @property
    def origins(self) -> list[str]:
        """The sites that may frame the page and hear of what happens."""
        return list(self.session.origins) if self.session else []

    @property
    def framed(self) -> bool:
        """Whether the page is shown in a frame: as the browser says, else if it is meant to be."""
        told = self.request.headers.get("sec-fetch-dest")
        return told == "iframe" if told in {"iframe", "document"} else bool(self.origins)

    @property
    def theme(self) -> str:
        """`auto`, `light` or `dark`."""
        return self.session.theme if self.session else "auto"

    def at(self, path: str) -> str:
        """An address of Tieline, wherever it is mounted."""
        return f"{self.request.scope.get('root_path', '')}{path}"

    def file(self, name: str, package: str = PACKAGE) -> str:
        """The address of a static file."""
        folder = "/connect-static" if package == PACKAGE else "/static"
        return self.at(f"{folder}/{address_of(name, package)}")

    def now_at(self, session: ConnectSession, ticket: str | None = None) -> Visit:
        """The visit after a step."""
        return replace(self, session=session, ticket=self.ticket if ticket is None else ticket)

    def show(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """A page as the answer."""
        page = _environment().get_template(template).render(visit=self, t=self.words, session=self.session, **context)
        policy = POLICY.format(" ".join(self.origins) or "'none'")
        return HTMLResponse(page, status, {"Content-Security-Policy": policy, "Content-Language": self.words.locale})


class ConnectRoute(APIRoute):
    """A route whose errors are pages of the session."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with every error made a page."""
        handle = super().get_route_handler()

        async def handle_as_page(request: Request) -> Response:
            try:
                check_origin(request, hidden=True)  # its pages send no referrer; in any case the ticket tells
                answer = await handle(request)
            except Exception as error:  # noqa: BLE001  told as a page here, in full in the log
                answer = answer_error(request, error)
            for name, value in _HEADERS.items():
                answer.headers.setdefault(name, value)
            return answer

        return handle_as_page


def answer_error(request: Request, error: Exception) -> Response:
    """The page that tells why it does not go on."""
    told = tell_error(error)
    session: ConnectSession | None = getattr(request.state, "connect_session", None)
    visit = Visit(request, request.app.state.parts, session)
    return visit.show("over.html", status=told.status, slug=told.slug, step=None)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(PACKAGE), PrefixLoader({"web": PackageLoader("tieline.web")})]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {"icon": icon, "mark": mark}
    return environment
