"""CEL and nulls: a map's null entry is passed over as if it had been dropped, a list's null element stays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.sdk.evaluations import closures, exact, without_engine

from tieline.sdk.cel import NO_VALUE, by_engine, drop_nulls


def test_nulls_leave_maps_and_stay_in_lists() -> None:
    given_value = {"a": None, "b": [None, {"c": None, "d": 0}], "e": {"f": None}, "g": False, "h": ""}
    before = copy.deepcopy(given_value)
    assert drop_nulls(given_value) == {"b": [None, {"d": 0}], "e": {}, "g": False, "h": ""}
    assert given_value == before
    assert drop_nulls([None, 1]) == [None, 1]
    assert drop_nulls(None) is None


SPARSE: dict[str, Any] = {
    "id": None,
    "name": "Ada",
    "key": "id",
    "owner": {"email": None, "team": {"name": None, "size": 1}, "boss": None},
    "hollow": {"a": None, "b": {"c": None}},
    "list": [None, {"k": None, "v": 1}, [{"k": None}]],
}

SPARSELY = [  # what the closures answer by themselves where there are nulls
    # A map's null entry is not there,
    ("payload.id", NO_VALUE),
    ('payload["id"]', NO_VALUE),
    ("payload.id == 'x'", NO_VALUE),
    ("payload.id == null", NO_VALUE),
    ("payload.id != 'x' || true", True),
    ("payload[payload.key]", NO_VALUE),
    ("payload.id.name", NO_VALUE),
    ("payload.owner.email", NO_VALUE),
    ("payload.owner['email']", NO_VALUE),
    ("payload.owner.boss.name", NO_VALUE),
    ("payload.owner.boss.team.name", NO_VALUE),
    ("payload.owner.team.name", NO_VALUE),
    ("payload.owner.team.size", 1),
    ("payload.owner[payload.name == 'Ada' ? 'boss' : 'team'].name", NO_VALUE),
    ("has(payload.id)", False),
    ("has(payload.owner.email)", False),
    ("has(payload.owner.team.name)", False),
    ("has(payload.owner.team)", True),
    ("has(payload.owner.boss.name)", NO_VALUE),
    ("has(payload.id) ? payload.id : payload.name", "Ada"),
    ("'id' in payload", False),
    ("'team' in payload.owner", True),
    ("dyn(payload.owner).email", NO_VALUE),
    ("(payload.name == 'Ada' ? payload.owner : payload.hollow).email", NO_VALUE),
    ("(payload.name == 'Ada' ? payload.owner : {'email': null}).email", NO_VALUE),
    # also where the map is used as a whole,
    ("payload.hollow", {"b": {}}),
    ("payload['hollow']", {"b": {}}),
    ("payload.hollow.b", {}),
    ("dyn(payload.hollow)", {"b": {}}),
    ("payload.owner", {"team": {"size": 1}}),
    ("[payload.hollow]", [{"b": {}}]),
    ("{'x': payload.hollow}", {"x": {"b": {}}}),
    ("payload.name == 'Ada' ? payload.hollow : payload.owner", {"b": {}}),
    ("payload.name == 'Ada' ? payload.hollow : {'a': null}", {"b": {}}),
    ("size(payload.hollow)", 1),
    ("payload.hollow.size()", 1),
    ("payload.hollow == {'b': {}}", True),
    ("payload.hollow != {'b': {}}", False),
    ("payload.hollow in [{'b': {}}]", True),
    ("{'b': {}} in [payload.hollow]", True),
    ("{'v': 1} in payload.list", True),
    ("payload.owner.map(key, key)", ["team"]),
    ("payload.hollow.all(key, key == 'b')", True),
    # but a list's null element is,
    ("payload.list[0]", None),
    ("payload.list[0] == null", True),
    ("payload.list", [None, {"v": 1}, [{}]]),
    ("payload.list + payload.list[2]", [None, {"v": 1}, [{}], {}]),
    ("size(payload.list)", 3),
    ("payload.list[1].k", NO_VALUE),
    ("has(payload.list[1].k)", False),
    ("payload.list[2][0].k", NO_VALUE),
    ("payload.list.exists(x, x == null)", True),
    ("payload.list.exists(x, x == {'v': 1})", True),
    ("payload.list.exists_one(x, x == [{}])", True),
    ("payload.list.map(x, x)", [None, {"v": 1}, [{}]]),
    ("payload.list.filter(x, x != null)", [{"v": 1}, [{}]]),
    ("payload.list[2].map(x, has(x.k))", [False]),
    ("payload.list[2].map(x, x.k)", NO_VALUE),
    ("payload.list[2].map(payload, payload)", [{}]),
    # and what the expression itself builds is as it is written.
    ("{'a': null}", {"a": None}),
    ("{'a': null}.a", None),
    ("{'a': null}[payload.name == 'Ada' ? 'a' : 'b']", None),
    ("has({'a': null}.a)", True),
    ("size({'a': null})", 1),
    ("'a' in {'a': null}", True),
    ("{'a': null} == {'a': null}", True),
    ("{'a': payload.list[0]}", {"a": None}),
    ("{'a': payload.list[0]}.a", None),
    ("has({'a': payload.list[0]}.a)", True),
    ("{'a': payload.list[0]}.map(key, key)", ["a"]),
    ("[{'a': null}].map(x, x.a)", [None]),
    ("[{'a': null}].all(x, has(x.a))", True),
    ("[payload.hollow, dyn({'a': null})].map(x, has(x.a))", [False, True]),
    ("payload.list.map(x, {'a': x})[0].a", None),
    ("(payload.name == 'Ada' ? {'email': null} : payload.owner).email", None),
]


@pytest.mark.parametrize(("source", "expected"), SPARSELY)
def test_nulls_are_passed_over_as_if_they_had_been_dropped(source: str, expected: object) -> None:
    variables = {"payload": copy.deepcopy(SPARSE)}
    for told in (variables, drop_nulls(variables)):
        assert exact(without_engine(closures(source)).evaluate(told)) == exact(expected)
        assert exact(by_engine(source).evaluate(told)) == exact(expected)
    assert variables == {"payload": SPARSE}


def test_nulls_are_passed_over_in_every_variable_but_a_variable_may_be_null() -> None:
    variables = {"payload": {}, "options": {"unit": None}, "variant": None}
    for source, expected in (("options.unit", NO_VALUE), ("has(options.unit)", False), ("variant == null", True)):
        for expression in (closures(source), by_engine(source)):
            assert exact(expression.evaluate(variables)) == exact(expected)
