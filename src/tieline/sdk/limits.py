"""How fast a provider may be asked: what its answers tell of its limit, and the budget that all callers obey.

A provider's headers are read into a `Signal`; a `Budget` learns from signals and is asked for a permit before each request.
The budget here serves one process; the platform's own, of the same protocol, is shared by all workers of a connection.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol

from tieline.clock import Clock
from tieline.errors import RateLimited

IN_PLACE = timedelta(seconds=3)  # a shorter wait is slept through, a longer one ends the run until then
LONGEST = timedelta(hours=24)  # what a provider asks for beyond this is taken for a mistake
UNSTATED = timedelta(seconds=60)  # the wait when a provider limits without saying for how long

_NOTABLE = timedelta(milliseconds=50)  # asking for a permit takes a moment too, which is no wait
_MOST_WAITS = 1_000

_LOW_SHARE = 0.2
_LOW_COUNT = 20  # when the limit itself is not told
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_EPOCH_BEGINS = 10**9  # no delta is 31 years long
_EPOCH_MS_BEGINS = 10**11


@dataclass(frozen=True)
class Signal:
    """What an answer told of the limit; times are aware and in UTC."""

    limit: int | None = None
    remaining: int | None = None
    reset_at: datetime | None = None
    blocked_until: datetime | None = None

    @property
    def is_notable(self) -> bool:
        """Whether a budget should hear of it: requests are refused, or few are left."""
        if self.blocked_until is not None:
            return True
        if self.remaining is None:
            return False
        return self.remaining < (self.limit * _LOW_SHARE if self.limit else _LOW_COUNT)


@dataclass(frozen=True)
class Wait:
    """A stretch of time in which a request stood still: for the provider's limit, or before it was tried again."""

    cause: Literal["limit", "retry"]
    begun: datetime
    ended: datetime


class Waits:
    """The waits of one client, remembered until somebody takes them."""

    def __init__(self, clock: Clock, *, told: Callable[[Wait], None] | None = None) -> None:
        self._clock = clock
        self._told = told
        self._seen: deque[Wait] = deque(maxlen=_MOST_WAITS)

    @contextmanager
    def during(self, cause: Literal["limit", "retry"]) -> Iterator[None]:
        """Time the block; what is too short to be a wait is not remembered."""
        begun = self._clock.now()
        try:
            yield
        finally:
            ended = self._clock.now()
            if ended - begun >= _NOTABLE:
                wait = Wait(cause, begun, ended)
                self._seen.append(wait)
                if self._told:
                    self._told(wait)

    def take(self) -> list[Wait]:
        """The waits since this was last asked, each told once."""
        taken = list(self._seen)
        self._seen.clear()
        return taken


def waited(waits: Iterable[Wait]) -> dict[str, int]:
    """Milliseconds by cause; what was waited for side by side counts once, and for the limit first."""
    told, past = {"limit": 0, "retry": 0}, datetime.min.replace(tzinfo=UTC)
    for one in sorted(waits, key=lambda one: (one.begun, one.cause)):
        begun = max(one.begun, past)
        if one.ended > begun:
            told[one.cause] += round((one.ended - begun).total_seconds() * 1000)
            past = one.ended
    return told


class Budget(Protocol):
    """The permits of one connection."""

    async def take(self) -> None:
        """Take one permit; waits a few seconds in place if need be, raises `RateLimited` if it would be longer."""
        ...

    async def learn(self, signal: Signal) -> None:
        """Hear what an answer told; called only when it is notable."""
        ...


