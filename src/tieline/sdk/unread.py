"""Unread records: the items of a page as the JSON text that they came as, each to be parsed where it is looked at.

A page of a thousand records is megabytes once it is parsed, and most of them are the same as last time. Cutting it costs a fifth of
that, and a record that is parsed, used and let go costs half of what it costs among a thousand others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypedDict

import msgspec
import orjson

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_NEEDS_CARE = re.compile(
    rb"\\u(?:0000|[dD][89a-fA-F])"
)  # a NUL, a surrogate: what is done about those is done to whole pages


class Cut(NamedTuple):
    """The items of a list, each as JSON text, and the body with an empty list in their place."""

    items: list[bytes]
    rest: bytes


def cut(body: bytes, path: str | None) -> Cut | None:
    """Cut the list at a dotted name out of a JSON body; `None` where it is not there, or is not plain enough and had better be parsed.

    What comes back holds what the whole holds, but for a number beyond all doubles, which makes only its own record unreadable.
    """
    if (b"\\" in body and _NEEDS_CARE.search(body)) or not _is_utf8(body):
        return None
    try:
        return _cut(body, path and path.removesuffix("?"))
    except (msgspec.DecodeError, RecursionError):
        return None


def reader_of(fields: Collection[str]) -> Callable[[bytes], dict[str, Any] | None]:
    """What reads these fields, as far as they are there, out of the text of an object, which costs a fifth of parsing it.

    It gives `None` where it had better be parsed: it is no object, or one of them is not plain text.
    """
    some: Any = TypedDict("some", dict.fromkeys(fields, msgspec.Raw), total=False)  # type: ignore[misc]
    decoder: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(some)

    def read(text: bytes) -> dict[str, Any] | None:
        found = {}
        try:
            for name, raw in decoder.decode(text).items():
                value = bytes(raw)
                if b"\\" in value:
                    return None
                found[name] = orjson.loads(value)
        except (msgspec.DecodeError, orjson.JSONDecodeError, RecursionError):
            return None
        return found

    return read


def _cut(body: bytes | msgspec.Raw, path: str | None) -> Cut | None:
    if path is None:
        return Cut([bytes(one) for one in _LIST.decode(body)], b"[]")
    told = _OBJECT.decode(body)
    head, tail = (path, None) if path in told else path.split(".", 1) if "." in path else (path, None)
    if head not in told:
        return None
    found = _cut(told[head], tail)
    return found and Cut(found.items, msgspec.json.encode({**told, head: msgspec.Raw(found.rest)}))


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
