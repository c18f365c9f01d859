"""Problems as pages: not found, not allowed, a form that was refused, and what went wrong on our side, with the request's number."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from tieline.api.problem import request_id
from tieline.errors import NotAllowed, TielineError
from tieline.flows.parts import Parts
from tieline.web.page import Visit

_BY_SLUG = {"form-refused": "This form has expired", "of-another-organization": "You are in another organization now"}
_TITLES = {
    403: "You may not do this",
    404: "Not found",
    405: "Not possible here",
    409: "Not possible now",
    410: "No longer there",
    413: "Too large",
    422: "That did not work",
}


def show_problem(request: Request, error: TielineError) -> Response:
    """The page of an error, with the navigation if it was known already who is signed in: nobody is looked up for it."""
    parts: Parts = request.app.state.parts
    visit: Visit = getattr(request.state, "page", None) or Visit(request, parts)
    failed = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    title = _BY_SLUG.get(error.slug) or _TITLES.get(error.status, "That did not work")
    return visit.show(
        "pages/problem.html",
        status=error.status,
        title="Something went wrong" if failed else title,
        message=error.message,
        advice=_advice(error),
        number=request_id(request.scope) if failed else None,
    )


def _advice(error: TielineError) -> str:
    return "Ask an owner or admin of your organization." if isinstance(error, NotAllowed) else error.what_to_do
