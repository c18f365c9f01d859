"""How providers cut long lists into pages, and the one loop that reads them.

A paginator is a frozen value. It says how the page at a cursor is asked for and which cursor follows; the cursor is small
JSON (a string, a number, an object) that can be stored as a checkpoint and gone on from later. `None` stands for the first
page when asked for and for the end when it follows.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol

import orjson

from tieline.errors import Forbidden, ProviderError, RateLimited, Unauthorised, Unexpected
from tieline.sdk.answers import read_json
from tieline.sdk.http import JSON, RAISE, Answer, Http, Params
from tieline.sdk.unread import cut

_MOST_PAGES = 100_000
_MOST_REPEATS = 10  # a page that comes again at once may be chance: new items at the front of a list push the others on
_MOST_EMPTY = 1_000  # some providers filter after they have cut their list into pages
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[\w!#$&+.^`|~*-]+(?:\s*=\s*(?:"[^"]*"|[^\s;,"]*))?)*)')
_LINK_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"([^"]*)"|([^\s;,"]*))')


@dataclass(frozen=True)
class PageRequest:
    """What is added to a request to get one page: parameters, or a URL that takes the place of all of them.

    `json`, if there is one, is posted.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    json: JSON = None


@dataclass(frozen=True)
class Page:
    """The items of one page (unread ones are JSON text), and the cursor of the page that follows (`None`: this was the last)."""

    items: list[JSON]
    next: JSON = None


class Paginator(Protocol):
    """A way to page. One whose cursor is a URL puts it into `PageRequest.url`, so that it is held to its host."""

    def request(self, cursor: JSON) -> PageRequest:
        """How to ask for the page at this cursor."""
        ...

    def read(self, answer: Answer, items: str | None) -> list[JSON]:
        """The items of a page; raises `Unexpected` if they are not where they should be."""
        ...

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:
        """The cursor that follows, or `None` at the end."""
        ...


class _Listed:
    """Reads the items from the JSON at a dotted name."""

    def read(self, answer: Answer, items: str | None) -> list[JSON]:
        """The list at a dotted name, or the whole body; a name that ends in `?` may be absent or null when it is empty."""
        if items is None:
            found, optional = answer.json, False
        else:
            optional = items.endswith("?")
            found = dig(answer.json, items.removesuffix("?"))
        if found is None and optional and isinstance(answer.json, dict):
            return []
        if not isinstance(found, list):
            where = f"no list at {items!r}" if items else "something else than a list"
            raise answer.fail(Unexpected, f"answered {where} to {answer.asked}")
        return found


@dataclass(frozen=True)
class SinglePage(_Listed):
    """A list that comes whole."""

    def request(self, cursor: JSON) -> PageRequest:  # noqa: ARG002
        """Ask as it is."""
        return PageRequest()

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:  # noqa: ARG002
        """There is no other page."""
        return None


@dataclass(frozen=True)
class LinkHeader(_Listed):
    """A `Link` header with `rel="next"` (RFC 8288), as GitHub and Okta send it; the cursor is that URL.

    A link with `results="false"` leads to an empty page (Sentry) and counts as none.
    """

    size_param: str | None = "per_page"
    size: int = 100

    def request(self, cursor: JSON) -> PageRequest:
        """Ask for the size, then follow the link, which repeats it."""
        return PageRequest(_given(**{self.size_param or "": self.size}) if cursor is None else {}, url=cursor)

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:  # noqa: ARG002
        """The target of the next link."""
        for url, parameters in _LINK.findall(answer.headers.get("link", "")):
            named = {name.lower(): quoted or bare for name, quoted, bare in _LINK_PARAMETER.findall(parameters)}
            if "next" in named.get("rel", "").lower().split() and named.get("results") != "false":
                return url or None
        return None


