"""A person with a browser: follows redirects, keeps cookies, and fills in the forms of a sign-in until it leads back."""

from __future__ import annotations

import html
import re
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, OpenerDirector, build_opener

_FORM = re.compile(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', re.DOTALL)
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


def walk(url: str, *, login: str = "anna", decline: bool = False) -> dict[str, str]:
    """Sign in under this name and consent, or decline; the query with which another host is called at the end.

    Where a page has a form for each person, that of `login` is taken.
    """
    opener, host = build_opener(HTTPCookieProcessor(CookieJar()), _Stay()), urlsplit(url).netloc
    filled: dict[str, str] | None = None
    for _ in range(20):
        location, page = _open(opener, url, filled)
        filled = None
        if location:
            url = urljoin(url, location)
            if urlsplit(url).netloc != host:
                return dict(parse_qsl(urlsplit(url).query))
        elif decline and 'value="consent"' in page:
            url = f"{url}/abort"
        else:
            url, filled = _fill(url, page, login)
    raise AssertionError("the way through the provider does not end")


class _Stay(HTTPRedirectHandler):
    """Redirects are followed by hand, so that the one that leads back is seen."""

    def redirect_request(self, *_request: Any) -> None:
        return None


def _open(opener: OpenerDirector, url: str, form: dict[str, str] | None) -> tuple[str | None, str]:
    try:
        with opener.open(url, data=urlencode(form).encode() if form else None, timeout=30) as answer:
            return None, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.headers.get("location"), error.read().decode()


def _fill(url: str, page: str, login: str) -> tuple[str, dict[str, str]]:
    forms = _FORM.findall(page)
    if not forms:
        text = " ".join(re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())
        raise AssertionError(f"the provider shows neither a form nor a way on: {text[:300]}")
    action, inside = next((form for form in forms if login in form[1]), forms[0])
    fields = {name: html.unescape(value) for name, value in _HIDDEN.findall(inside)}
    if 'type="password"' in inside:
        fields |= {"login": login, "password": "any"}
    return urljoin(url, html.unescape(action)), fields
