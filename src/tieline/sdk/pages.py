"""The one loop that reads a long list page by page, whichever way its provider cuts it, and notices one that would never end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import orjson

from tieline.errors import Unexpected
from tieline.sdk.http import JSON, RAISE, Answer, Http, Params
from tieline.sdk.paginators import CUTTABLE, PageRequest, Paginator
from tieline.sdk.unread import cut

_MOST_PAGES = 100_000
_MOST_REPEATS = 10  # a page that comes again at once may be chance: new items at the front of a list push the others on
_MOST_EMPTY = 1_000  # some providers filter after they have cut their list into pages


@dataclass(frozen=True)
class Page:
    """The items of one page (unread ones are JSON text), and the cursor of the page that follows (`None`: this was the last)."""

    items: list[JSON]
    next: JSON = None


async def walk(
    http: Http,
    path: str,
    *,
    paginator: Paginator,
    items: str | None = None,
    params: Params | None = None,
    json: JSON = None,
    headers: Mapping[str, str] | None = None,
    start: JSON = None,
    missing: Any = RAISE,
    unread: bool = False,
) -> AsyncIterator[Page]:
    """Read page after page from the cursor `start`; with `json` given, each request posts it with the page's parameters.

    A list that is not there (404) raises, gives the items in `missing`, or raises `missing` if that is an exception. Items are
    handed over `unread` if that is asked for and can be done.
    Raises `Unexpected` for a list that would never end.
    """
    cursor, course = start, Course(start)
    while True:
        page = paginator.request(cursor)
        absent = missing if cursor is None else RAISE  # a list that vanishes halfway is not empty
        answer = await _ask(http, path, page=page, params=params, json=json, headers=headers, missing=absent)
        if not isinstance(answer, Answer):
            yield Page(list(answer or ()))
            return
        apart = cut(answer.body, items) if unread and type(paginator) in CUTTABLE and answer.status != 204 else None
        found = apart.items if apart else paginator.read(answer, items)
        cursor = paginator.next(cursor, replace(answer, body=apart.rest) if apart else answer, found)
        if cursor is not None:
            if (link := paginator.request(cursor).url) is not None:
                cursor = http.link(path, link)
            if wrong := course.turn(found, cursor):
                raise answer.fail(Unexpected, f"{wrong} for {answer.asked}")
        yield Page(found, cursor)
        if cursor is None:
            return


class Course:
    """The course that a reading takes, from page to page; it notices one that would never end."""

    def __init__(self, start: JSON) -> None:
        self._seen = {_fingerprint(start)}
        self._before: Sequence[JSON] | None = None
        self._repeats = 0

    def turn(self, items: Sequence[JSON], cursor: JSON) -> str | None:
        """Take note of a page and the cursor that follows it; what the provider does wrong, if it does."""
        self._repeats = self._repeats + 1 if items == self._before else 0
        self._before = items
        if self._repeats >= (_MOST_REPEATS if items else _MOST_EMPTY):
            return "answered the same page again and again"
        if (fingerprint := _fingerprint(cursor)) in self._seen:
            return "repeated its cursor"
        self._seen.add(fingerprint)
        return f"has more than {_MOST_PAGES:,} pages" if len(self._seen) > _MOST_PAGES else None


async def _ask(
    http: Http,
    path: str,
    *,
    page: PageRequest,
    params: Params | None,
    json: JSON,
    headers: Mapping[str, str] | None,
    missing: Any,
) -> Any:
    if page.url is not None:
        return await http.request("GET", http.link(path, page.url), headers=headers, missing=missing)
    if page.json is not None:
        body = page.json
    elif json is not None:
        body = {**json, **page.params}
    else:
        query = [*(params.items() if isinstance(params, Mapping) else params or ()), *page.params.items()]
        return await http.request("GET", path, params=query, headers=headers, missing=missing)
    # Reading by POST changes nothing, so it may be repeated.
    return await http.request("POST", path, params=params, json=body, headers=headers, missing=missing, idempotent=True)


def _fingerprint(cursor: JSON) -> bytes:
    return blake2b(orjson.dumps(cursor, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
