"""Scopes: what operations need, held against what was granted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tieline.catalog import compile_catalog, load_catalog
from tieline.flows.scopes import missing_scopes, read_needs
from tieline.sdk import Account, ApiKey, Context, Identity, Provider


def needing(*needs: list[str]) -> Provider[Any]:
    """A provider with an operation for each list of needs."""
    acme: Provider[Any] = Provider(
        slug="acme", name="Acme", category="hr", base_url="https://api.acme.example", auth=ApiKey(header="X-Api-Key"),
        identity=Identity("/me", id="id", name="name"),
    )  # fmt: skip
    for number, one in enumerate(needs):

        async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
            """People."""
            yield await ctx.get("/people")

        read.__name__ = f"people_{number}"
        acme.sync(Account.map(external_id="payload.id"), every="1h", needs=one)(read)
    return acme


@pytest.mark.parametrize(
    ("needs", "granted", "missing"),
    [
        ([["a"]], None, []),
        ([["a"]], [], ["a"]),
        ([["a"], ["b", "c"]], ["b"], ["a", "c"]),
        ([["a|b"]], ["a"], []),
        ([["a|b"]], ["b"], []),
        ([["a|b"]], ["a", "b"], []),
        ([["a|b"]], ["c", "a|c"], ["a|b"]),
        ([["a|b"], ["b"]], ["a"], ["b"]),
        ([["a|b", "c|d"]], ["d"], ["a|b"]),
        ([["ab"]], ["a", "b"], ["ab"]),
    ],
)
def test_a_need_is_met_by_any_of_its_alternatives(
    needs: list[list[str]], granted: list[str] | None, missing: list[str]
) -> None:
    assert missing_scopes(needing(*needs), granted) == missing


def test_what_two_operations_need_is_missing_once() -> None:
    assert missing_scopes(needing(["a"], ["a", "b"]), ["b"]) == ["a"]


def test_what_goes_without_a_permission_is_what_nothing_else_reads() -> None:
    acme = needing(["a"], ["b|c"])
    catalog = compile_catalog([acme], load_catalog().checks)
    needs = read_needs(catalog, acme)
    assert [(one.name, one.scopes, [op.id for op in one.operations]) for one in needs] == [
        ("a", ("a",), ["people_0"]), ("b|c", ("b", "c"), ["people_1"]),
    ]  # fmt: skip
    assert [one.checks for one in needs] == [(), ()], "accounts are still read by the other operation"
    alone = needing(["a"])
    (need,) = read_needs(compile_catalog([alone], load_catalog().checks), alone)
    assert {one.kind for one in need.checks} == {"account"}
