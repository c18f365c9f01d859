"""On any expression of the subset and any payload, the closures and the engine come to the same."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from tests.sdk.evaluations import closures, exact, outcome

from tieline.sdk.cel import NO_VALUE, CelError, by_engine, compile_expression, drop_nulls

KEYS = ("a", "b", "c", "list", "map")
WHOLE = st.sampled_from([0, 1, -1, 2, 7, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1]) | st.integers(-9, 9)
DOUBLE = st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.5, 2.0**53, 2.0**63, -(2.0**63), 1e300, math.inf, math.nan])
TEXT = st.sampled_from(["", "a", "b", "A", "Zé", "1", "-12", " 3", "+4", "1_0", "٣", "😀", "\uffff", "a,b", "true"])
SCALAR = st.none() | st.booleans() | WHOLE | DOUBLE | TEXT
# Maps in which loops may run hold one entry at most, nulls apart: the engine's order of several is its own.
VALUE = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.builds(
            lambda nulls, entry: dict.fromkeys(nulls) | entry,
            st.sets(st.sampled_from(KEYS), max_size=2),
            st.dictionaries(st.sampled_from(KEYS), inner, max_size=1),
        )
    ),
)
PAYLOADS = st.fixed_dictionaries(
    {}, optional={"a": VALUE, "b": VALUE, "c": SCALAR, "list": st.lists(VALUE, max_size=4), "map": VALUE}
)


def literal(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "'" + "".join(f"\\U{ord(character):08x}" for character in value) + "'"
        case float() if math.isfinite(value):
            return repr(value)
        case int() if -(2**63) <= value < 2**63:
            return str(value)
    return "payload.a"


LITERAL = SCALAR.map(literal)
PATH = st.sampled_from(
    [
        "payload.a",
        "payload.b",
        "payload.c",
        "payload.list",
        "payload.map",
        "payload['a']",
        "payload.map.a",
        "x",
        "x.a",
        "x.b",
        "x.map.a",
        "payload.list[0]",
        "payload.list[1].a",
        "payload.missing",
        "payload.a.b.c",
        "envelope.a",
        "has(payload.a)",
        "has(payload.map.b)",
        "has(x.a)",
        "payload.list[payload.c]",
        "payload[payload.b]",
    ]
)
OPERATORS = ["==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "/", "%", "in"]
FUNCTIONS = ["size", "string", "int", "double", "dyn"]
METHODS = ["startsWith", "endsWith", "contains", "split", "join"]


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One level more of an expression. `dyn` keeps the type checker from refusing most of what is drawn."""
    untyped = inner.map("dyn({})".format)
    part = st.one_of(untyped, untyped, untyped, inner)
    ranges = st.sampled_from(["payload.list", "payload.a", "[1, 2, 3]", "[payload.a, payload.b]", "payload.map", "[x]"])
    macros = st.sampled_from(["all", "exists", "exists_one", "map", "filter"])
    return st.one_of(
        st.tuples(part, st.sampled_from(OPERATORS), part).map(lambda drawn: f"({' '.join(drawn)})"),
        st.tuples(part, part, part).map(lambda drawn: "({} ? {} : {})".format(*drawn)),
        st.sampled_from(["!", "-"]).flatmap(lambda sign: part.map(lambda drawn: f"{sign}({drawn})")),
        st.tuples(st.sampled_from(FUNCTIONS), part).map(lambda drawn: "{}({})".format(*drawn)),
        st.tuples(part, st.sampled_from(METHODS), part).map(lambda drawn: "{}.{}({})".format(*drawn)),
        st.tuples(part, st.sampled_from(["lowerAscii", "upperAscii", "size"])).map(
            lambda drawn: "{}.{}()".format(*drawn)
        ),
        st.tuples(part, part, part).map(lambda drawn: "{}.replace({}, {})".format(*drawn)),
        st.tuples(part, part).map(lambda drawn: "[{}, {}]".format(*drawn)),
        st.tuples(TEXT.map(literal), part, part, part).map(lambda drawn: "{{{}: {}, {}: {}}}".format(*drawn)),
        st.tuples(part, part).map(lambda drawn: "{}[{}]".format(*drawn)),
        st.tuples(part, st.sampled_from(KEYS)).map(lambda drawn: "{}.{}".format(*drawn)),
        st.tuples(ranges, macros, part).map(lambda drawn: "dyn({}).{}(x, {})".format(*drawn)),
        st.tuples(ranges, part, part).map(lambda drawn: "dyn({}).map(x, {}, {})".format(*drawn)),
    )


EXPRESSIONS = st.recursive(LITERAL | PATH, compound, max_leaves=6)
NAMES = frozenset({"payload", "envelope", "x"})


