"""What an operation is handed: its options, its credential, and a client that already knows both.

Reading is by pages. The first `pages()` (or `each()`) that is open at a time is the *spine* of the reading: whenever its page
ends, all that was yielded so far is complete, so it can be stored together with the place to go on from. Pages opened inside
it are details of one record and are simply read again after a crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

from tieline.clock import Clock
from tieline.errors import ProviderError, Unexpected
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.http import JSON, RAISE, Answer, Http
from tieline.sdk.limits import Wait
from tieline.sdk.pages import Course, Page, walk
from tieline.sdk.paginators import Paginator, SinglePage

if TYPE_CHECKING:
    from datetime import datetime

O = TypeVar("O")  # noqa: E741  O for options, as in Context[O]
T = TypeVar("T")
P = ParamSpec("P")
Fetch = Callable[[Any], Awaitable[tuple[Sequence[Any], Any]]]


@dataclass(frozen=True)
class Record:
    """A record with the name of its variant, for operations that have several mappings."""

    payload: dict[str, Any]
    variant: str


@dataclass(frozen=True)
class Checkpoint:
    """Where a reading goes on: the nth spine of the operation, and that spine's cursor."""

    spine: int = 0
    cursor: Any = None


class Turned(Protocol):
    """Is told that a page ended and where the next begins."""

    async def __call__(self, checkpoint: Checkpoint) -> None:
        """Called in the reader's own task, before the next page is fetched."""
        ...


class Context(Generic[O]):
    """The one argument of an operation."""

    def __init__(
        self,
        *,
        options: O,
        credential: Any,
        http: Http,
        policy: AddressPolicy,
        clock: Clock,
        fresh: Callable[[], Awaitable[Any]] | None = None,
        hosts: Map[str, str] | None = None,
        start: Checkpoint | None = None,
        turned: Turned | None = None,
        unread: bool = False,
    ) -> None:
        self.options = options
        self.credential = credential
        self.http = http
        self.hosts = dict(hosts or {})
        self.log = logging.getLogger("tieline.provider")
        self._policy = policy
        self._clock = clock
        self._fresh = fresh
        self._start = start or Checkpoint()
        self._turned = turned
        self._unread = unread
        self._opened = 0
        self._on_spine = False

    @property
    def now(self) -> datetime:
        """The present time, aware, in UTC."""
        return self._clock.now()

    def take_waits(self) -> list[Wait]:
        """How long its requests stood still since this was last asked, each wait told once."""
        return self.http.waits.take()

    async def fresh(self) -> Any:
        """What signs requests now: the credential, or what was minted or refreshed from it. For a vendor's SDK."""
        return self.credential if self._fresh is None else await self._fresh()

    async def request(self, method: str, path: str, **how: Any) -> Answer:
        """One request, with its status and headers; see `Http.request` for what `how` may hold."""
        return await self.http.request(method, path, **how)

    async def get(self, path: str, *, params: Map[str, Any] | None = None, missing: Any = RAISE) -> Any:
        """The JSON at a path; `missing` is returned instead of raising when there is none (404)."""
        return await self.http.get_json(path, params=params, missing=missing)

    async def post(self, path: str, json: JSON, *, idempotent: bool = False) -> Any:
        """Post JSON; it is tried again after a failure only if `idempotent`."""
        return await self.http.post_json(path, json, idempotent=idempotent)

    def pages(
        self,
        path: str,
        *,
        pages: Paginator | None = None,
        items: str | None = None,
        params: Map[str, Any] | None = None,
        missing: Any = RAISE,
    ) -> Pages[Any]:
        """The records of a paged list, one by one; `items` is the dotted name of the list in each answer.

        `missing` decides what a 404 means: raise (by default), an empty list (`()`), or an exception to raise in its place.
        """
        return self._pages(path, pages, items=items, params=params, missing=missing)

    def listed(
        self,
        path: str,
        *,
        pages: Paginator | None = None,
        items: str | None = None,
        params: Map[str, Any] | None = None,
    ) -> Pages[Any]:
        """The same for records at which the operation does not look: a run may have them as JSON text, parsed where they are mapped."""
        return self._pages(path, pages, items=items, params=params, unread=self._unread)

    def _pages(self, path: str, pages: Paginator | None, **how: Any) -> Pages[Any]:
        def open_at(cursor: Any) -> AsyncIterator[Page]:
            return walk(self.http, path, paginator=pages or SinglePage(), start=cursor, **how)

        return Pages(self, open_at)

    def each(self, fetch: Fetch) -> Pages[Any]:
        """The records of a list that a vendor's SDK reads: `fetch(cursor)` gives items and the next cursor, or `None`."""

        async def open_at(cursor: Any) -> AsyncIterator[Page]:
            course = Course(cursor)
            while True:
                items, cursor = await fetch(cursor)
                page = Page(items=list(items), next=cursor)
                if cursor is not None and (wrong := course.turn(page.items, cursor)):
                    raise Unexpected(f"{self.http.provider} {wrong}")
                yield page
                if cursor is None:
                    return

        return Pages(self, open_at)

    async def thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call of a vendor's SDK in a thread, so that the event loop stays alive."""
        return await asyncio.to_thread(call, *args, **kwargs)

    def check_address(self, url: str) -> str:
        """The URL, if the operator allows its address; raises `Invalid`. For URLs handed to a vendor's SDK."""
        self._policy.check_url(url)
        return url

    def _enter(self) -> Checkpoint | None:
        """Take the spine if it is free: where it begins, or `None` for pages inside others."""
        if self._on_spine:
            return None
        self._on_spine = True
        ordinal, self._opened = self._opened, self._opened + 1
        return Checkpoint(ordinal, self._start.cursor if ordinal == self._start.spine else None)

    async def _turn(self, ordinal: int, cursor: Any) -> None:
        if self._turned:
            await self._turned(Checkpoint(ordinal + 1) if cursor is None else Checkpoint(ordinal, cursor))

    def _leave(self) -> None:
        self._on_spine = False

    def _is_behind(self, ordinal: int) -> bool:
        return ordinal < self._start.spine


