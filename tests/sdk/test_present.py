"""The present: it answers as any moment does, and notes until when what was drawn from it holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.sdk.present import ALWAYS, Watch

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
AWAY = st.integers(-400, 400).map(lambda hours: timedelta(hours=hours))

QUESTIONS: dict[str, Callable[[datetime, datetime, timedelta], Any]] = {
    "a moment has passed": lambda now, moment, _: moment <= now,
    "a moment lies before": lambda now, moment, _: now > moment,
    "it is that moment": lambda now, moment, _: now == moment,
    "it is another moment": lambda now, moment, _: moment != now,
    "it is so old": lambda now, moment, length: now - moment <= length,
    "it is older": lambda now, moment, length: length < now - moment,
    "it comes so soon": lambda now, moment, length: moment - now < length,
    "it is not so far": lambda now, moment, length: length >= moment - now,
    "it lies after a time that goes along": lambda now, moment, length: moment > now - length,
    "it lies before a time ahead": lambda now, moment, length: length + now >= moment,
    "it ended a day after": lambda now, moment, length: moment + length < now,
    "what is left of a length": lambda now, moment, length: length - (now - moment) > timedelta(),
    "a sum of lengths": lambda now, moment, length: (now - moment) + length > DAY,
    "a length less": lambda now, moment, length: -(now - moment) - length < DAY,
    "the later one": lambda now, moment, length: max(now, moment) - length > moment,
    "two of them": lambda now, moment, length: length <= now - moment <= 2 * length or now - moment > 9 * DAY,
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
@given(moment=AWAY.map(lambda away: NOW + away), length=AWAY, share=st.floats(0, 1, exclude_max=True))
def test_an_answer_is_right_and_holds_for_as_long_as_is_noted(
    question: Callable[..., Any], moment: datetime, length: timedelta, share: float
) -> None:
    watch = Watch(NOW)
    answer = bool(question(watch.present, moment, length))
    assert answer == bool(question(NOW, moment, length))
    assert watch.until is None or watch.until > NOW
    holds = (watch.until or NOW + timedelta(days=4_000)) - NOW
    within = min(holds * share, holds - timedelta(microseconds=1))
    assert bool(question(NOW + within, moment, length)) == answer


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
@given(moment=AWAY.map(lambda away: NOW + away), length=AWAY)
def test_whoever_asks_again_whenever_it_may_have_turned_misses_nothing(
    question: Callable[..., Any], moment: datetime, length: timedelta
) -> None:
    at, answer, asked = NOW, None, 0
    while at is not None and asked < 20:
        watch = Watch(at)
        answer, asked = bool(question(watch.present, moment, length)), asked + 1
        at = watch.until  # type: ignore[assignment]
    assert at is None
    assert answer == bool(question(NOW + timedelta(days=4_000), moment, length))


@pytest.mark.parametrize(
    "question",
    [
        lambda now: now.year,
        lambda now: now.date() > datetime(2020, 1, 1, tzinfo=UTC).date(),
        lambda now: now.timestamp(),
        lambda now: f"{now:%H}",
        str,
        repr,
        hash,
        lambda now: now.replace(hour=0) < NOW,
        lambda now: (now - NOW + DAY).days,
        lambda now: (now - NOW + DAY) / timedelta(hours=1),
        lambda now: DAY / (now - NOW + DAY),
        lambda now: abs(now - NOW) < DAY,
        lambda now: bool(now - NOW),
        lambda now: divmod(now - NOW + DAY, timedelta(hours=5)),
        lambda now: str(now - NOW),
        lambda now: (now - NOW).total_seconds(),
        lambda now: (now - NOW) * 2 > DAY,
    ],
)
def test_what_is_asked_otherwise_is_answered_and_holds_for_no_time(question: Callable[[datetime], Any]) -> None:
    watch = Watch(NOW)
    assert str(question(watch.present)).replace("Present", "datetime.datetime") == str(question(NOW))
    assert watch.until == ALWAYS


def test_what_never_moves_is_not_noted() -> None:
    watch = Watch(NOW)
    present = watch.present
    assert isinstance(present, datetime)
    assert (present.tzinfo, present.utcoffset()) == (UTC, timedelta())
    assert present > NOW - DAY  # it has passed, and stays so
    assert present < datetime.max.replace(tzinfo=UTC) - DAY or watch.until
    assert watch.until is None or watch.until.year == 9999
