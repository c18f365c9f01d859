"""CEL's strict operators and functions on plain JSON values, for the closures.

Each either gives CEL's answer or raises: `KeyError` for a missing key, and `AskEngine` (or another of `ODD`) for all
that is not plain. Python's own rules differ from CEL's in ways each function minds: True equals 1, lists take negative
indexes, whole numbers are unbounded, and `//` rounds down rather than towards zero.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

MIN_INT, MAX_INT, MAX_UINT = -(2**63), 2**63 - 1, 2**64 - 1


class AskEngine(Exception):
    """The value is none that the closures decide on."""


ODD = (AskEngine, TypeError, ValueError, AttributeError, ArithmeticError, IndexError, RecursionError)


# Nulls: a map entry that is null counts as missing, a null in a list does not.

MAX_DATA_DEPTH = 100
CONTAINERS = frozenset({dict, list})


def without_nulls(value: Any, depth: int = MAX_DATA_DEPTH) -> Any:
    """Copy without the map entries that are null, at any depth; asks the engine, which refuses it, about what is nested deeper."""
    if not depth:
        raise AskEngine
    if type(value) is dict:
        return {
            key: without_nulls(item, depth - 1) if type(item) in CONTAINERS else item
            for key, item in value.items()
            if item is not None
        }
    if type(value) is list:
        return [without_nulls(item, depth - 1) if type(item) in CONTAINERS else item for item in value]
    return value


def index_data(container: Any, key: Any) -> Any:
    """`container[key]` on data that may hold nulls."""
    value = _index(container, key)
    if value is None and type(container) is dict:
        raise KeyError(key)
    return value


def _not(value: Any) -> bool:
    if value is True or value is False:
        return not value
    raise AskEngine


# Comparison.

_JSON = frozenset({str, int, float, bool, type(None), list, dict})
_SCALAR = frozenset({str, float, bool, type(None)})
_ORDERED = frozenset({str, float, bool})
_NUMBERS = frozenset({int, float})


def _equal(left: Any, right: Any) -> bool:
    kind, other = type(left), type(right)
    if kind is other:
        if kind in _SCALAR:
            return bool(left == right)
        if kind is int:
            return _within_64_bits(left) == _within_64_bits(right)
        if kind is list:
            return len(left) == len(right) and all(map(_equal, left, right))
        if kind is dict:
            return left.keys() == right.keys() and all(_equal(item, right[key]) for key, item in left.items())
        raise AskEngine
    if kind in _NUMBERS and other in _NUMBERS:
        return _double(left) == _double(right)
    if kind in _JSON and other in _JSON:
        return False
    raise AskEngine


def _differ(left: Any, right: Any) -> bool:
    return not _equal(left, right)


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        kind, other = type(left), type(right)
        if kind is other:
            if kind in _ORDERED:
                return compare(left, right)
            if kind is int:
                return compare(_within_64_bits(left), _within_64_bits(right))
        if kind in _NUMBERS and other in _NUMBERS:
            return compare(_double(left), _double(right))
        raise AskEngine

    return ordered


def _is_in(item: Any, container: Any) -> bool:
    if type(container) is list:
        return any(_equal(item, member) for member in container)
    if type(container) is dict and type(item) is str:
        return item in container
    raise AskEngine


def _index(container: Any, key: Any) -> Any:
    if type(container) is list and type(key) is int and 0 <= key < len(container):
        return container[key]
    if type(container) is dict and type(key) is str:
        return container[key]
    raise AskEngine


# Arithmetic: whole numbers are signed 64-bit, and are never mixed with doubles.


def _double(number: float) -> float:
    """The engine, too, compares a whole number with a double as two doubles."""
    return float(_within_64_bits(number)) if type(number) is int else number


def _within_64_bits(number: int) -> int:
    if MIN_INT <= number <= MAX_UINT:
        return number
    raise AskEngine


def _whole(number: int) -> int:
    if MIN_INT <= number <= MAX_INT:
        return number
    raise AskEngine


def _arithmetic(
    compute: Callable[[Any, Any], Any], whole: Callable[[int, int], int], *others: type
) -> Callable[[Any, Any], Any]:
    """An operator by `whole` on whole numbers, and by `compute` on two values of one of the `others`."""

    def calculate(left: Any, right: Any) -> Any:
        kind = type(left)
        if kind is type(right):
            if kind in others:
                return compute(left, right)
            if kind is int:
                return _whole(whole(_whole(left), _whole(right)))
        raise AskEngine

    return calculate


def _divide(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _modulo(left: int, right: int) -> int:
    return left - right * _whole(_divide(left, right))


def _negate(value: Any) -> Any:
    if type(value) is int:
        return _whole(-_whole(value))
    if type(value) is float:
        return -value
    raise AskEngine


# Conversion and text.


def _to_string(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int:
        return str(_within_64_bits(value))
    if kind is bool:
        return "true" if value else "false"
    raise AskEngine  # a double's digits are the engine's affair


def _to_int(value: Any) -> int:
    kind = type(value)
    if kind is int or kind is bool:
        return _whole(int(value))
    if kind is float and MIN_INT < value < MAX_INT:  # both bounds excluded, as in the engine
        return int(value)
    if kind is str and len(value) < 20 and value.isascii() and value.removeprefix("-").isdigit():
        return _whole(int(value))
    raise AskEngine


def _to_double(value: Any) -> float:
    if type(value) in _NUMBERS:
        return _double(value)
    raise AskEngine


def _size(value: Any) -> int:
    if type(value) in (str, list, dict):
        return len(value)
    raise AskEngine


_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def _lower(text: Any) -> str:
    if type(text) is str:
        return text.lower() if text.isascii() else text.translate(_LOWER)
    raise AskEngine


def _upper(text: Any) -> str:
    if type(text) is str:
        return text.upper() if text.isascii() else text.translate(_UPPER)
    raise AskEngine


def _on_text(function: Callable[[str, str], Any]) -> Callable[[Any, Any], Any]:
    def apply(text: Any, argument: Any) -> Any:
        if type(text) is str and type(argument) is str:
            return function(text, argument)
        raise AskEngine

    return apply


def _split(text: Any, separator: Any) -> list[str]:
    if type(text) is str and type(separator) is str:
        return text.split(separator)  # an empty separator is a ValueError, so the engine's
    raise AskEngine


def _join(items: Any, separator: Any = "") -> str:
    if type(items) is list and type(separator) is str:
        return separator.join(items)
    raise AskEngine


def _replace(text: Any, old: Any, new: Any) -> str:
    if type(text) is str and type(old) is str and old and type(new) is str:
        return text.replace(old, new)
    raise AskEngine


STRICT: dict[tuple[str, int], Callable[..., Any]] = {
    ("!_", 1): _not,
    ("_==_", 2): _equal,
    ("_!=_", 2): _differ,
    ("_<_", 2): _ordering(operator.lt),
    ("_<=_", 2): _ordering(operator.le),
    ("_>_", 2): _ordering(operator.gt),
    ("_>=_", 2): _ordering(operator.ge),
    ("@in", 2): _is_in,
    ("_[_]", 2): _index,
    ("-_", 1): _negate,
    ("_+_", 2): _arithmetic(operator.add, operator.add, str, float, list),
    ("_-_", 2): _arithmetic(operator.sub, operator.sub, float),
    ("_*_", 2): _arithmetic(operator.mul, operator.mul, float),
    ("_/_", 2): _arithmetic(operator.truediv, _divide, float),
    ("_%_", 2): _arithmetic(operator.mod, _modulo),
    ("string", 1): _to_string,
    ("int", 1): _to_int,
    ("double", 1): _to_double,
    ("size", 1): _size,
    ("lowerAscii", 1): _lower,
    ("upperAscii", 1): _upper,
    ("startsWith", 2): _on_text(str.startswith),
    ("endsWith", 2): _on_text(str.endswith),
    ("contains", 2): _on_text(operator.contains),
    ("split", 2): _split,
    ("join", 1): _join,
    ("join", 2): _join,
    ("replace", 3): _replace,
}
