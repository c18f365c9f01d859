"""CEL expressions over a provider's payload: the facade, and the only importer of the CEL engine.

An expression is compiled by the engine (`cel-expr-python`, Google's C++ one) when a provider loads, so whatever is
wrong with it fails then. Where it lies in the common subset it also becomes Python closures, which answer the plain
cases; the engine answers the rest. CEL is the language of github.com/google/cel-spec, with its string extensions
(`lowerAscii`, `upperAscii`, `trim`, `split`, `join`, `replace`, `substring`, `indexOf`, `format` and the like) and two
rules of our own: a missing key is not an error but gives `NO_VALUE`, and a map's entry that is null is a missing key.
CEL's absorption comes first, so `payload.x == 1 || true` is true without an `x`.

Whole numbers are 64-bit and never become doubles. One beyond 64 bits is an error where it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from cel_expr_python import cel as engine
from cel_expr_python.ext import ext_strings

from tieline.sdk.cel_closures import MAX_STEPS, Closure, StepsExceeded, compile_closure
from tieline.sdk.cel_operators import CONTAINERS, MAX_DATA_DEPTH, MAX_UINT, MIN_INT, ODD, AskEngine, without_nulls
from tieline.sdk.cel_parser import free_fields, read_tree

VARIABLES: Final = frozenset({"payload", "envelope", "variant", "resource", "action", "options"})
MAX_LENGTH: Final = 4_000


class CelError(ValueError):
    """An expression that cannot be compiled, or not be evaluated on this payload; quotes no value of the payload."""


class NoValue:
    """The type of `NO_VALUE`."""

    def __repr__(self) -> str:
        return "NO_VALUE"

    def __reduce__(self) -> str:
        return "NO_VALUE"


NO_VALUE: Final = NoValue()


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression, to be kept and evaluated often, from any thread; equal to another of the same source.

    `compiled` tells whether it runs as closures; otherwise each evaluation is the engine's. `reads` are the fields of each
    variable that it can reach, or `None` for all.
    """

    source: str
    compiled: bool = field(compare=False)
    reads: Mapping[str, frozenset[str] | None] = field(compare=False, repr=False)
    _closure: Closure | None = field(compare=False, repr=False)
    _gives_data: bool = field(compare=False, repr=False)
    _ask_engine: Callable[[Mapping[str, Any]], Any] = field(compare=False, repr=False)

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Give the value on these variables, or `NO_VALUE` when a key it needs is missing (or a variable not given).

        Variables hold JSON values. A map's entry that is null counts as missing, at any depth of a variable: it is
        passed over here, so that nobody need drop it before. The result is JSON too, or a `datetime` in UTC,
        `timedelta` or `bytes`. Raises `CelError` for any other failure.
        """
        if self._closure:
            try:
                value = self._closure(variables)
            except KeyError:
                return NO_VALUE
            except StepsExceeded:
                raise CelError(_TOO_MANY_STEPS) from None
            except ODD:
                return self._ask_engine(variables)
            kind = type(value)
            if kind is str:
                return value
            if kind in CONTAINERS and self._gives_data:
                return drop_nulls(value)
            if kind is not int or MIN_INT <= value <= MAX_UINT:
                return value
        return self._ask_engine(variables)


@lru_cache(maxsize=2_000)
def compile_expression(source: str, *, variables: frozenset[str] = VARIABLES) -> Expression:
    """Compile an expression over the named variables; raises `CelError` with the position of what is wrong in it.

    A source has at most 4,000 characters. The engine allows 32 levels of nesting, where each operator of a chain
    (`a + b + c`) and each `.field` of a path is a level.
    """
    program = _compile(source, variables)
    tree = read_tree(program.serialize())
    closure, gives_data = compile_closure(tree, variables) or (None, False)
    reads = free_fields(tree)
    return Expression(source, closure is not None, reads, closure, gives_data, _engine_evaluator(program, reads))


def by_engine(source: str, *, variables: frozenset[str] = VARIABLES) -> Expression:
    """Compile to what the engine alone evaluates: the referee for the closures."""
    program = _compile(source, variables)
    reads = free_fields(read_tree(program.serialize()))
    ask_engine = _engine_evaluator(program, reads)
    return Expression(source, compiled=False, reads=reads, _closure=None, _gives_data=False, _ask_engine=ask_engine)


def by_closures(source: str, *, variables: frozenset[str] = VARIABLES) -> Expression | None:
    """Compile to closures, or `None` when the expression lies outside their subset."""
    expression = compile_expression(source, variables=variables)
    return expression if expression.compiled else None


def drop_nulls(value: Any) -> Any:
    """Copy without the map entries that are null, at any depth; null elements of lists stay.

    Raises `CelError` for data nested deeper than 100.
    """
    try:
        return without_nulls(value)
    except AskEngine:
        raise CelError(_TOO_DEEP) from None


_TOO_DEEP = f"the data is nested deeper than {MAX_DATA_DEPTH}"
_TOO_MANY_STEPS = f"the expression's loops take {MAX_STEPS:,} steps or more on this data"


# The engine. It answers failures either as values of the type ERROR or as a RuntimeError, with messages that may quote
# the payload: only what is known to quote nothing is passed on.


@lru_cache(maxsize=16)
def _environment(variables: frozenset[str]) -> engine.Env:
    declared = dict.fromkeys(variables, engine.Type.DYN)
    return engine.NewEnv(variables=declared, extensions=[ext_strings.ExtStrings()])


def _compile(source: str, variables: frozenset[str]) -> engine.Expression:
    if len(source) > MAX_LENGTH:
        raise CelError(f"the expression is longer than {MAX_LENGTH:,} characters")
    try:
        return _environment(variables).compile(source)
    except RuntimeError as error:
        raise CelError(_explain_compilation(str(error))) from None
    except TypeError:
        raise CelError("the expression is not valid Unicode") from None


def _explain_compilation(message: str) -> str:
    if "recursion" in message:
        return "the expression is nested too deeply (the limit is 32)"
    problem = re.search(r"ERROR: <input>:(\d+):(\d+): (.*)", message)
    if not problem:
        return "the expression cannot be compiled"
    line, column, text = problem.groups()
    return f"line {line}, column {column}: " + text.removesuffix(" (in container '')")


def _engine_evaluator(
    program: engine.Expression, uses: dict[str, frozenset[str] | None]
) -> Callable[[Mapping[str, Any]], Any]:
    """Evaluate by the engine, which copies all it is given: so it is given only the fields that can be reached, without nulls."""

    def evaluate(variables: Mapping[str, Any]) -> Any:
        data = {name: _reachable(variables[name], fields) for name, fields in uses.items() if name in variables}
        for value in data.values():
            _check_data(value, MAX_DATA_DEPTH)
        try:
            result = program.eval(data=data)
            is_error = result.type() == engine.Type.ERROR
            value = result.plain_value()
        except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
            raise CelError(_explain_evaluation(str(error))) from None
        if not is_error:
            return _plain(value)
        if value.startswith(_NO_VALUE_MESSAGES):
            return NO_VALUE
        raise CelError(_explain_evaluation(value))

    return evaluate


def _reachable(value: Any, fields: frozenset[str] | None) -> Any:
    if fields is None or type(value) is not dict:
        return drop_nulls(value)
    return {
        name: drop_nulls(item) if type(item) in CONTAINERS else item
        for name in fields
        if (item := value.get(name)) is not None
    }


def _check_data(value: Any, depth: int) -> None:
    """Refuse what the engine would not take as it is; it recurses in C++, without a bound."""
    if not depth:
        raise CelError(_TOO_DEEP)
    if type(value) is dict:
        items: Iterable[Any] = (*value, *value.values())
    else:
        items = value if type(value) is list else (value,)
    for item in items:
        kind = type(item)
        if kind in CONTAINERS:
            _check_data(item, depth - 1)
        elif kind is int and not MIN_INT <= item <= MAX_UINT:
            raise CelError("a whole number is out of range: it needs more than 64 bits")
        elif kind is str and "\0" in item:  # the engine's binding would silently cut the text there
            raise CelError("a text holds a NUL character")


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_plain(item) for item in value]
    if kind is dict:
        return {key: _plain(item) for key, item in value.items()}
    if kind is bytearray:
        return bytes(value)
    if kind is engine.Type:
        raise CelError("the result is a type, not a value")
    return value


_NO_VALUE_MESSAGES = ("NOT_FOUND: Key not found in map", 'UNKNOWN: No value with name "')
_HARMLESS = re.compile(
    r"[A-Z_]+: (divide by zero|modulus by zero|integer overflow|double out of int64 range|duplicate key in map"
    r"|Invalid map key type: '\w+'|Index error|Applying SELECT to non-message type"
    r"|No matching overloads found : [\w@!<>=?:.+*/%&|\[\]() ,-]+|Invalid timezone|invalid regular expression"
    r"|cannot convert string to \w+|String to (?:Timestamp|Duration) conversion failed|malformed UTF-8 bytes)"
)


def _explain_evaluation(message: str) -> str:
    if "Iteration budget" in message:
        return _TOO_MANY_STEPS
    if "construction from null" in message:
        return "a text is not valid Unicode"
    harmless = _HARMLESS.match(message)
    return f"it failed on this data: {harmless[1]}" if harmless else "it failed on this data"
