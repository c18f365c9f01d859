"""Cutting a page into the text of its records gives what parsing the whole gives, or nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.sdk.answers import dig
from tieline.sdk.unread import Cut, cut, reader_of

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.fixed_dictionaries({"items": st.lists(VALUES, max_size=5), "next": VALUES}, optional={"odd": VALUES})
SCRAPS = st.sampled_from(
    [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b"NaN", b"\x00", b"\xff", b" ", b"//"]
)


def read(found: Cut) -> tuple[Any, Any]:
    return [orjson.loads(one) for one in found.items], orjson.loads(found.rest)


@given(BODIES)
def test_what_is_cut_out_and_what_is_left_are_the_whole(body: dict[str, Any]) -> None:
    found = cut(orjson.dumps(body), "items")
    if found is None:
        assert b"\\u0000" in orjson.dumps(body)
    else:
        assert read(found) == (body["items"], {**body, "items": []})


@given(BODIES, st.data())
def test_what_is_cut_out_of_a_broken_body_is_what_a_parser_reads_there(
    body: dict[str, Any], data: st.DataObject
) -> None:
    text = orjson.dumps(body)
    at, width = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 2))
    broken = text[:at] + data.draw(SCRAPS) + text[at + width :]
    found = cut(broken, "items")
    if found is None:
        return
    try:
        items, rest = read(found)
    except orjson.JSONDecodeError as error:
        assert "infinity" in str(error)  # noqa: PT017  1e999, which is refused with its record
        return
    whole = orjson.loads(broken)
    assert items == whole["items"]
    assert rest == {**whole, "items": []}


@pytest.mark.parametrize(
    ("body", "path", "items"),
    [
        ([1, {"a": 2}], None, [1, {"a": 2}]),
        ({"data": {"list": {"nodes": [3]}, "more": True}}, "data.list.nodes", [3]),
        ({"a.b": [4], "a": {"b": [5]}}, "a.b", [4]),
        ({"a": {"b.c": [6]}}, "a.b.c", [6]),
        ({"items": [7]}, "items?", [7]),
    ],
)
def test_the_list_is_found_where_a_paginator_finds_it(body: Any, path: str | None, items: list[Any]) -> None:
    assert path is None or dig(body, path.removesuffix("?")) == items
    found = cut(orjson.dumps(body), path)
    assert found
    assert [orjson.loads(one) for one in found.items] == items


@pytest.mark.parametrize(
    "body",
    [
        b'{"items": null}', b'{"items": {"0": 1}}', b'{"other": []}', b"[]", b"7", b"", b'\xef\xbb\xbf{"items": []}',
        b'{"items": ["\\u0000"]}', b'{"items": ["\\ud800"]}', b'{"items": ["\\UD83D"]}', b'{"items": ["\xff"]}',
        b'{"items": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", b'{"items": [1, ]}', b'{"items": [01]}',
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_parser(body: bytes) -> None:
    assert cut(body, "items") is None


NAMES = st.sampled_from(["id", "user", "users", "i", "", "name"])
SPACE = st.sampled_from(["", " ", "\n\t"])


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Texts of objects as others may write them: names twice, names with letters escaped, white space."""
    members = []
    for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=6)):
        spelt = "".join(f"\\u{ord(one):04x}" if draw(st.booleans()) else one for one in name)
        members.append(f'{draw(SPACE)}"{spelt}"{draw(SPACE)}:{draw(SPACE)}{orjson.dumps(value).decode()}{draw(SPACE)}')
    return f"{{{','.join(members)}}}".encode()


@given(objects())
def test_fields_that_are_read_out_of_a_text_are_what_parsing_it_gives(text: bytes) -> None:
    found, whole = reader_of({"id", "user"})(text), orjson.loads(text)
    expected = {name: whole[name] for name in ("id", "user") if name in whole}
    assert found == expected or (found is None and b"\\" in text)


@pytest.mark.parametrize(
    "text", [b"[1]", b"7", b"", b'{"id": nothing}', b'{"id": 1', b'{"id": 1e999}', b'{"id": "\\ud800"}']
)
def test_what_is_no_plain_object_is_left_to_the_parser(text: bytes) -> None:
    assert reader_of({"id"})(text) is None
