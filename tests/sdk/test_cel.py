"""CEL expressions: what they mean to the closures and to the engine."""

from __future__ import annotations

import copy
import math
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.sdk.evaluations import closures, exact, outcome, without_engine

from tieline.sdk.cel import (
    NO_VALUE,
    CelError,
    by_engine,
    compile_expression,
    drop_nulls,
)

PAYLOAD: dict[str, Any] = {
    "id": 12345678901234567,
    "max": 2**63 - 1,
    "min": -(2**63),
    "unsigned": 2**64 - 1,
    "one": 1,
    "whole": 1.0,
    "ratio": 1.5,
    "nan": math.nan,
    "yes": True,
    "no": False,
    "name": "Ada",
    "greek": "Ωmega",
    "face": "😀",
    "private_use": "\uffff",
    "csv": "a,b,,c",
    "empty": "",
    "digits": "0042",
    "tags": ["x", "y"],
    "mixed": [1, 2.0, "x", None, True],
    "none": [],
    "people": [{"name": "Ada", "age": 36}, {"name": "Bob"}, {"name": "Cy", "age": 7}],
    "owner": {"email": "ADA@example.com", "team": {"name": "core"}},
    "with-dash": 7,
}


class Failure:
    """Stands for a `CelError` in the table below."""


PLAIN = [  # what the closures answer by themselves
    # Selection: whole numbers keep every digit, and a missing key is no value at any depth.
    ("payload.id", 12345678901234567),
    ("payload.max", 2**63 - 1),
    ("payload.unsigned", 2**64 - 1),
    ("payload.ratio", 1.5),
    ("payload.yes", True),
    ("payload.owner.team.name", "core"),
    ('payload["owner"]["team"].name', "core"),
    ("payload.`with-dash`", 7),
    ('payload["with-dash"]', 7),
    ("payload.tags[1]", "y"),
    ("payload.mixed[3]", None),
    ("payload.people[0].age", 36),
    ("payload.missing", NO_VALUE),
    ("payload.missing.deeper.still", NO_VALUE),
    ("payload.owner.phone", NO_VALUE),
    ("payload.people[1].age", NO_VALUE),
    ("payload[payload.name]", NO_VALUE),
    ("payload.tags", ["x", "y"]),
    ("has(payload.id)", True),
    ("has(payload.missing)", False),
    ("has(payload.owner.phone)", False),
    ("has(payload.missing.deeper)", NO_VALUE),
    # Logic absorbs what is missing where the other side decides.
    ("payload.missing && false", False),
    ("false && payload.missing", False),
    ("payload.missing || true", True),
    ("true || payload.missing", True),
    ("payload.missing && true", NO_VALUE),
    ("payload.missing || false", NO_VALUE),
    ("payload.missing == 1", NO_VALUE),
    ("payload.missing != 'x'", NO_VALUE),
    ("!payload.missing", NO_VALUE),
    ("!payload.no", True),
    ("payload.yes && payload.yes", True),
    ("payload.no || payload.no", False),
    ("has(payload.missing) && payload.missing > 3", False),
    ("payload.yes ? 'a' : payload.missing", "a"),
    ("payload.no ? payload.missing : 'b'", "b"),
    ("payload.missing ? 'a' : 'b'", NO_VALUE),
    # Equality: numbers across kinds, but a bool is no number.
    ("payload.one == payload.whole", True),
    ("payload.yes == payload.one", False),
    ("payload.no == dyn(0)", False),
    ("payload.one == dyn('1')", False),
    ("payload.nan == payload.nan", False),
    ("payload.nan != payload.nan", True),
    ("payload.id == dyn(12345678901234568)", False),
    ("payload.name == 'Ada'", True),
    ("payload.one == 'Ada'", False),
    ("payload.one != 'Ada'", True),
    ("payload.tags == ['x', 'y']", True),
    ("payload.mixed == [1, 2, 'x', null, true]", True),
    ("payload.mixed == [1, 2, 'x', null, 1]", False),
    ("payload.owner.team == {'name': 'core'}", True),
    ("payload.owner.team == {'name': 'core', 'size': 1}", False),
    ("payload.mixed[3] == null", True),
    # Order: text by code point, numbers across kinds.
    ("payload.one < 2", True),
    ("payload.one < payload.ratio", True),
    ("payload.ratio >= payload.whole", True),
    ("payload.nan < payload.one", False),
    ("payload.id == 12345678901234567.0", True),
    ("payload.no < payload.yes", True),
    ("payload.private_use < payload.face", True),
    ("'Z' < 'a'", True),
    ("payload.max < payload.unsigned", True),
    # Membership.
    ("payload.name in ['Ada', 'Bob']", True),
    ("payload.one in ['1']", False),
    ("payload.one in payload.mixed", True),
    ("payload.whole in [1, 2]", True),
    ("payload.yes in [dyn(1)]", False),
    ("'id' in payload", True),
    ("'nope' in payload", False),
    ("payload.missing in ['x']", NO_VALUE),
    # Arithmetic: 64-bit, rounding towards zero.
    ("payload.one + 1", 2),
    ("payload.id * 2 - payload.id", 12345678901234567),
    ("-7 / 2", -3),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("-payload.max", -(2**63) + 1),
    ("payload.ratio * 2.0", 3.0),
    ("payload.ratio / 0.5", 3.0),
    ("-payload.ratio", -1.5),
    ("payload.max + payload.min", -1),
    # Text and conversion.
    ("string(payload.id)", "12345678901234567"),
    ("string(payload.unsigned)", "18446744073709551615"),
    ("string(payload.yes)", "true"),
    ("int(payload.digits)", 42),
    ("int('-5')", -5),
    ("int(-1.9)", -1),
    ("double(payload.one)", 1.0),
    ("payload.name + ' ' + payload.greek", "Ada Ωmega"),
    ("payload.tags + payload.none", ["x", "y"]),
    ("size(payload.face)", 1),
    ("payload.tags.size()", 2),
    ("size(payload.owner)", 2),
    ("payload.owner.email.lowerAscii()", "ada@example.com"),
    ("payload.greek.upperAscii()", "ΩMEGA"),
    ("'ÄB'.lowerAscii()", "Äb"),
    ("payload.name.startsWith('A')", True),
    ("payload.name.endsWith('x')", False),
    ("payload.owner.email.contains('@')", True),
    ("payload.csv.split(',')", ["a", "b", "", "c"]),
    ("payload.tags.join('+')", "x+y"),
    ("payload.csv.replace(',', ';')", "a;b;;c"),
    (r"'\u00e9\x41\101\U0001F600\n' + r'\n'", "éAA😀\n\\n"),
    ("{'id': payload.id, 'name': [payload.one]}", {"id": 12345678901234567, "name": [1]}),
    ("{'id': payload.missing}", NO_VALUE),
    ("[payload.one, payload.missing]", NO_VALUE),
    # Macros.
    ("payload.people.exists(p, p.name == 'Bob')", True),
    ("payload.people.exists(p, p.age > 30)", True),
    ("payload.people.exists(p, p.age > 99)", NO_VALUE),
    ("payload.people.all(p, p.age > 9)", False),
    ("payload.people.all(p, has(p.name))", True),
    ("payload.people.exists_one(p, p.name == 'Cy')", True),
    ("payload.none.all(p, p.x)", True),
    ("payload.none.exists(p, p.x)", False),
    ("payload.people.map(p, p.name)", ["Ada", "Bob", "Cy"]),
    ("payload.people.map(p, p.age)", NO_VALUE),
    ("payload.people.filter(p, has(p.age)).map(p, p.age + 1)", [37, 8]),
    ("payload.people.filter(p, p.age > 9)", NO_VALUE),
    ("payload.people.exists_one(p, p.age > 9)", NO_VALUE),
    ("payload.people.map(p, p.name == 'Ada' || p.name == 'Bob', p.age)", NO_VALUE),
    ("payload.people.map(p, has(p.age), p.name)", ["Ada", "Cy"]),
    ("payload.owner.team.map(key, key)", ["name"]),
    ("payload.tags.map(payload, payload + '!')", ["x!", "y!"]),
    ("payload.tags.map(a, payload.tags.map(b, a + b))", [["xx", "xy"], ["yx", "yy"]]),
]