@dataclass(frozen=True)
class Cursor(_Listed):
    """An opaque cursor in the answer (`at`), or a field of the last item (`last`), that goes back as a parameter.

    `more` names a flag that must be true for there to be a next page. Without it an empty cursor means the end.
    """

    param: str
    at: str | None = None
    last: str | None = None
    more: str | None = None
    size_param: str | None = None
    size: int = 100

    def request(self, cursor: JSON) -> PageRequest:
        """Ask with the size and the cursor."""
        return PageRequest(_given(**{self.size_param or "": self.size, self.param: cursor}))

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:  # noqa: ARG002
        """The cursor found, if there is more."""
        if self.more and not _is_true(answer, self.more):
            return None
        if self.last is None:
            found = dig(answer.json, self.at or self.param)
        else:
            found = dig(_read(items[-1]), self.last) if items else None
        return _required(answer, found) if self.more else found or None


@dataclass(frozen=True)
class PageToken(Cursor):
    """Google's way: `nextPageToken` in the answer goes back as `pageToken`."""

    param: str = "pageToken"
    at: str | None = "nextPageToken"


@dataclass(frozen=True)
class AwsToken(Cursor):
    """AWS's way: `NextToken` goes back under its own name; older services have `Marker` and `more="IsTruncated"`."""

    param: str = "NextToken"


@dataclass(frozen=True)
class PageNumber(_Listed):
    """Numbered pages, until one is short.

    A provider may cap the size below what is asked, and then every page looks short: name `pages` (where the answer
    tells the number of pages) or `more` (a flag) wherever the provider gives one.
    """

    param: str = "page"
    size_param: str | None = "per_page"
    size: int = 100
    first: int = 1
    pages: str | None = None
    more: str | None = None

    def request(self, cursor: JSON) -> PageRequest:
        """Ask for the page of this number."""
        return PageRequest(_given(**{self.size_param or "": self.size, self.param: _or(cursor, self.first)}))

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:
        """The number that follows."""
        here = _or(cursor, self.first)
        if self.pages:
            is_more = here - self.first + 1 < _count(answer, self.pages)
        elif self.more:
            is_more = _is_true(answer, self.more)
        else:
            is_more = 0 < len(items) >= self.size
        return here + 1 if is_more else None


@dataclass(frozen=True)
class Offset(_Listed):
    """An offset that grows by what came, until a page is short; see `PageNumber` on `total` and `more`."""

    param: str = "offset"
    limit_param: str | None = "limit"
    limit: int = 100
    first: int = 0
    total: str | None = None
    more: str | None = None

    def request(self, cursor: JSON) -> PageRequest:
        """Ask for the items behind this offset."""
        return PageRequest(_given(**{self.limit_param or "": self.limit, self.param: _or(cursor, self.first)}))

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:
        """The offset behind the items seen so far."""
        beyond = _or(cursor, self.first) + len(items)
        if self.total:
            is_more = bool(items) and beyond - self.first < _count(answer, self.total)
        elif self.more:
            is_more = _is_true(answer, self.more)
        else:
            is_more = 0 < len(items) >= self.limit
        return beyond if is_more else None


@dataclass(frozen=True)
class NextLink(_Listed):
    """A URL in the body, by default OData's `@odata.nextLink` (Microsoft Graph); the cursor is that URL."""

    at: str = "@odata.nextLink"
    size_param: str | None = None
    size: int = 100

    def request(self, cursor: JSON) -> PageRequest:
        """Ask for the size, then follow the link."""
        return PageRequest(_given(**{self.size_param or "": self.size}) if cursor is None else {}, url=cursor)

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:  # noqa: ARG002
        """The link found."""
        link = dig(answer.json, self.at)
        if link and not isinstance(link, str):
            raise answer.fail(Unexpected, f"answered a next link that is no text to {answer.asked}")
        return link or None


