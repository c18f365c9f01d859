"""The cookie by which a browser is known while its person signs in at a provider. It is set and read at the top level alone."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from tieline.flows.parts import Parts
from tieline.flows.tickets import LIFETIME


def read_cookie(request: Request, parts: Parts) -> str | None:
    """What the browser has, if it was here before."""
    return request.cookies.get(_name(parts))


def keep_cookie(answer: Response, parts: Parts, browser: str) -> Response:
    """The answer with the cookie by which the browser is known when it comes back."""
    answer.set_cookie(
        _name(parts),
        browser,
        max_age=int(LIFETIME.total_seconds()),
        path="/",
        secure=_is_secure(parts),
        httponly=True,
        samesite="lax",
    )
    return answer


def _name(parts: Parts) -> str:
    """Over https a name that no other host, and no page without TLS, can set a cookie under (RFC 6265bis, `__Host-`)."""
    return "__Host-tieline-sign-in" if _is_secure(parts) else "tieline-sign-in"


def _is_secure(parts: Parts) -> bool:
    return urlsplit(parts.public_url).scheme == "https"