BY_THE_ENGINE: list[tuple[str, Any]] = [  # odd values, functions outside the subset, and all that fails
    ("payload.name.x", Failure),
    ("has(payload.name.x)", Failure),
    ("payload.tags[2]", Failure),
    ("payload.tags[-1]", Failure),
    ("payload.tags['a']", Failure),
    ("payload.tags[payload.yes]", Failure),
    ("payload[1]", NO_VALUE),
    ("payload.tags[1.0]", "y"),
    ("payload.name + 1", Failure),
    ("payload.yes + payload.one", Failure),
    ("payload.one + payload.ratio", Failure),
    ("payload.max + 1", Failure),
    ("payload.min - 1", Failure),
    ("-payload.min", Failure),
    ("payload.min / -1", Failure),
    ("payload.min % -1", Failure),
    ("payload.max * 2", Failure),
    ("payload.unsigned + 1", Failure),
    ("payload.unsigned == 18446744073709551615u", True),
    ("payload.one / 0", Failure),
    ("payload.one % 0", Failure),
    ("payload.ratio / 0.0", math.inf),
    ("payload.name < 1", Failure),
    ("payload.tags < payload.tags", Failure),
    ("payload.name && true", Failure),
    ("payload.name && false", False),
    ("payload.name ? 1 : 2", Failure),
    ("!payload.name", Failure),
    ("payload.missing && payload.name", NO_VALUE),
    ("payload.one / 0 == 1 || true", True),
    ("payload.one / 0 == 1 && payload.missing", Failure),
    ("payload.missing && payload.one / 0 == 1", NO_VALUE),
    ("'d' in payload.name", Failure),
    ("1 in payload", False),
    ("size(payload.one)", Failure),
    ("int(payload.name)", Failure),
    ("int(payload.nan)", Failure),
    ("int('٣')", Failure),
    ("int('1_0')", Failure),
    ("int(' 12')", 12),
    ("payload.yes && payload.name", Failure),
    ("int(9.3e18)", Failure),
    ("string(payload.ratio)", "1.5"),
    ("string(payload.tags)", Failure),
    ("{payload.name: 1, 'Ada': 2}", Failure),
    ("payload.one.startsWith('a')", Failure),
    ("payload.mixed.join(',')", Failure),
    ("payload.name.map(c, c)", Failure),
    ("payload.tags.all(t, t)", Failure),
    ("payload.people.filter(p, p.age > 9 || p.name / 0 == 1)", Failure),
    ("payload.name.matches('^A.a$')", True),
    ("payload.name.matches('(')", Failure),
    ("'  x '.trim()", "x"),
    ("payload.name.substring(1)", "da"),
    ("payload.name.indexOf('a')", 2),
    ("bool('true')", True),
    ("double('1.5')", 1.5),
    ("b'a\\xff'", b"a\xff"),
    ("[b'a']", [b"a"]),
    ("5u", 5),
    ("{1: 'a'}[1]", "a"),
    ("type(payload.one)", Failure),
    ("type(payload.one) == int", True),
    ("timestamp('2024-02-29T12:00:00+02:00')", datetime(2024, 2, 29, 10, tzinfo=UTC)),
    ("timestamp(payload.name)", Failure),
    ("timestamp(payload.missing)", NO_VALUE),
    ("timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z')", timedelta(days=1)),
    ("duration('90s')", timedelta(seconds=90)),
    ("envelope.anything", NO_VALUE),
    ("has(envelope.anything) || true", True),
]


