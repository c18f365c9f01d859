"""The invented company: its collections, each in order of id, and what every part of it is drawn from.

The same seed, head count and date give the same company, byte for byte. Every part draws from a random source of its
own, so that a change to one part leaves the others as they were. `founding.build_company` fills it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b
from random import Random
from typing import Any

from tieline.providers.sandbox.names import DOMAIN, address_part

Row = dict[str, Any]

COLLECTIONS = (
    "people", "authenticators", "groups", "applications", "policies", "devices", "repositories", "access-keys",
    "vulnerabilities", "alerts",
)  # fmt: skip
_THRESHOLDS = (30, 90, 180, 365)
_MARGIN = 4


class Table:
    """The rows of one collection, read in order of id."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._order: list[str] = []

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Row]:
        return (self._rows[key] for key in self._order)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Row:
        return self._rows[key]

    def add(self, row: Row) -> Row:
        """Put a new row in its place."""
        self._rows[row["id"]] = row
        insort(self._order, row["id"])
        return row

    def remove(self, key: str) -> None:
        """Take a row out."""
        del self._rows[key]
        self._order.remove(key)

    def page(self, after: str, limit: int) -> tuple[list[Row], bool]:
        """Up to `limit` rows whose id follows `after`, and whether more follow; `after` itself may be gone."""
        start = bisect_right(self._order, after)
        keys = self._order[start : start + limit]
        return [self._rows[key] for key in keys], start + limit < len(self._order)


class Company:
    """All that the sandbox knows, as it stands now."""

    def __init__(self, *, seed: int, as_of: datetime) -> None:
        self.seed = seed
        self.as_of = as_of
        self.tables = {name: Table() for name in COLLECTIONS}
        self.members: dict[str, Table] = {}  # by group id
        self.changes = 0
        self._numbers: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    @property
    def people(self) -> Table:
        """Everyone with an account, whatever its status."""
        return self.tables["people"]

    def random(self, part: str) -> Random:
        """A random source for one part, always the same for the same seed."""
        return Random(f"{self.seed}/{part}")  # noqa: S311  invented data, wanted the same each time

    def new_id(self, prefix: str) -> str:
        """The next id of its prefix; scattered, so that new rows land amid the old ones as at a real provider."""
        self._numbers[prefix] += 1
        digest = blake2b(f"{self.seed}/{prefix}/{self._numbers[prefix]}".encode(), digest_size=8)
        return f"{prefix}_{digest.hexdigest()}"

    def new_address(self, given: str, family: str) -> str:
        """An e-mail address that nobody has yet."""
        local = f"{address_part(given)}.{address_part(family)}"
        self._addresses[local] += 1
        number = self._addresses[local]
        return f"{local}{number if number > 1 else ''}@{DOMAIN}"

    def ago(self, random: Random, low: float, high: float) -> datetime:
        """A moment between `low` and `high` days before the company's date.

        It keeps some days' distance from the ages at which checks commonly draw the line, so that a sync made some days
        after the start still finds the same rows on the same side.
        """
        days = random.uniform(low, high)
        while any(abs(days - threshold) < _MARGIN for threshold in _THRESHOLDS):
            days = random.uniform(low, high)
        return (self.as_of - timedelta(days=days)).replace(microsecond=0)