class Pages(Generic[T]):
    """The records of a paged list; iterate over it."""

    def __init__(
        self,
        ctx: Context[Any],
        open_at: Callable[[Any], AsyncIterator[Page]],
        work: Callable[[Sequence[Any]], Awaitable[Sequence[T]]] | None = None,
    ) -> None:
        self._ctx = ctx
        self._open_at = open_at
        self._work = work

    def join(self, detail: Callable[[T], Awaitable[Any]], *, limit: int = 8) -> Pages[Any]:
        """Each record after `detail(record)`, for which at most `limit` run side by side within a page.

        When one fails the others are cancelled, and its error is raised as it is.
        """

        async def work(items: Sequence[Any]) -> Sequence[Any]:
            slots = asyncio.Semaphore(limit)

            async def one(item: Any) -> Any:
                async with slots:
                    return await detail(item)

            before = await self._work(items) if self._work else items
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(item)) for item in before]
            except ExceptionGroup as failed:
                raise _decisive(failed) from None
            return [task.result() for task in tasks]

        return Pages(self._ctx, self._open_at, work)

    async def __aiter__(self) -> AsyncIterator[T]:
        place = self._ctx._enter()
        try:
            if place and self._ctx._is_behind(place.spine):
                return
            async for page in self._open_at(place.cursor if place else None):
                for item in await self._work(page.items) if self._work else page.items:
                    yield item
                if place:
                    await self._ctx._turn(place.spine, page.next)
        finally:
            if place:
                self._ctx._leave()


def _decisive(failed: ExceptionGroup[Exception]) -> Exception:
    """Of errors that came side by side, the one to act on: the provider's first, else the first of all."""
    found: Exception = failed.subgroup(ProviderError) or failed
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return found
