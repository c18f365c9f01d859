"""A question with three answers, for all checks: yes, no, and `None` for what is not known."""

from __future__ import annotations

from datetime import datetime, timedelta


def is_within(moment: datetime | None, now: datetime, *, days: int) -> bool | None:
    """Whether the moment lies at most so many days back; `None` when the provider does not tell it."""
    return None if moment is None else now - moment <= timedelta(days=days)