@pytest.mark.parametrize(("source", "expected"), PLAIN)
def test_the_closures_answer_the_plain_cases_alone_and_as_the_engine_does(source: str, expected: object) -> None:
    variables = {"payload": PAYLOAD}
    assert exact(without_engine(closures(source)).evaluate(variables)) == exact(expected)
    assert exact(by_engine(source).evaluate(variables)) == exact(expected)


@pytest.mark.parametrize(("source", "expected"), BY_THE_ENGINE)
def test_every_other_case_is_what_the_engine_says(source: str, expected: object) -> None:
    variables = {"payload": PAYLOAD}
    compiled, refereed = (
        outcome(expression, variables) for expression in (compile_expression(source), by_engine(source))
    )
    assert compiled == refereed
    if expected is Failure:
        assert compiled[0] == "error"
    else:
        assert compiled == ("value", exact(expected))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("payload.", "line 1, column 9: Syntax error"),
        ("", "line 1, column"),
        ("payload.a ==\n nobody.b", "line 2, column 8: undeclared reference to 'nobody.b'"),
        ("payload.a.shout()", "undeclared reference to 'shout'"),
        ("'a' + 1", "line 1, column 5: found no matching overload"),
        ("1 == 1.0", "found no matching overload"),
        ("9223372036854775808", "invalid int literal"),
        ("has(payload)", "must be a field selection"),
        ("'" + "a" * 3999 + "'", "longer than 4,000 characters"),
        ("(" * 60 + "1" + ")" * 60, "nested too deeply"),
        ("payload" + ".a" * 60, "nested too deeply"),
        ("[" * 1900 + "1" + "]" * 1900, "nested too deeply"),
        ("'\ud800'", "not valid Unicode"),
    ],
)
def test_a_wrong_expression_fails_when_it_is_compiled(source: str, message: str) -> None:
    with pytest.raises(CelError) as caught:
        compile_expression(source)
    assert message in str(caught.value)


