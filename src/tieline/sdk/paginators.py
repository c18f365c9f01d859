"""The ways in which providers cut long lists into pages.

A paginator is a frozen value. It says how the page at a cursor is asked for and which cursor follows; the cursor is small
JSON (a string, a number, an object) that can be stored as a checkpoint and gone on from later. `None` stands for the first
page when asked for and for the end when it follows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tieline.errors import Unexpected
from tieline.sdk.answers import dig, read_json
from tieline.sdk.http import JSON, Answer

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


class Listed:
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
class SinglePage(Listed):
    """A list that comes whole."""

    def request(self, cursor: JSON) -> PageRequest:  # noqa: ARG002
        """Ask as it is."""
        return PageRequest()

    def next(self, cursor: JSON, answer: Answer, items: Sequence[JSON]) -> JSON:  # noqa: ARG002
        """There is no other page."""
        return None


@dataclass(frozen=True)
class LinkHeader(Listed):
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
class Cursor(Listed):
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
        return required(answer, found) if self.more else found or None


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
class PageNumber(Listed):
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
class Offset(Listed):
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
class NextLink(Listed):
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


CUTTABLE = frozenset({SinglePage, LinkHeader, Cursor, PageToken, AwsToken, PageNumber, Offset, NextLink})
"""The ways to page that look at no item, or know how to."""


def _read(item: JSON) -> JSON:
    return read_json(item) if isinstance(item, bytes) else item


def _is_true(answer: Answer, at: str) -> bool:
    return str(dig(answer.json, at)).lower() == "true"  # AWS's query protocol writes it as text


def required(answer: Answer, cursor: JSON) -> JSON:
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
