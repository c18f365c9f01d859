"""Times on the command line: a date, a time, or how long from now or ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class When(click.ParamType[datetime]):
    """`2027-01-31`, `2027-01-31T12:00`, or `90d`: in so long, or so long ago; without a zone it is UTC."""

    name = "when"

    def __init__(self, *, ago: bool) -> None:
        self._sign = -1 if ago else 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The aware time that is meant."""
        if isinstance(value, datetime):
            return value
        if matched := re.fullmatch(r"([1-9]\d{0,4})([mhd])", value):
            return datetime.now(UTC) + self._sign * timedelta(**{_UNITS[matched[2]]: int(matched[1])})
        try:
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):  # in UTC it may be beyond the year 9999
            self.fail("give a date as YYYY-MM-DD, a time as YYYY-MM-DDTHH:MM, or 30d", param, ctx)


LATER = When(ago=False)
EARLIER = When(ago=True)
