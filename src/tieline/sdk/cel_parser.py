"""The syntax tree of a CEL expression, read from the engine's own parse.

The engine hands out each expression it accepted as a `cel.expr.CheckedExpr` message (github.com/google/cel-spec,
proto/cel/expr/{checked,syntax}.proto). Reading that, rather than parsing CEL a second time, means that precedence,
literals, escapes and macros are the engine's by construction. The message is decoded here, since only nine of its
parts matter and the Protocol Buffers runtime is not otherwise needed. Macros arrive expanded, as `Loop`s.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, cast


@dataclass(frozen=True, slots=True)
class Const:
    """A literal whose value is plain JSON."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, a loop's variable or accumulator, or the name of a type."""

    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, or `has(operand.field)` when `only_test`."""

    operand: Node
    field: str
    only_test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator; a method's target is its first argument. Operators are named as in `_+_`."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    """`{key: value}`."""

    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """An expanded macro: `variable` runs over `over`, and the accumulator `@result` from `start` by `step`."""

    variable: str
    over: Node
    start: Node
    condition: Node
    step: Node
    result: Node


@dataclass(frozen=True, slots=True)
class Foreign:
    """What only the engine evaluates, such as an unsigned literal or a message; its `parts` may name variables."""

    parts: tuple[Node, ...]


Node: TypeAlias = Const | Name | Select | Call | ListOf | MapOf | Loop | Foreign

_ACCUMULATOR = "@result"
_MAX_INT = 2**63 - 1


def read_tree(checked: bytes) -> Node:
    """Read a checked expression, as the engine serialises it: a `google.protobuf.Any` around a `CheckedExpr`."""
    any_message = dict(_fields(checked))
    checked_expression = dict(_fields(cast("bytes", any_message[2])))
    return _node(cast("bytes", checked_expression[4]))


def free_fields(tree: Node) -> dict[str, frozenset[str] | None]:
    """Which fields of each free name an expression can reach; `None` when it may use the whole value."""
    uses: dict[str, set[str] | None] = {}
    for name, field in _uses(tree, frozenset()):
        if field is None:
            uses[name] = None
        else:
            fields = uses.setdefault(name, set())
            if fields is not None:
                fields.add(field)
    return {name: None if fields is None else frozenset(fields) for name, fields in uses.items()}


def parts_of(node: Node) -> tuple[Node, ...]:
    """The nodes directly below one."""
    match node:
        case Select(operand):
            return (operand,)
        case Call(_, parts) | ListOf(parts) | Foreign(parts):
            return parts
        case MapOf(entries):
            return tuple(part for entry in entries for part in entry)
        case Loop():
            return (node.over, node.start, node.condition, node.step, node.result)
        case _:
            return ()


def _uses(node: Node, bound: frozenset[str]) -> Iterator[tuple[str, str | None]]:
    match node:
        case Name(name):
            if name not in bound:
                yield name, None
        case Select(Name(name), field) | Call("_[_]", (Name(name), Const(str(field)))):
            if name not in bound:
                yield name, field
        case Loop(variable, over):
            yield from _uses(over, bound)
            for part in parts_of(node)[1:]:
                yield from _uses(part, bound | {variable, _ACCUMULATOR})
        case _:
            for part in parts_of(node):
                yield from _uses(part, bound)


def _node(message: bytes) -> Node:
    """Read one `Expr`: an id (field 2) and one of the seven kinds."""
    for number, content in _fields(message):
        if number in _READERS:
            return _READERS[number](cast("bytes", content))
    return Foreign(())


def _constant(message: bytes) -> Node:
    for number, content in _fields(message):
        match number, content:
            case 1, _:
                return Const(None)
            case 2, int(flag):
                return Const(bool(flag))
            case 3, int(bits):
                return Const(bits if bits <= _MAX_INT else bits - 2**64)
            case 5, bytes(packed):
                return Const(struct.unpack("<d", packed)[0])
            case 6, bytes(text):
                return Const(text.decode())
    return Foreign(())  # unsigned, bytes


def _name(message: bytes) -> Node:
    return Name(_text(dict(_fields(message)), 1))


def _select(message: bytes) -> Node:
    fields = dict(_fields(message))
    return Select(_node(cast("bytes", fields[1])), _text(fields, 2), bool(fields.get(3)))


def _call(message: bytes) -> Node:
    function = _text(dict(_fields(message)), 2)
    # Field 1 (a method's target) and field 3 (each argument), which the wire keeps in order.
    arguments = tuple(_node(cast("bytes", content)) for number, content in _fields(message) if number != 2)
    return Call(function, arguments)


def _list(message: bytes) -> Node:
    return ListOf(tuple(_node(cast("bytes", content)) for number, content in _fields(message) if number == 1))


def _map(message: bytes) -> Node:
    """Read a `CreateStruct`: a map, or with a name (field 1) a message, whose entries have no key expression."""
    entries = [dict(_fields(cast("bytes", content))) for number, content in _fields(message) if number == 2]
    values = [_node(cast("bytes", entry[4])) for entry in entries]
    if any(number == 1 for number, _ in _fields(message)):
        return Foreign(tuple(values))
    keys = [_node(cast("bytes", entry[3])) for entry in entries]
    return MapOf(tuple(zip(keys, values, strict=True)))


def _loop(message: bytes) -> Node:
    fields = dict(_fields(message))
    over, start, condition, step, result = (_node(cast("bytes", fields[number])) for number in (2, 4, 5, 6, 7))
    if _text(fields, 3) != _ACCUMULATOR or 8 in fields:  # cel.bind, or a macro with two variables
        return Foreign((over, start, condition, step, result))
    return Loop(_text(fields, 1), over, start, condition, step, result)


_READERS = {3: _constant, 4: _name, 5: _select, 6: _call, 7: _list, 8: _map, 9: _loop}


def _text(fields: dict[int, bytes | int], number: int) -> str:
    return cast("bytes", fields.get(number, b"")).decode()


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Each field of a message: its number and its content (protobuf.dev/programming-guides/encoding)."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        match tag & 7:
            case 0:
                content, position = _varint(message, position)
                yield tag >> 3, content
                continue
            case 1:
                size = 8
            case 2:
                size, position = _varint(message, position)
            case kind:
                raise ValueError(f"a field of wire type {kind}")
        yield tag >> 3, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
