"""What the tests of CEL share: what an evaluation comes to, by the closures and by the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NoReturn

import pytest

from tieline.sdk.cel import CelError, Expression, by_closures


def outcome(expression: Expression, variables: Mapping[str, Any]) -> tuple[str, object]:
    """What an evaluation comes to, in a form that tells True from 1, 1 from 1.0, and finds NaN equal to itself."""
    try:
        return "value", exact(expression.evaluate(variables))
    except CelError as error:
        return "error", str(error)


def exact(value: object) -> object:
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    return type(value), repr(value)


def without_engine(expression: Expression) -> Expression:
    def refuse(_: Mapping[str, Any]) -> NoReturn:
        pytest.fail(f"the closures asked the engine: {expression.source}")

    return dataclasses.replace(expression, _ask_engine=refuse)


def closures(source: str) -> Expression:
    expression = by_closures(source)
    assert expression is not None, f"outside the subset: {source}"
    return expression
