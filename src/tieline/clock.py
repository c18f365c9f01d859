"""Time, injected: code asks a clock, so a test can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol


class Clock(Protocol):
    """Tells the present time."""

    def now(self) -> datetime:
        """The present time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present time, aware, in UTC."""
        return datetime.now(UTC)


class SteadyClock:
    """A clock that is set by another's time and goes on by the machine's counter, so that turning the machine's clock turns nothing."""

    def __init__(self, machine: Clock | None = None) -> None:
        self._set = (machine or SystemClock()).now()
        self._counted = _count()

    def now(self) -> datetime:
        """The time it was set to, and what went by since."""
        return self._set + (_count() - self._counted)

    def follow(self, told: datetime, *, within: timedelta) -> timedelta:
        """Set it to what was told, unless that is as good as right; by how much it was moved.

        What was told is known to be right `within` so much only. Small steps would make later moments seem earlier.
        """
        off = told - self.now()
        if abs(off) <= max(within, _GOOD_ENOUGH):
            return timedelta()
        self._set, self._counted = told, _count()
        return off


_GOOD_ENOUGH: Final = timedelta(seconds=1)
_COUNTER: Final = getattr(time, "CLOCK_BOOTTIME", None)  # on Linux, which counts the time asleep too


def _count() -> timedelta:
    return timedelta(seconds=time.monotonic() if _COUNTER is None else time.clock_gettime(_COUNTER))


class SetClock:
    """A clock that stands where it is set; for tests."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """The time it was set to."""
        return self.at
