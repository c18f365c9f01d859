"""Checks: what decided is on record, absence counts only when all was read, and a rule that raises decides nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tieline.sdk import AccessKey, Account, Authenticator, Check, Device, Group, Membership, Related, check

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ANNA = Account(external_id="1", email="anna@acme.example", status="active", mfa=True, last_login_at=NOW)


def declare(predicate: Callable[..., Any], **how: Any) -> Check:
    predicate.__doc__ = predicate.__doc__ or "Something holds.\n\nDo something."
    return check(Account, **({"severity": "low", "controls": ["soc2:CC6.1"]} | how))(predicate)


def judge(made: Check, entity: Any = ANNA, **related: Related[Any]) -> Any:
    return made.judge(entity, now=NOW, related=related)


# What a check says


@pytest.mark.parametrize(("answer", "outcome"), [(True, "pass"), (False, "fail"), (None, "unknown")])
def test_true_passes_false_fails_and_none_is_unknown(answer: bool | None, outcome: str) -> None:
    assert judge(declare(lambda _: answer)).outcome == outcome


@pytest.mark.parametrize("answer", ["yes", [], 2, object()])
def test_an_answer_of_another_kind_is_unknown_not_a_pass(answer: Any) -> None:
    assert judge(declare(lambda _: answer)).outcome == "unknown"


@pytest.mark.parametrize(
    "error", [TypeError, AttributeError, ValueError, KeyError, IndexError, ZeroDivisionError, RuntimeError, AssertionError]
)  # fmt: skip
def test_a_predicate_that_raises_has_decided_nothing(error: type[Exception]) -> None:
    def predicate(account: Account) -> bool | None:
        if account.mfa:
            raise error("password=hunter2")
        return True

    made = judge(declare(predicate))
    assert made.outcome == "unknown"
    assert made.values == {"mfa": True, "error": error.__name__}


def test_a_condition_that_raises_has_decided_nothing_either() -> None:
    made = judge(declare(lambda _: True, when=lambda account: account.no_such_field))
    assert made.outcome == "unknown"
    assert made.values == {"error": "AttributeError"}


def test_where_a_check_does_not_apply_it_says_nothing() -> None:
    made = declare(lambda _: False, when=lambda account: account.type == "service")
    assert judge(made) is None
    assert judge(made, ANNA.model_copy(update={"type": "service"})).outcome == "fail"


# What decided


def test_the_fields_that_were_read_are_the_values_that_decided() -> None:
    made = judge(declare(lambda account: account.mfa or account.admin, when=lambda account: account.active))
    assert made.values == {"active": True, "mfa": True}


def test_a_value_that_is_not_known_is_recorded_too() -> None:
    made = judge(declare(lambda account: account.admin))
    assert made.outcome == "unknown"
    assert made.values == {"admin": None}


def test_a_time_is_recorded_as_text_and_judged_as_a_time() -> None:
    made = judge(declare(lambda account, now: now - account.last_login_at < timedelta(days=90)))
    assert made.outcome == "pass"
    assert made.values == {"last_login_at": "2026-11-20T12:00:00+00:00"}


def test_methods_and_unknown_names_leave_no_value() -> None:
    made = judge(declare(lambda account: bool(account.model_dump()) and account.nothing))
    assert made.values == {"error": "AttributeError"}


def test_one_judgement_leaves_no_trace_in_the_next() -> None:
    made = declare(lambda account: account.mfa)
    first, second = judge(made), judge(made, ANNA.model_copy(update={"mfa": False}))
    assert (first.values, second.values) == ({"mfa": True}, {"mfa": False})


def test_related_entities_are_recorded_by_number_and_completeness() -> None:
    made = declare(lambda _, keys: keys.none())
    keys = Related([AccessKey(external_id="k", account="1")], complete=False)
    assert judge(made, keys=keys).values == {"keys": {"count": 1, "complete": False}}


# Related: three answers

ANSWERS = (True, False, None)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("answers", [seen for n in range(4) for seen in itertools.product(ANSWERS, repeat=n)])
def test_any_and_none_say_no_more_than_is_known(answers: tuple[bool | None, ...], complete: bool) -> None:
    related = Related(range(len(answers)), complete)
    found = related.any(answers.__getitem__)
    if True in answers:
        assert found is True
    elif complete and None not in answers:
        assert found is False
    else:
        assert found is None
    assert related.none(answers.__getitem__) is (None if found is None else not found)


def test_whatever_is_still_unread_cannot_turn_a_certain_answer() -> None:
    for seen, more in itertools.product(itertools.product(ANSWERS, repeat=2), repeat=2):
        before = Related(range(2), complete=False).any(seen.__getitem__)
        after = Related(range(4), complete=True).any((*seen, *more).__getitem__)
        assert before in (None, after)


def test_without_a_condition_being_there_is_what_counts() -> None:
    assert Related([ANNA], complete=False).any() is True
    assert Related([], complete=True).any() is False
    assert Related([], complete=False).any() is None
    assert Related([], complete=True).none() is True


def test_related_entities_can_be_counted_and_looped_over() -> None:
    related = Related([ANNA, ANNA], complete=True)
    assert len(related) == 2
    assert list(related) == [ANNA, ANNA]


# Declaring


def test_a_docstring_gives_the_title_and_the_fix() -> None:
    def admins_use_mfa(account: Account) -> bool | None:
        """Administrators use a second factor.

        Open Security → Sign-in,
        then require one.
        """
        return account.mfa

    made = declare(admins_use_mfa)
    assert made.id == "admins-use-mfa"
    assert made.title == "Administrators use a second factor"
    assert made.fix == "Open Security → Sign-in, then require one."
    assert (made.kind, made.clocked, made.related, made.provider) == ("account", False, {}, None)


def test_a_providers_check_carries_its_slug() -> None:
    assert declare(lambda _: True, provider="acme").id.startswith("acme.")


def all_of_it(
    account: Account,
    now: datetime,
    factors: Related[Authenticator],
    devices: Related[Device],
    groups: Related[Membership],
) -> bool | None:
    """Everything is well.

    Make it so.
    """
    return factors.any() or devices.any() or groups.any()


def test_what_a_predicate_names_is_what_it_is_given() -> None:
    made = declare(all_of_it)
    assert made.clocked
    assert made.related == {
        "factors": ("authenticator", "account"),
        "devices": ("device", "owner"),
        "groups": ("membership", "account"),
    }


def test_asking_for_what_cannot_link_is_refused() -> None:
    def of_no_one(account: Account, groups: Related[Group]) -> bool | None:
        """Groups."""
        return groups.any()

    with pytest.raises(TypeError, match="Group has no link to Account"):
        declare(of_no_one)