def test_the_declared_variables_are_the_only_ones() -> None:
    assert compile_expression("row.id", variables=frozenset({"row"})).evaluate({"row": {"id": 1}}) == 1
    with pytest.raises(CelError, match=r"undeclared reference to 'payload\.id'"):
        compile_expression("payload.id", variables=frozenset({"row"}))


@pytest.mark.parametrize(
    "source",
    [
        "payload.secret + 1",
        "payload.secret.x",
        "payload.secret[0]",
        "payload[payload.secret].x + 1",
        "payload.tags[payload.number]",
        "payload.huge + 1",
        "{payload.secret: 1, payload.secret: 2}",
        "int(payload.secret)",
        "bool(payload.secret)",
        "timestamp(payload.secret)",
        "duration(payload.secret)",
        "payload.secret.matches(payload.secret + '(')",
        "payload.secret.charAt(100)",
        "payload.secret.format([1])",
        "payload.surrogate.trim()",
    ],
)
def test_an_error_quotes_nothing_of_the_payload(source: str) -> None:
    payload = {
        "secret": "hunter2 %z No matching overloads found : hunter2",
        "number": 424242,
        "huge": 424242 * 10**30,
        "tags": ["x"],
        "surrogate": "\ud800hunter2",
    }
    for expression in (compile_expression(source), by_engine(source)):
        kind, message = outcome(expression, {"payload": payload})
        assert "hunter2" not in str(message)
        assert "424242" not in str(message)
        assert kind == "error" or message == exact(NO_VALUE)


@pytest.mark.parametrize("number", [2**64, 2**100, -(2**63) - 1, 10**400])
@pytest.mark.parametrize(
    "use", ["payload.n", "payload.n + 1", "string(payload.n)", "payload.n == 1", "payload.n < 1.5"]
)
def test_a_number_beyond_64_bits_is_an_error_where_it_is_used(number: int, use: str) -> None:
    variables = {"payload": {"n": number, "other": "fine"}}
    for expression in (compile_expression(use), by_engine(use)):
        with pytest.raises(CelError, match="out of range"):
            expression.evaluate(variables)
    for expression in (compile_expression("payload.other"), by_engine("payload.other")):
        assert expression.evaluate(variables) == "fine"