@settings(max_examples=10 * settings().max_examples, suppress_health_check=list(HealthCheck))
@given(source=EXPRESSIONS, payload=PAYLOADS)
@example(source="payload.a == payload.b", payload={"a": 2**53 + 1, "b": 2.0**53})
@example(source="int(payload.a)", payload={"a": 2.0**63})
@example(source="int(payload.a)", payload={"a": -(2.0**63)})
@example(source="payload.list.filter(x, x.a / 0 == 1)", payload={"list": [{}, {"a": 1}]})
@example(source="payload.list.map(x, x.a / 0 == 1, x)", payload={"list": [{"a": 1}, {}]})
@example(source="payload.list.map(x, x.b || 1 / x.a == 1, x.c)", payload={"list": [{"b": True}, {"a": 0}]})
@example(source="[payload.list, dyn({'': dyn(null), dyn(''): dyn(null)})]", payload={})
def test_closures_and_engine_agree_on_value_missing_and_error(source: str, payload: dict[str, Any]) -> None:
    """The closures look into data that holds nulls; the engine is told the same without them."""
    variables = {"payload": payload, "x": {"a": 1, "b": None, "map": {"a": None}}}
    try:
        compiled = compile_expression(source, variables=NAMES)
    except CelError:
        event("refused by the engine's compiler")
        return
    result = outcome(compiled, variables)
    assert result == outcome(by_engine(source, variables=NAMES), drop_nulls(variables))
    event(
        f"{'closures' if compiled.compiled else 'engine'}: {'no value' if result[1] == exact(NO_VALUE) else result[0]}"
    )


PAIRS = st.one_of(
    st.tuples(WHOLE, WHOLE), st.tuples(DOUBLE | WHOLE, DOUBLE), st.tuples(TEXT, TEXT), st.tuples(VALUE, VALUE)
)


@settings(max_examples=6 * settings().max_examples)
@given(pair=PAIRS)
def test_every_operator_agrees_on_any_two_values(pair: tuple[object, object]) -> None:
    left, right = pair
    variables = {"payload": {"left": left, "right": right, "list": [left, right, left]}}
    told = drop_nulls(variables)
    for source, (compiled, referee) in TWO_OPERANDS.items():
        assert outcome(compiled, variables) == outcome(referee, told), source


TWO_OPERANDS = {
    source: (closures(source), by_engine(source))
    for source in (
        *(f"payload.left {operation} payload.right" for operation in OPERATORS),
        "payload.left in payload.list",
        "payload.list[payload.left]",
        "payload.left[payload.right]",
        "-payload.left",
        "int(payload.left)",
        "double(payload.left)",
        "string(payload.left)",
        "payload.list == [payload.left, payload.right, payload.left]",
    )
}


# What a condition can come to: true, false, missing, an error, no bool at all; and true with a body that then fails.
STATES = {
    "t": "true",
    "f": "false",
    "m": "payload.missing",
    "e": "1 / payload.zero == 1",
    "x": "dyn('x')",
}


def test_logic_agrees_on_every_combination_of_true_false_missing_and_error() -> None:
    variables = {"payload": {"zero": 0}}
    for first, second in itertools.product(STATES.values(), repeat=2):
        for operation in ("&&", "||", "? 1 : 2 + "):
            source = f"dyn({first}) {operation} dyn({second})"
            assert outcome(closures(source), variables) == outcome(by_engine(source), variables), source


@pytest.mark.parametrize(
    "macro", ["exists(s, {})", "all(s, {})", "exists_one(s, {})", "filter(s, {})", "map(s, {}, {})"]
)
def test_loops_agree_on_every_combination_of_true_false_missing_and_error(macro: str) -> None:
    condition = "dyn(true)"
    for state, meaning in STATES.items():
        condition = f"(s == '{state}' ? dyn({meaning}) : {condition})"
    body = "(s == 'E' ? 1 / payload.zero : s == 'M' ? payload.missing : 1)"
    source = "payload.states." + macro.format(condition, body)
    compiled, referee = closures(source), by_engine(source)
    for states in itertools.product("tfmexEM", repeat=3):
        variables = {"payload": {"zero": 0, "states": list(states)}}
        assert outcome(compiled, variables) == outcome(referee, variables), states


UNICODE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)


TEXT_FUNCTIONS = {
    source: (closures(source), by_engine(source))
    for source in (
        "payload.text < payload.other",
        "payload.text == payload.other",
        "payload.text + payload.other",
        "size(payload.text)",
        "payload.text.lowerAscii()",
        "payload.text.upperAscii()",
        "payload.text.startsWith(payload.other)",
        "payload.text.endsWith(payload.other)",
        "payload.text.contains(payload.other)",
        "payload.text.split(payload.other)",
        "payload.text.replace(payload.other, '-')",
        "[payload.text, payload.other].join(payload.other)",
        "[payload.text, payload.other].join()",
        "int(payload.text)",
    )
}


@settings(max_examples=5 * settings().max_examples)
@given(text=UNICODE, other=UNICODE)
def test_every_text_function_agrees_on_any_text(text: str, other: str) -> None:
    variables = {"payload": {"text": text, "other": other}}
    for source, (compiled, referee) in TEXT_FUNCTIONS.items():
        assert outcome(compiled, variables) == outcome(referee, variables), source