@dataclass(frozen=True)
class GraphQL:
    """A connection of a GraphQL query (the Relay specification): `nodes` and `pageInfo { hasNextPage endCursor }`.

    `connection` is its dotted name below `data`. The query must take `$after`, and `$size` if `size_variable` is given.
    Any error that the answer lists is raised, for data that came beside it is not complete.
    """

    query: str
    connection: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    size_variable: str | None = None
    size: int = 100

    def request(self, cursor: JSON) -> PageRequest:
        """Post the query with the cursor as `after`."""
        sized = {self.size_variable: self.size} if self.size_variable else {}
        return PageRequest(json={"query": self.query, "variables": {**self.variables, **sized, "after": cursor}})

    def read(self, answer: Answer, items: str | None) -> list[JSON]:
        """The nodes, or what `items` names within the connection; raises what the answer's errors mean."""
        raise_graphql_errors(answer)
        return _Listed().read(answer, f"data.{self.connection}.{items or 'nodes'}")

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:  # noqa: ARG002
        """The end cursor, if there is a next page."""
        info = dig(answer.json, f"data.{self.connection}.pageInfo")
        if not isinstance(info, dict) or not isinstance(info.get("hasNextPage"), bool):
            raise answer.fail(Unexpected, f"answered no pageInfo for {self.connection!r}")
        return _required(answer, info.get("endCursor")) if info["hasNextPage"] else None


_CUTTABLE = frozenset({SinglePage, LinkHeader, Cursor, PageToken, AwsToken, PageNumber, Offset, NextLink})
"""The ways to page that look at no item, or know how to."""


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
        apart = cut(answer.body, items) if unread and type(paginator) in _CUTTABLE and answer.status != 204 else None
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


def dig(value: JSON, path: str) -> JSON:
    """What is at a dotted name, or `None`; a key that itself holds dots is found too."""
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    head, dot, tail = path.partition(".")
    return dig(value.get(head), tail) if dot else None


def raise_graphql_errors(answer: Answer) -> None:
    """Raise the error that a GraphQL answer lists (it comes with status 200), if it lists any."""
    errors = dig(answer.json, "errors")
    if not errors:
        return
    told = " ".join(_error_code(error) for error in errors) if isinstance(errors, list) else ""
    raise _graphql_error(answer, told.upper())


def _graphql_error(answer: Answer, codes: str) -> ProviderError:
    if re.search(r"RATE_?LIMIT|THROTTLED|TOO_MANY", codes):
        return answer.fail(RateLimited, f"asks to wait until {answer.until:%H:%M:%S} UTC", until=answer.until)
    if re.search(r"UNAUTHENTICATED|UNAUTHORI[SZ]ED|AUTHENTICATION", codes):
        return answer.fail(Unauthorised, f"refused the credential ({answer.asked})")
    if re.search(r"FORBIDDEN|SCOPE|PERMISSION|ACCESS_DENIED", codes):
        return answer.fail(Forbidden, f"does not allow this query to this credential or plan ({answer.asked})")
    return answer.fail(Unexpected, f"answered a GraphQL error to {answer.asked}")


def _error_code(error: JSON) -> str:
    """GitHub writes the code as `type`, most others as `extensions.code`, Linear as `extensions.type` too."""
    return " ".join(str(dig(error, at) or "") for at in ("type", "extensions.code", "extensions.type")).replace(
        " ", "_"
    )


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


def _read(item: JSON) -> JSON:
    return read_json(item) if isinstance(item, bytes) else item


def _is_true(answer: Answer, at: str) -> bool:
    return str(dig(answer.json, at)).lower() == "true"  # AWS's query protocol writes it as text


def _required(answer: Answer, cursor: JSON) -> JSON:
    """The cursor; without one the rest of the list would silently be taken for absent."""
    if not cursor:
        raise answer.fail(Unexpected, f"says that there is more but not where, for {answer.asked}")
    return cursor


def _given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name and value is not None}


def _or(cursor: JSON, first: int) -> int:
    return first if cursor is None else int(cursor)


def _count(answer: Answer, at: str) -> int:
    found = dig(answer.json, at)
    if isinstance(found, bool) or not isinstance(found, int):
        raise answer.fail(Unexpected, f"answered no number at {at!r} to {answer.asked}")
    return found


def _fingerprint(cursor: JSON) -> bytes:
    return blake2b(orjson.dumps(cursor, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
