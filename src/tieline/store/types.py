"""Column types: prefixed ids, UTC times, JSON, and ciphertext that cannot be read by accident."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, ColumnElement, LargeBinary, Text, TypeDecorator, Uuid, any_, literal
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DontWrapMixin

from tieline.errors import NotFound
from tieline.ids import from_uuid, to_uuid


class NoSuchId(NotFound, DontWrapMixin):
    """An id of a form that nothing has. SQLAlchemy raises it as it is, not inside an error of its own."""


class Id(TypeDecorator[str]):
    """A prefixed id in Python, a `uuid` in the database. An id of another form is one that nothing has: `NotFound`."""

    impl = Uuid
    cache_ok = True

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix

    def process_bind_param(self, value: str | None, dialect: Dialect) -> UUID | None:
        """Write an id."""
        if value is None:
            return None
        try:
            return to_uuid(value, self.prefix)
        except ValueError:
            raise NoSuchId(f"There is no {value[:60]!r} here") from None

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Read an id."""
        return None if value is None else from_uuid(self.prefix, value)


class UtcTime(TypeDecorator[datetime]):
    """An aware time, stored and read in UTC; a naive one is refused."""

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write a time."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read a time."""
        return None if value is None else value.astimezone(UTC)


def among(ids: Sequence[UUID]) -> ColumnElement[Any]:
    """What a column of ids is compared with to be one of these: one parameter, and so one statement however many they are."""
    return any_(literal(list(ids), ARRAY(Uuid)))


class Ciphertext:
    """A sealed credential as it is stored; what it holds shows in no repr, only the vault asks for `sealed`."""

    __slots__ = ("sealed",)

    def __init__(self, sealed: bytes) -> None:
        self.sealed = sealed

    def __repr__(self) -> str:
        return "Ciphertext(***)"

    def __reduce__(self) -> Any:
        raise TypeError("a ciphertext is not to be pickled")


class Sealed(TypeDecorator[Ciphertext]):
    """A column of ciphertext: it takes and gives only `Ciphertext`, so plain bytes cannot be stored by mistake."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Ciphertext | None, dialect: Dialect) -> bytes | None:
        """Write a ciphertext; anything else is refused."""
        if value is None:
            return None
        if not isinstance(value, Ciphertext):
            raise TypeError("only a Ciphertext may be stored here")
        return value.sealed

    def process_result_value(self, value: Any, dialect: Dialect) -> Ciphertext | None:
        """Read a ciphertext."""
        return None if value is None else Ciphertext(value)


class RawJson(TypeDecorator[Any]):
    """JSON as it was written, never queried by path: a `text`, which the server does not read through as it would a `json`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """Write a value; `None` is JSON's `null`."""
        return orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read a value."""
        return None if value is None else orjson.loads(value)


Json = JSONB
