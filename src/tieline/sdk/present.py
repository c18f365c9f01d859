"""The present time as a check is given it: a `datetime` that notes when what was asked of it will be answered otherwise.

Whoever compares the present with a moment, or its distance from one with a length of time, learns something that stays true until a
moment that can be computed. So an answer that depends on the time has to be found again only then, and not at each reading. Whatever
else is asked of it (the year, a text, a quotient) is answered too, but such an answer is taken to hold for no time at all.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
"""Long due: what was asked of the present may be answered otherwise at any time."""

_INSTANT = timedelta(microseconds=1)
_NOTHING = timedelta()


class Watch:
    """Gives the `present`, and notes `until` when the answers hold that were drawn from it; `None` is for good."""

    def __init__(self, now: datetime) -> None:
        self.until: datetime | None = None
        self._now = now
        self.present = _present(now, self)

    def note(self, ahead: timedelta) -> None:
        """Something turns in this time. At the very moment it may not have turned yet; what lies behind stays as it is."""
        if ahead >= _NOTHING:
            try:
                turns = self._now + max(ahead, _INSTANT)
            except OverflowError:  # not in this calendar
                return
            if self.until is None or turns < self.until:
                self.until = turns

    def give_up(self) -> None:
        """Something may turn at any time."""
        self.until = ALWAYS


class Present(datetime):
    """The present, or a moment at a fixed distance from it; `_plain` is the same as a mere `datetime`."""

    __slots__ = ("_plain", "_watch")
    _plain: datetime
    _watch: Watch

    def __add__(self, other: Any) -> Any:
        return _present(self._plain + other, self._watch) if type(other) is timedelta else _ask(self, "__add__", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if type(other) is timedelta:
            return _present(self._plain - other, self._watch)
        if isinstance(other, datetime) and not isinstance(other, Present):
            return _age(self._plain - other, self._watch, moves=1)
        return _ask(self, "__sub__", other)

    def __rsub__(self, other: datetime) -> Any:
        return _age(other - self._plain, self._watch, moves=-1)


class Age(timedelta):
    """How far a moment lies from the present: it grows with the time, or shrinks (`_moves` is 1 or -1)."""

    __slots__ = ("_moves", "_plain", "_watch")
    _moves: int
    _plain: timedelta
    _watch: Watch

    def __add__(self, other: Any) -> Any:
        if type(other) is timedelta:
            return _age(self._plain + other, self._watch, moves=self._moves)
        return _ask(self, "__add__", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if type(other) is timedelta:
            return _age(self._plain - other, self._watch, moves=self._moves)
        return _ask(self, "__sub__", other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __neg__(self) -> Any:
        return _age(-self._plain, self._watch, moves=-self._moves)


def _present(plain: datetime, watch: Watch) -> Present:
    made = Present(
        plain.year, plain.month, plain.day, plain.hour, plain.minute, plain.second, plain.microsecond, plain.tzinfo
    )
    made._plain, made._watch = plain, watch
    return made


def _age(plain: timedelta, watch: Watch, *, moves: int) -> Age:
    made = Age(plain.days, plain.seconds, plain.microseconds)
    made._plain, made._watch, made._moves = plain, watch, moves
    return made


def _ask(asked: Any, name: str, *others: Any, **more: Any) -> Any:
    """Answer what no moment can be told for until which it holds."""
    asked._watch.give_up()
    plain = [other._plain if isinstance(other, Present | Age) else other for other in others]
    return getattr(asked._plain, name)(*plain, **more)


def _undated(kind: type, name: str) -> Any:
    """What a name of `datetime` or `timedelta` stands for, a method or a value, as it is asked of something that moves."""
    if callable(getattr(kind, name)):
        return lambda self, *others, **more: _ask(self, name, *others, **more)
    return property(lambda self: _ask(self, "__getattribute__", name))


def _compared(compare: Callable[[Any, Any], Any], kind: type) -> Callable[[Any, Any], Any]:
    def answer(self: Any, other: Any) -> Any:
        if not isinstance(other, kind) or isinstance(other, Present | Age):
            return _ask(self, f"__{compare.__name__}__", other)
        try:
            ahead = other - self._plain
        except OverflowError:  # further than any length of time
            return compare(self._plain, other)
        self._watch.note(ahead if kind is datetime or self._moves == 1 else -ahead)
        return compare(self._plain, other)

    return answer


_COMPARISONS = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)
_STILL = {
    "__class__", "__delattr__", "__dir__", "__doc__", "__getattribute__", "__init__", "__init_subclass__", "__new__", "__setattr__",
    "__sizeof__", "__subclasshook__", "tzinfo", "utcoffset",
}  # fmt: skip
for _kind, _moving in ((datetime, Present), (timedelta, Age)):
    for _compare in _COMPARISONS:
        setattr(_moving, f"__{_compare.__name__}__", _compared(_compare, _kind))
    for _name in set(dir(_kind)) - set(vars(_moving)) - _STILL:
        setattr(_moving, _name, _undated(_kind, _name))
