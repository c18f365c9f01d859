"""Identifiers: a prefix that says what it is, then a 128-bit number in 26 characters.

Ids are `str` everywhere in Python (`conn_01k…`) and `uuid` in the database. New ones are UUIDv7 (RFC 9562), so they
sort by creation. An entity's id is derived from what it is (`entity_id`), so that whoever knows the
connection, kind and external id knows the id, without asking the database.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID, SafeUUID

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_LENGTH = 26
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_TO_PYTHON = bytearray(b"?" * 256)  # the digits of `int(…, 32)`, which takes `?` for none
for _digit, _own in zip(b"0123456789abcdefghijklmnopqrstuv", _ALPHABET.encode(), strict=True):
    _TO_PYTHON[_own] = _digit

_FREE = 2**128 - 1 ^ (0xF << 76 | 0b11 << 62)  # all bits but those by which a UUID tells its version and its variant
_VERSION_7 = 0x7 << 76 | 0b10 << 62
_VERSION_8 = 0x8 << 76 | 0b10 << 62


def new_id(prefix: str) -> str:
    """A fresh id with the given prefix, such as `run_01k3…`."""
    return _write(prefix, _number7())


def uuid7() -> UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, then 74 random bits."""
    return _uuid(_number7())


def from_uuid(prefix: str, value: UUID) -> str:
    """Write a UUID as a prefixed id."""
    return _write(prefix, value.int)


def to_uuid(value: str, prefix: str) -> UUID:
    """Read a prefixed id; raises `ValueError` if the prefix or the form is wrong."""
    head, _, tail = value.partition("_")
    try:
        number = int(tail.encode().translate(_TO_PYTHON), 32)
    except ValueError:
        number = -1
    if head != prefix or len(tail) != _LENGTH or number >> 128:
        raise ValueError(f"not an id of the form {prefix}_…")
    return _uuid(number)


def entity_uuid(connection: UUID, kind: str, external_id: str) -> UUID:
    """The UUID of an entity (version 8), the same wherever it is computed.

    The first four bytes come from the connection and kind alone, so that one reading's rows lie together in the index.
    """
    scope, keyed = _scope_of(connection, kind)
    own = keyed.copy()
    own.update(external_id.encode("utf-8", "surrogatepass"))
    return _uuid(scope | int.from_bytes(own.digest(), "big") & _FREE)


@lru_cache(maxsize=1024)
def _scope_of(connection: UUID, kind: str) -> tuple[int, blake2b]:
    """What all ids of a kind begin with, the stamp among it, and what the rest is hashed by: to be copied, never changed."""
    scope = blake2b(connection.bytes + kind.encode(), digest_size=4).digest()
    keyed = blake2b(key=connection.bytes + scope, digest_size=12)
    return int.from_bytes(scope, "big") << 96 | _VERSION_8, keyed


def _number7() -> int:
    milliseconds = time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF
    return (milliseconds << 80 | int.from_bytes(os.urandom(10), "big")) & _FREE | _VERSION_7


_set_number, _set_safety = (vars(UUID)[slot].__set__ for slot in ("int", "is_safe"))
_UNKNOWN = SafeUUID.unknown


def _uuid(number: int) -> UUID:
    """What `UUID(int=number)` is, which takes three times as long: it looks at all that it could have been given."""
    made = object.__new__(UUID)
    _set_number(made, number)
    _set_safety(made, _UNKNOWN)
    return made


def _write(prefix: str, number: int) -> str:
    """Write 10 bits at a time, of three numbers that are small: shifting the whole one takes longer."""
    high, middle, low = number >> 90, number >> 40 & 0x3_FFFF_FFFF_FFFF, number & 0xFF_FFFF_FFFF
    pairs = _PAIRS
    return (
        f"{prefix}_{pairs[high >> 30]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}{pairs[high & 1023]}"
        f"{pairs[middle >> 40]}{pairs[middle >> 30 & 1023]}{pairs[middle >> 20 & 1023]}{pairs[middle >> 10 & 1023]}"
        f"{pairs[middle & 1023]}{pairs[low >> 30]}{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )
