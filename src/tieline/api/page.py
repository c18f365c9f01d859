"""The page for a person whom no other page waits for: a few words of plain HTML, without script, images or links elsewhere."""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from typing import Any

from starlette.responses import HTMLResponse, Response

from tieline.errors import TielineError

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 18px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 20vh auto; padding: 0 1.5rem; }
.quiet { color: #888; }
"""


def show_page(told: TielineError | str) -> Response:
    """What went wrong and what to do, with the error's status; or that all went well, and that the window may be closed."""
    if isinstance(told, TielineError):
        title, message, advice, status = "That did not work", told.message, told.what_to_do, told.status
    else:
        title, message, advice, status = "Done", told, "You can close this window.", HTTPStatus.OK
    return HTMLResponse(_render(title, message, advice), status, {"Content-Security-Policy": _POLICY})


def page_response(why: str) -> dict[str, Any]:
    """How such a page is told of in the OpenAPI document."""
    return {"description": why, "content": {"text/html": {"schema": {"type": "string"}}}}


def _render(title: str, message: str, advice: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<h1>{escape(title)}</h1><p>{escape(message)}</p><p class="quiet">{escape(advice)}</p></body></html>'
    )
