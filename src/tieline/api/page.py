"""The pages for a person whom no other page waits for: a few words of plain HTML, without script and images.

A form that answered with a redirect to the provider would be held up where a policy names the targets of forms, since browsers check
the whole way on, also through the provider's own sign-in. So it answers with a page that leads on by itself, and has a link besides.
"""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from typing import Any

from starlette.responses import HTMLResponse, Response

from tieline.errors import TielineError
from tieline.flows.consent import Question

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action {}; frame-ancestors 'none'; base-uri 'none'"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 18px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 20vh auto; padding: 0 1.5rem; }
.quiet { color: #888; }
button { font: inherit; padding: .4rem 1rem; margin-right: .5rem; }
"""


def show_page(told: TielineError | str) -> Response:
    """What went wrong and what to do, with the error's status; or that all went well, and that the window may be closed."""
    if isinstance(told, TielineError):
        title, message, advice, status = "That did not work", told.message, told.what_to_do, told.status
    else:
        title, message, advice, status = "Done", told, "You can close this window.", HTTPStatus.OK
    return _page(title, _paragraph(message) + _paragraph(advice, quiet=True), status=status)


def ask_page(question: Question) -> HTMLResponse:
    """What is to be connected, to whom and for whom, with a button to go on and one to refuse."""
    name, scopes = question.provider, ", ".join(question.scopes)
    whose = f"The organization “{question.organization}” wants to read it. This was asked for by {question.asked_by}."
    body = [
        _paragraph(whose),
        _paragraph(f"It renews the connection “{question.renews}”.") if question.renews else "",
        _paragraph("What will be read:"),
        "<ul>" + "".join(f"<li>{escape(title)}</li>" for title in question.reads) + "</ul>",
        _paragraph(f"{name} will be asked for these permissions: {scopes}.") if scopes else "",
        f'<form method="post"><input type="hidden" name="consent" value="{escape(question.consent)}">',
        f'<button name="answer" value="continue">Continue to {escape(name)}</button>',
        '<button name="answer" value="decline">This was not me</button></form>',
        _paragraph("Continue only if you know who asked: they read the account until it is disconnected.", quiet=True),
    ]
    return _page(f"Connect your {name} account?", "".join(body), forms="'self'")


def onward_page(url: str) -> HTMLResponse:
    """A page that leads on to an address elsewhere."""
    address = escape(url)
    head = f'<meta http-equiv="refresh" content="0;url={address}">'
    return _page("On to the provider", f'<p><a href="{address}" rel="noreferrer">Continue</a></p>', head=head)


def page_response(why: str) -> dict[str, Any]:
    """How such a page is told of in the OpenAPI document."""
    return {"description": why, "content": {"text/html": {"schema": {"type": "string"}}}}


def _page(title: str, body: str, *, status: int = HTTPStatus.OK, head: str = "", forms: str = "'none'") -> HTMLResponse:
    """A page of a title and a body of HTML; `forms` is where its forms may lead."""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width">{head}<style>{_STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1>{body}</body></html>"
    )
    return HTMLResponse(text, status, {"Content-Security-Policy": _POLICY.format(forms)})


def _paragraph(text: str, *, quiet: bool = False) -> str:
    return f'<p class="quiet">{escape(text)}</p>' if quiet else f"<p>{escape(text)}</p>"
