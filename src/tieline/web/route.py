"""The console's routes: whatever happens within one is told as a page, and each answer carries the same strict headers.

The content security policy allows no inline script or style and nothing from elsewhere. A request that changes something must
come from a page of this very host (its `Sec-Fetch-Site`, else its `Origin`), before anything else about it is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tieline.api.problem import Absent, Failed, WrongMethod, invalid, on_http_error
from tieline.errors import NotAuthenticated, RequestError, TielineError
from tieline.store.db import explain

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SAFE = frozenset({"GET", "HEAD"})
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # with `no-referrer` browsers would say `Origin: null` of our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_log = logging.getLogger(__name__)


class FormRefused(RequestError):
    """A form was not sent by a page of this session: it is old, or another site sent it."""

    slug = "form-refused"
    status = 403
    advice = "Go back, reload the page, and send the form again."


class ConsoleRoute(APIRoute):
    """A route that answers with pages only."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with every error made a page."""
        handle = super().get_route_handler()

        async def handle_as_page(request: Request) -> Response:
            try:
                check_origin(request)
                answer = await handle(request)
            except Exception as error:  # noqa: BLE001  told as a page here, in full in the log
                answer = answer_error(request, error)
            return framed(_whole(request, answer))

        return handle_as_page


def framed(answer: Response) -> Response:
    """The answer with the console's headers."""
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


def check_origin(request: Request, *, hidden: bool = False) -> None:
    """Raises `FormRefused` for a change that a page of another site asks for.

    Of the forms of pages that send no referrer browsers say `Origin: null`: `hidden` lets those pass that do not tell their site besides.
    """
    if request.method in SAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        from_here = site in {"same-origin", "none"}
    else:
        unnamed = origin is None or (hidden and origin == "null")
        from_here = unnamed or urlsplit(origin).netloc == request.headers.get("host")
    if not from_here:
        raise FormRefused("This was not sent by a page of this Tieline")


def answer_error(request: Request, error: Exception) -> Response:
    """The page that tells of an error; who is not signed in is sent to sign in, and back afterwards."""
    told = tell_error(error)
    if isinstance(told, NotAuthenticated):
        return _to_sign_in(request)
    from tieline.web.pages.problems import show_problem

    return show_problem(request, told)


async def on_unrouted(request: Request, error: Exception) -> Response:
    """What no route takes: a page for a browser outside of the API, a problem for everybody else."""
    wants_page = "text/html" in request.headers.get("accept", "")
    if not wants_page or request.url.path.removeprefix(request.scope.get("root_path", "")).startswith("/v1"):
        return await on_http_error(request, error)
    answer = framed(answer_error(request, error))
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer


def _whole(request: Request, answer: Response) -> Response:
    """A page that script asked for to take a part of it, but that came out otherwise, is opened as a whole instead."""
    as_part = request.headers.get("hx-request") == "true" and request.method in SAFE
    if not as_part or answer.status_code == HTTPStatus.OK:
        return answer
    query = f"?{request.url.query}" if request.url.query else ""
    return Response(headers={"HX-Redirect": f"{request.url.path}{query}"})


def tell_error(error: Exception) -> TielineError:
    """The error as a page tells it; what is wrong on our side is logged, in full if nobody foresaw it."""
    match error:
        case TielineError():
            if error.status >= 500:
                _log.warning("A page failed", extra={"slug": error.slug, "reason": error.message})
            return error
        case RequestValidationError():
            return invalid(error)
        case HTTPException(status_code=405):
            return WrongMethod("This address does not take that", advice="Go back and use the page's own buttons.")
        case HTTPException():
            return Absent("There is no page at this address", advice="Check the address, or begin from Home.")
    if told := explain(error):
        _log.warning("A page failed", extra={"slug": told.slug, "reason": told.message})
        return told
    _log.error("A page failed", exc_info=error)
    return Failed("Something went wrong on our side", advice="Try again. If it stays, give the operator this number:")


def _to_sign_in(request: Request) -> Response:
    """To the sign-in page; back to where a GET was going, by path and query alone."""
    root = request.scope.get("root_path", "")
    path = request.url.path.removeprefix(root) + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(path, safe='/')}" if request.method in SAFE and path != "/" else ""
    return RedirectResponse(f"{root}/sign-in{back}", 303)
