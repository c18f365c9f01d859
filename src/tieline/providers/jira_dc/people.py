"""All people of a Jira: a list of its own from 10.3 on, a search for everybody before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tieline.sdk import Context, Cursor, Forbidden, NotOffered, Offset

_API = "/rest/api/2"
_STREAM_SINCE = [10, 3]  # the version that brought the list of all people
_SEARCH_CUT_SINCE = [
    10
]  # the version from which a search finds this many at most, however it is paged (JRASERVER-78660)
_MOST_FOUND = 100
_EVERYBODY = {"username": ".", "includeInactive": "true"}  # a dot finds all; there is no other way to ask


async def read_people(ctx: Context[Any]) -> AsyncIterator[dict[str, Any]]:
    """Everybody, deactivated people too.

    Raises `Forbidden` if the token's owner may not browse them, `NotOffered` where a version between 10.0 and 10.2 shows the
    first of them only.
    """
    version = (await ctx.get(f"{_API}/serverInfo"))["versionNumbers"]
    if version >= _STREAM_SINCE:
        listed = ctx.pages(f"{_API}/user/list", pages=_Stream(), items="values")
    else:
        listed = ctx.pages(f"{_API}/user/search", pages=_Search(), params=_EVERYBODY)
    async for user in listed:
        yield user
    if _SEARCH_CUT_SINCE <= version < _STREAM_SINCE and await _finds_the_most(ctx):
        raise NotOffered(
            f"Jira 10.0 to 10.2 shows its first {_MOST_FOUND} people only",
            advice="Upgrade Jira to 10.3, which lists all.",
        )


async def _finds_the_most(ctx: Context[Any]) -> bool:
    """Whether a search finds as many as it ever does. It is asked anew: a reading that goes on has not counted who came before."""
    found = await ctx.get(f"{_API}/user/search", params=_EVERYBODY | {"maxResults": str(_MOST_FOUND)})
    return len(found) >= _MOST_FOUND


@dataclass(frozen=True)
class _Search(Offset):
    """People by a search, at most 1,000 at a time; a short page is the last.

    It finds nobody if the caller may not browse people, and somebody otherwise: the caller.
    """

    param: str = "startAt"
    limit_param: str | None = "maxResults"
    limit: int = 1_000

    def next(self, cursor: Any, answer: Any, items: Any) -> Any:
        """The offset behind what came; raises `Forbidden` if nobody was found."""
        if cursor is None and not items:
            raise answer.fail(Forbidden, "shows nobody to this token's owner", scope="Browse Users")
        return super().next(cursor, answer, items)


@dataclass(frozen=True)
class _Stream(Cursor):
    """The list of all people: told to be the last page by a flag, whatever its cursor says."""

    param: str = "cursor"
    at: str | None = "nextCursor"
    size_param: str | None = "maxResults"
    size: int = 1_000

    def next(self, cursor: Any, answer: Any, items: Any) -> Any:
        """The cursor told, unless this was the last page."""
        return None if answer.json.get("isLast") else super().next(cursor, answer, items)