class LocalBudget:
    """A budget for the callers within one process: unlimited until an answer tells of a limit."""

    def __init__(self, clock: Clock, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._remaining: int | None = None
        self._reset_at: datetime | None = None
        self._blocked_until: datetime | None = None

    async def take(self) -> None:
        """Take one permit, or wait at most three seconds for it; raises `RateLimited`."""
        give_up = self._clock.now() + IN_PLACE
        while until := self._blocked():
            now = self._clock.now()
            if until > give_up or now >= give_up:
                raise RateLimited(f"the rate limit is used up until {until:%H:%M:%S} UTC", until=until)
            await self._sleep((until - now).total_seconds())
        if self._remaining is not None:
            self._remaining -= 1

    async def learn(self, signal: Signal) -> None:
        """Remember the smaller of what is known and what is told, for as long as the window lasts."""
        if signal.blocked_until:
            self._blocked_until = max(signal.blocked_until, self._blocked_until or signal.blocked_until)
        if signal.remaining is not None and signal.reset_at is not None:
            self._forget_past_window()
            # Answers come out of order: within a window the count only falls.
            known = signal.remaining if self._remaining is None else min(self._remaining, signal.remaining)
            self._remaining, self._reset_at = known, signal.reset_at

    def _blocked(self) -> datetime | None:
        self._forget_past_window()
        now = self._clock.now()
        if self._blocked_until and self._blocked_until > now:
            return self._blocked_until
        return self._reset_at if self._remaining is not None and self._remaining <= 0 else None

    def _forget_past_window(self) -> None:
        if self._reset_at and self._reset_at <= self._clock.now():
            self._remaining = self._reset_at = None


@dataclass(frozen=True)
class RateHeaders:
    """The names under which a provider tells of its limit, and the form of its reset time.

    `epoch` and `epoch_ms` count from 1970, `delta` from now; `any` tells them apart by size, for names that vendors
    fill differently. `limited` are the statuses besides 429 that mean "too many" when the headers agree.
    """

    remaining: str = "ratelimit-remaining"
    limit: str = "ratelimit-limit"
    reset: str = "ratelimit-reset"
    reset_form: Literal["epoch", "epoch_ms", "delta", "any"] = "any"
    limited: Collection[int] = frozenset({403})

    def read(self, headers: Mapping[str, str], now: datetime) -> Signal:
        """What these headers tell; a malformed value counts as absent."""
        wait = self._reset_in(headers, now)
        return Signal(
            limit=_whole(headers.get(self.limit)),
            remaining=_whole(headers.get(self.remaining)),
            reset_at=None if wait is None else now + wait,
        )

    def wait(self, headers: Mapping[str, str], now: datetime) -> timedelta | None:
        """How long the provider asks to wait: Retry-After, or else the reset time if nothing remains."""
        asked = retry_after(headers, now)
        if asked is None and _whole(headers.get(self.remaining)) in (0, None):
            asked = self._reset_in(headers, now)
        return asked

    def _reset_in(self, headers: Mapping[str, str], now: datetime) -> timedelta | None:
        value = _number(headers.get(self.reset))
        if value is None:
            return None
        form = self.reset_form
        if form == "any":
            form = "delta" if value < _EPOCH_BEGINS else "epoch" if value < _EPOCH_MS_BEGINS else "epoch_ms"
        if form == "delta":
            return _bounded(value)
        at = value / 1000 if form == "epoch_ms" else value
        return _bounded(at - their_time(headers, now).timestamp())


GENERIC = RateHeaders()
GITHUB = RateHeaders("x-ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-reset", "epoch")
OKTA = RateHeaders("x-rate-limit-remaining", "x-rate-limit-limit", "x-rate-limit-reset", "epoch")
LINEAR = RateHeaders(
    "x-ratelimit-requests-remaining", "x-ratelimit-requests-limit", "x-ratelimit-requests-reset", "epoch_ms", (400, 403)
)


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Retry-After (RFC 9110, section 10.2.3), in seconds or as a date; `None` if absent or malformed."""
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return _bounded(seconds)
    at = _http_date(value)
    return None if at is None else _bounded((at - their_time(headers, now)).total_seconds())


def their_time(headers: Mapping[str, str], now: datetime) -> datetime:
    """The provider's own present, by its Date header: its clock may differ from ours, its waits are meant by its own."""
    return _http_date(headers.get("date", "")) or now


def _http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value[:64])
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _bounded(seconds: float) -> timedelta:
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST.total_seconds()))


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value.strip()) else None


def _whole(value: str | None) -> int | None:
    number = _number(re.split("[,;]", value)[0] if value else None)  # some add their windows: `100, 100;w=60`
    return None if number is None else int(number)
