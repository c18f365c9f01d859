"""Identifiers: a prefix that says what it is, then a 128-bit number in 26 characters.

Ids are `str` everywhere in Python (`conn_01k…`) and `uuid` in the database. New ones are UUIDv7 (RFC 9562), so they
sort by creation. An entity's id is derived from what it is (`entity_id`), so that whoever knows the
connection, kind and external id knows the id, without asking the database.
"""

from __future__ import annotations

import os
import re
import time
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)  # 13 pairs of 10 bits
_FORM = re.compile(f"[0-7][{_ALPHABET}]{{25}}")
_TO_PYTHON = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")  # the digits of `int(…, 32)`


def new_id(prefix: str) -> str:
    """A fresh id with the given prefix, such as `run_01k3…`."""
    return from_uuid(prefix, uuid7())


def uuid7() -> UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    number = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    number |= 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    number |= 0b10 << 62 | random & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=number)


def from_uuid(prefix: str, value: UUID) -> str:
    """Write a UUID as a prefixed id."""
    number = value.int
    return f"{prefix}_{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"


def to_uuid(value: str, prefix: str) -> UUID:
    """Read a prefixed id; raises `ValueError` if the prefix or the form is wrong."""
    head, _, tail = value.partition("_")
    if head != prefix or not _FORM.fullmatch(tail):
        raise ValueError(f"not an id of the form {prefix}_…")
    return UUID(int=int(tail.translate(_TO_PYTHON), 32))


def entity_uuid(connection: UUID, kind: str, external_id: str) -> UUID:
    """The UUID of an entity (version 8), the same wherever it is computed.

    The first four bytes come from the connection and kind alone, so that one reading's rows lie together in the index.
    """
    scope, key = _scope_of(connection, kind)
    own = blake2b(external_id.encode("utf-8", "surrogatepass"), key=key, digest_size=12).digest()
    number = int.from_bytes(scope + own, "big")
    number &= ~(0xF << 76) & ~(0b11 << 62)
    return UUID(int=number | 0x8 << 76 | 0b10 << 62)


@lru_cache(maxsize=1024)
def _scope_of(connection: UUID, kind: str) -> tuple[bytes, bytes]:
    scope = blake2b(connection.bytes + kind.encode(), digest_size=4).digest()
    return scope, connection.bytes + scope
