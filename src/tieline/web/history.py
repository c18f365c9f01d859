"""The history on an entity's page: its versions, and what differs between two times that the address names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tieline.errors import Invalid
from tieline.flows.history import Change, Difference, NotKept, Version, compare_times, list_versions
from tieline.flows.views import moment
from tieline.store.db import Work
from tieline.store.entities import StoredEntity
from tieline.store.listing import Paging
from tieline.web.choices import read_day
from tieline.web.data import plain, pretty
from tieline.web.page import Page

VERSIONS = 10
"""On one page."""

_SIGNS = {"+": "Came", "-": "Went", "~": "Changed"}
_JUST_BEFORE = timedelta(microseconds=1)


@dataclass(frozen=True)
class Line:
    """A field that differs: its sign, what the sign means, its name, and what it was and is, or `None` if not told.

    What is `nested` takes several lines.
    """

    sign: str
    means: str
    field: str
    before: str | None
    after: str | None
    nested: bool = False


@dataclass(frozen=True)
class Stage:
    """A version in the list: what it began with, and the address at which it is compared with the present."""

    version: Version
    lines: list[Line]
    compare: str | None


@dataclass(frozen=True)
class Compared:
    """Two times side by side, or why they cannot be (`problem`); `same` is how many fields do not differ."""

    start: datetime
    end: datetime
    lines: list[Line]
    same: int
    problem: str | None = None


@dataclass(frozen=True)
class History:
    """All of the section: the stages, the cursor of older ones, the comparison, and the days that the form holds."""

    stages: list[Stage]
    older: str | None
    compared: Compared | None
    days: tuple[str, str]


async def look_back(page: Page, work: Work, entity: StoredEntity) -> History:
    """What the address asks for of an entity's history (`from`, `to`, `versions`); raises `Invalid` for a cursor that is none."""
    query = page.request.query_params
    found = await list_versions(work, entity.id, Paging(query.get("versions") or None, VERSIONS))
    stages = [Stage(one, _lines(one.changes or ()), _compare(page, one)) for one in found.items]
    asked = query.get("from", "").strip(), query.get("to", "").strip()
    compared = await (_compare_asked if any(asked) else _compare_last)(work, entity, page.now, *asked)
    days = (asked[0] or _day(entity.since - timedelta(days=1)), asked[1] or _day(page.now))
    return History(stages, found.next, compared, (days[0][:10], days[1][:10]))


async def _compare_asked(work: Work, entity: StoredEntity, now: datetime, start: str, end: str) -> Compared:
    before, after = entity.first_seen_at, now
    try:
        before = _time(start, "from", now) or before
        after = _time(end, "to", now) or after
        return await _compare_times(work, entity, before, after, now)
    except Invalid as error:
        return Compared(before, after, [], 0, f"{error.message}. {error.what_to_do}")


async def _compare_last(work: Work, entity: StoredEntity, now: datetime, *_: str) -> Compared | None:
    """The last change, if there has been one and what was before is kept."""
    if entity.since == entity.first_seen_at:
        return None
    try:
        return await _compare_times(work, entity, entity.since - _JUST_BEFORE, now, now)
    except NotKept:
        return None


async def _compare_times(
    work: Work, entity: StoredEntity, before: datetime, after: datetime, now: datetime
) -> Compared:
    before, after = sorted((before, after))
    found = await compare_times(work, entity.id, before, after, now=now)
    told = found.after or found.before
    same = told.entity.data.keys() - {one.field for one in found.changes} if told else ()
    return Compared(before, after, _presence(found) + _lines(found.changes), len(same))


def _presence(found: Difference) -> list[Line]:
    """Whether it was there at all, where that differs."""
    before, after = found.presence
    sign = "+" if after == "there" else "-" if before == "there" else "~"
    return [Line(sign, _SIGNS[sign], "presence", before, after)] if before != after else []


def _lines(changes: Sequence[Change]) -> list[Line]:
    return [_line(one) for one in changes]


def _line(change: Change) -> Line:
    nested = any(isinstance(one, Mapping | list) for one in (change.before, change.after))
    before, after = (_told(change.field, one, nested=nested) for one in (change.before, change.after))
    return Line(change.sign, _SIGNS[change.sign], change.field, before, after, nested)


def _told(field: str, value: Any, *, nested: bool) -> str | None:
    if value is None:
        return None
    if nested:
        return pretty(value)
    if field.endswith("_at") and isinstance(value, str):
        return value.replace("T", " ").replace("+00:00", " UTC").replace("Z", " UTC")
    return plain(value)


def _compare(page: Page, version: Version) -> str | None:
    """The address at which a former version is compared with the present."""
    if version.until is None:
        return None
    return page.at(page.path, **{"from": moment(version.since)}) + "#history"


def _time(given: str, field: str, now: datetime) -> datetime | None:
    """The end of a day, or a time written out; raises `Invalid`."""
    if not given:
        return None
    if "T" in given:
        try:
            return datetime.fromisoformat(given).astimezone(UTC)
        except (ValueError, OverflowError):
            raise Invalid(f"{given[:40]!r} is no time", advice="Write it as 2031-01-31T12:00:00Z.") from None
    day = read_day(given, field=field)
    if day is None:
        return None
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return min(begins + timedelta(days=1) - _JUST_BEFORE, now) if begins <= now else begins


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