def test_data_nested_ten_thousand_deep_never_reaches_the_engine() -> None:
    deep: Any = "x"
    for _ in range(10_000):
        deep = [deep]
    for source in ("payload.deep == payload.deep", "type(payload.deep) == list", "payload == payload"):
        for expression in (compile_expression(source), by_engine(source)):
            with pytest.raises(CelError, match="nested deeper than 100"):
                expression.evaluate({"payload": {"deep": deep}})
    with pytest.raises(CelError, match="nested deeper than 100"):
        drop_nulls({"deep": deep})
    assert compile_expression("payload.id").evaluate({"payload": {"deep": deep, "id": 1}}) == 1


@pytest.mark.parametrize("size", [9_999, 10_000])
def test_loops_have_one_budget_for_the_whole_evaluation(size: int) -> None:
    payload = {"all": list(range(size)), "half": list(range(size // 2))}
    for source in (
        "payload.all.exists(x, x < 0)",
        "payload.half.exists(x, x < 0) || payload.half.exists(x, x < 0)",
        "[1].exists(_, payload.half.exists(x, x < 0) || payload.half.exists(x, x < 0))",
    ):
        assert outcome(closures(source), {"payload": payload}) == outcome(by_engine(source), {"payload": payload})
    expected = "error" if size == 10_000 else "value"
    assert outcome(closures("payload.all.exists(x, x < 0)"), {"payload": payload})[0] == expected


def test_a_text_that_is_not_unicode_is_an_error_for_the_engine_only_where_it_is_used() -> None:
    variables = {"payload": {"bad": "\ud800", "good": " x "}}
    with pytest.raises(CelError, match="not valid Unicode"):
        compile_expression("payload.bad.trim()").evaluate(variables)
    assert compile_expression("payload.good.trim()").evaluate(variables) == "x"


def test_a_text_with_a_nul_is_kept_whole_or_refused_but_never_cut() -> None:
    variables = {"payload": {"text": "a\0b"}}
    assert without_engine(closures("payload.text + 'c'")).evaluate(variables) == "a\0bc"
    with pytest.raises(CelError, match="NUL"):
        by_engine("payload.text + 'c'").evaluate(variables)


def test_an_evaluation_changes_none_of_its_variables() -> None:
    variables = {"payload": copy.deepcopy({key: value for key, value in PAYLOAD.items() if key != "nan"})}
    before = copy.deepcopy(variables)
    for source, _ in PLAIN + BY_THE_ENGINE:
        outcome(compile_expression(source), variables)
    assert variables == before


def test_no_value_is_one_object_wherever_it_travels() -> None:
    assert repr(NO_VALUE) == "NO_VALUE"
    assert copy.deepcopy(NO_VALUE) is NO_VALUE


def test_expressions_of_the_same_source_are_equal() -> None:
    first, second, other = (compile_expression(source) for source in ("payload.a", "payload.a", "payload.b"))
    assert first == second
    assert len({first, second, other}) == 2
    assert first.compiled
    assert not compile_expression("payload.a.matches('x')").compiled


@pytest.mark.parametrize("compiler", [compile_expression, by_engine])
def test_one_expression_serves_many_threads(compiler: Any) -> None:
    expression = compiler("payload.people.filter(p, p.n == payload.n).map(p, p.name + string(payload.n))")
    wrong: list[object] = []

    def evaluate(number: int) -> None:
        payload = {"n": number, "people": [{"n": n, "name": f"p{n}-"} for n in range(6)]}
        for _ in range(200):
            result = expression.evaluate({"payload": payload})
            if result != [f"p{number}-{number}"]:
                wrong.append(result)

    threads = [threading.Thread(target=evaluate, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
