"""Cookies: set so that scripts cannot read them, other sites' forms do not send them, and over https nobody else can."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import Response

from tieline.flows.parts import Parts


def keep(parts: Parts, answer: Response, name: str, value: str, *, seconds: int) -> None:
    """Set a cookie for so long."""
    answer.set_cookie(name, value, max_age=seconds, path="/", secure=is_secure(parts), httponly=True, samesite="lax")


def forget(parts: Parts, answer: Response, name: str) -> None:
    """Let the browser forget a cookie."""
    answer.delete_cookie(name, path="/", secure=is_secure(parts))


def is_secure(parts: Parts) -> bool:
    """Whether browsers come over https."""
    return urlsplit(parts.public_url).scheme == "https"
