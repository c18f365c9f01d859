"""Every check in `tieline.checks`: seen to pass, to fail, not to know and not to apply, and never to raise."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tieline.checks
from tieline.catalog.frameworks import find_control
from tieline.sdk import (
    AccessKey,
    Account,
    Alert,
    Application,
    Authenticator,
    Check,
    Device,
    Entity,
    Membership,
    Policy,
    Related,
    Repository,
    Vulnerability,
)
from tieline.sdk.entities import KINDS
from tieline.sdk.present import Watch

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def find_checks() -> dict[str, Check]:
    """Every check of every module of the package, by id."""
    found: dict[str, Check] = {}
    for module in pkgutil.iter_modules(tieline.checks.__path__, "tieline.checks."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Check):
                assert found.setdefault(value.id, value) is value, f"two checks are called {value.id}"
    return found


CHECKS = find_checks()
each_check = pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@dataclass(frozen=True)
class Case:
    """An entity and what links to it; `complete` says whether all of that was read."""

    entity: Entity
    linked: tuple[Entity, ...] = ()
    complete: bool = True

    def judge(self, check: Check, *, now: datetime = NOW) -> str:
        kinds = {kind for kind, _ in check.related.values()}
        assert kinds >= {entity.kind for entity in self.linked}, f"{check.id} does not ask for these"
        related = {
            name: Related([entity for entity in self.linked if entity.kind == kind], complete=self.complete)
            for name, (kind, _) in check.related.items()
        }
        judgement = check.judge(self.entity, now=now, related=related)
        if judgement is None:
            return "does not apply"
        assert "error" not in judgement.values
        return judgement.outcome


def account(**fields: Any) -> Account:
    return Account(external_id="a1", **{"active": True, **fields})


def closed(**fields: Any) -> Account:
    return Account(external_id="a1", **{"status": "suspended", **fields})


def leaver(**fields: Any) -> Account:
    return Account(external_id="a1", **{"status": "inactive", **fields})


def admin(**fields: Any) -> Account:
    return account(**{"admin": True, **fields})


def factor(*, active: bool | None = True, strong: bool | None = None) -> Authenticator:
    return Authenticator(external_id="f1", account="a1", active=active, phishing_resistant=strong)


def key(**fields: Any) -> AccessKey:
    return AccessKey(external_id="k1", account="a1", **{"active": True, **fields})


def device(**fields: Any) -> Device:
    return Device(external_id="d1", name="Laptop", owner="a1", **fields)


def password_policy(**fields: Any) -> Policy:
    return Policy(external_id="p1", name="Passwords", **{"type": "password", **fields})


def sign_on_policy(**fields: Any) -> Policy:
    return Policy(external_id="p1", name="Sign-on", **{"type": "sign_on", **fields})


def session_policy(**fields: Any) -> Policy:
    return Policy(external_id="p1", name="Sessions", **{"type": "session", **fields})


def repository(**fields: Any) -> Repository:
    return Repository(external_id="r1", name="acme/shop", **fields)


def application(**fields: Any) -> Application:
    return Application(external_id="s1", name="Wiki", **fields)


def vulnerability(severity: Any, **fields: Any) -> Vulnerability:
    return Vulnerability(external_id="v1", title="Path traversal", severity=severity, **fields)


def alert(**fields: Any) -> Alert:
    return Alert(external_id="l1", title="Impossible travel", **{"severity": "high", **fields})


MEMBERSHIP = Membership(external_id="g1:a1", account="a1", group="g1")
EVERYONE = Membership(external_id="everyone:1", account="1", group="everyone", automatic=True)


@dataclass(frozen=True)
class Examples:
    """What a check must say of which cases."""

    passes: list[Case]
    fails: list[Case]
    unknown: list[Case]
    elsewhere: list[Case] = field(default_factory=list)

    def rows(self) -> list[tuple[str, Case]]:
        named = {"pass": self.passes, "fail": self.fails, "unknown": self.unknown, "does not apply": self.elsewhere}
        return [(outcome, case) for outcome, cases in named.items() for case in cases]


EXAMPLES: dict[str, Examples] = {
    "mfa-enabled": Examples(
        passes=[
            Case(account(mfa=True, has_password=False)),
            Case(account(), (factor(active=False), factor()), complete=False),
        ],
        fails=[Case(account(mfa=False), (factor(),)), Case(account()), Case(account(), (factor(active=False),))],
        unknown=[
            Case(account(), complete=False),
            Case(account(), (factor(active=None),)),
            Case(account(), (factor(active=False),), complete=False),
            Case(account(mfa=False, has_password=False)),
        ],
        elsewhere=[Case(account(mfa=False, type="service")), Case(closed(mfa=False)), Case(account(type="guest"))],
    ),
    "admin-mfa-enabled": Examples(
        passes=[Case(admin(mfa=True)), Case(admin(type="guest"), (factor(),))],
        fails=[Case(admin(mfa=False, has_password=True)), Case(admin())],
        unknown=[Case(admin(), complete=False), Case(admin(), (factor(active=None),))],
        elsewhere=[
            Case(account(mfa=False)),
            Case(admin(mfa=False, type="service")),
            Case(admin(mfa=False, active=False)),
        ],
    ),
    "admin-mfa-resists-phishing": Examples(
        passes=[Case(admin(), (factor(strong=False), factor(strong=True)))],
        fails=[
            Case(admin(mfa=True), (factor(strong=False),)),
            Case(admin(), (factor(active=False, strong=True),)),
            Case(admin(), (factor(active=None, strong=False),)),
            Case(admin()),
        ],
        unknown=[
            Case(admin(), (factor(strong=None),)),
            Case(admin(), (factor(active=None, strong=True),)),
            Case(admin(mfa=False), complete=False),
        ],
        elsewhere=[Case(account(), (factor(strong=False),)), Case(admin(type="service"))],
    ),
    "application-uses-single-sign-on": Examples(
        passes=[Case(application(sign_on="saml")), Case(application(sign_on="oidc", status="active"))],
        fails=[Case(application(sign_on="password"))],
        unknown=[Case(application()), Case(application(sign_on="other"))],
        elsewhere=[Case(application(sign_on="bookmark")), Case(application(sign_on="password", status="inactive"))],
    ),
    "account-used-recently": Examples(
        passes=[
            Case(account(last_login_at=ago(90))),
            Case(account(created_at=ago(5))),
            Case(account(last_login_at=ago(2), created_at=ago(900))),
        ],
        fails=[Case(account(last_login_at=ago(90.1))), Case(account(last_login_at=ago(400), type="guest"))],
        unknown=[Case(account()), Case(account(created_at=ago(900)))],
        elsewhere=[Case(closed(last_login_at=ago(400))), Case(account(last_login_at=ago(400), type="service"))],
    ),
    "invitation-is-recent": Examples(
        passes=[Case(account(active=False, status="invited", created_at=ago(30)))],
        fails=[Case(account(active=False, status="invited", created_at=ago(31)))],
        unknown=[Case(account(active=False, status="invited"))],
        elsewhere=[Case(account(created_at=ago(400)))],
    ),
    "closed-account-is-in-no-group": Examples(
        passes=[Case(closed()), Case(closed(status="deleted")), Case(leaver()), Case(closed(), (EVERYONE,))],
        fails=[Case(closed(), (MEMBERSHIP,)), Case(leaver(), (MEMBERSHIP,), complete=False)],
        unknown=[Case(closed(), complete=False)],
        elsewhere=[Case(account(), (MEMBERSHIP,)), Case(account(active=None), (MEMBERSHIP,))],
    ),
    "closed-account-has-no-access-key": Examples(
        passes=[
            Case(closed()),
            Case(closed(), (key(active=False),)),
            Case(closed(), (key(expires_at=ago(1)), key(active=None, expires_at=ago(0)))),
        ],
        fails=[
            Case(closed(), (key(),)),
            Case(leaver(), (key(active=False), key(expires_at=ago(-1))), complete=False),
        ],
        unknown=[
            Case(closed(), (key(active=None),)),
            Case(closed(), complete=False),
            Case(closed(), (key(active=False),), complete=False),
        ],
        elsewhere=[Case(account(), (key(),)), Case(account(active=False, status="invited"), (key(),))],
    ),
    "leaver-returned-devices": Examples(
        passes=[Case(leaver()), Case(leaver(), (device(status="retired"), device(status="lost")))],
        fails=[Case(leaver(), (device(),)), Case(leaver(status="deleted"), (device(status="active"),), complete=False)],
        unknown=[Case(leaver(), complete=False)],
        elsewhere=[Case(closed(), (device(),)), Case(account(), (device(),))],
    ),
    "access-key-rotated": Examples(
        passes=[Case(key(created_at=ago(90))), Case(key(created_at=ago(500), expires_at=ago(1)))],
        fails=[Case(key(created_at=ago(91))), Case(key(active=None, created_at=ago(91), expires_at=ago(-5)))],
        unknown=[Case(key())],
        elsewhere=[Case(key(active=False, created_at=ago(91)))],
    ),
    "access-key-used-recently": Examples(
        passes=[
            Case(key(last_used_at=ago(90))),
            Case(key(created_at=ago(10))),
            Case(key(last_used_at=ago(500), expires_at=ago(1))),
        ],
        fails=[Case(key(last_used_at=ago(91)))],
        unknown=[Case(key()), Case(key(created_at=ago(500)))],
        elsewhere=[Case(key(active=False, last_used_at=ago(91)))],
    ),
    "password-length-required": Examples(
        passes=[Case(password_policy(min_length=12))],
        fails=[Case(password_policy(min_length=11)), Case(password_policy(min_length=0, status="active"))],
        unknown=[Case(password_policy())],
        elsewhere=[Case(password_policy(min_length=8, status="inactive")), Case(session_policy(min_length=8))],
    ),
    "password-guessing-stopped": Examples(
        passes=[Case(password_policy(lockout_attempts=1)), Case(password_policy(lockout_attempts=10))],
        fails=[Case(password_policy(lockout_attempts=11)), Case(password_policy(lockout_attempts=0))],
        unknown=[Case(password_policy())],
        elsewhere=[Case(password_policy(lockout_attempts=0, status="inactive")), Case(sign_on_policy())],
    ),
    "password-reuse-refused": Examples(
        passes=[Case(password_policy(history=5))],
        fails=[Case(password_policy(history=4)), Case(password_policy(history=0))],
        unknown=[Case(password_policy())],
        elsewhere=[Case(password_policy(history=0, status="inactive")), Case(sign_on_policy(history=0))],
    ),
    "policy-requires-mfa": Examples(
        passes=[Case(sign_on_policy(mfa_required=True)), Case(sign_on_policy(type="mfa", mfa_required=True))],
        fails=[Case(sign_on_policy(mfa_required=False)), Case(sign_on_policy(type="mfa", mfa_required=False))],
        unknown=[Case(sign_on_policy())],
        elsewhere=[
            Case(password_policy(mfa_required=False)),
            Case(sign_on_policy(mfa_required=False, status="inactive")),
        ],
    ),
    "sessions-end": Examples(
        passes=[Case(session_policy(session_hours=24.0)), Case(sign_on_policy(session_hours=2.5))],
        fails=[Case(session_policy(session_hours=24.5)), Case(sign_on_policy(session_hours=0.0))],
        unknown=[Case(session_policy())],
        elsewhere=[Case(sign_on_policy()), Case(session_policy(session_hours=900.0, status="inactive"))],
    ),
    "default-branch-protected": Examples(
        passes=[Case(repository(default_branch_protected=True))],
        fails=[
            Case(repository(default_branch_protected=False)),
            Case(repository(default_branch_protected=False, fork=True)),
        ],
        unknown=[Case(repository())],
        elsewhere=[Case(repository(default_branch_protected=False, archived=True))],
    ),
    "changes-reviewed": Examples(
        passes=[
            Case(repository(required_reviews=1)),
            Case(repository(required_reviews=2, default_branch_protected=True)),
        ],
        fails=[Case(repository(required_reviews=0, default_branch_protected=True))],
        unknown=[Case(repository()), Case(repository(default_branch_protected=True))],
        elsewhere=[
            Case(repository(required_reviews=0, default_branch_protected=False)),
            Case(repository(required_reviews=0, archived=True)),
        ],
    ),
    "force-push-refused": Examples(
        passes=[Case(repository(force_push_allowed=False))],
        fails=[Case(repository(force_push_allowed=True, default_branch_protected=True))],
        unknown=[Case(repository())],
        elsewhere=[
            Case(repository(force_push_allowed=True, default_branch_protected=False)),
            Case(repository(force_push_allowed=True, archived=True)),
        ],
    ),
    "repository-not-public": Examples(
        passes=[Case(repository(visibility="private")), Case(repository(visibility="internal", fork=False))],
        fails=[Case(repository(visibility="public")), Case(repository(visibility="public", archived=True))],
        unknown=[Case(repository())],
        elsewhere=[Case(repository(visibility="public", fork=True))],
    ),
    "disk-encrypted": Examples(
        passes=[Case(device(encrypted=True))],
        fails=[Case(device(encrypted=False)), Case(device(encrypted=False, status="lost"))],
        unknown=[Case(device())],
        elsewhere=[Case(device(encrypted=False, status="retired"))],
    ),
    "screen-locks": Examples(
        passes=[Case(device(screen_lock=True))],
        fails=[Case(device(screen_lock=False, status="active"))],
        unknown=[Case(device())],
        elsewhere=[Case(device(screen_lock=False, status="retired"))],
    ),
    "firewall-on": Examples(
        passes=[Case(device(firewall=True))],
        fails=[Case(device(firewall=False, platform="macos"))],
        unknown=[Case(device())],
        elsewhere=[Case(device(firewall=False, platform="iOS")), Case(device(firewall=False, status="retired"))],
    ),
    "device-managed": Examples(
        passes=[Case(device(managed=True))],
        fails=[Case(device(managed=False))],
        unknown=[Case(device())],
        elsewhere=[Case(device(managed=False, status="retired"))],
    ),
    "device-seen-recently": Examples(
        passes=[Case(device(last_seen_at=ago(90)))],
        fails=[Case(device(last_seen_at=ago(91), status="active"))],
        unknown=[Case(device())],
        elsewhere=[Case(device(last_seen_at=ago(91), status="lost"))],
    ),
    "critical-vulnerability-fixed-in-time": Examples(
        passes=[
            Case(vulnerability("critical", status="open", found_at=ago(30))),
            Case(vulnerability("critical", status="fixed", found_at=ago(500))),
            Case(vulnerability("critical", found_at=ago(1))),
        ],
        fails=[Case(vulnerability("critical", status="open", found_at=ago(31)))],
        unknown=[Case(vulnerability("critical", status="open")), Case(vulnerability("critical", found_at=ago(31)))],
        elsewhere=[
            Case(vulnerability("high", status="open", found_at=ago(900))),
            Case(vulnerability("critical", status="dismissed", found_at=ago(900))),
            Case(vulnerability(None, status="open", found_at=ago(900))),
        ],
    ),
    "high-vulnerability-fixed-in-time": Examples(
        passes=[
            Case(vulnerability("high", status="open", found_at=ago(60))),
            Case(vulnerability("high", status="fixed")),
        ],
        fails=[Case(vulnerability("high", status="open", found_at=ago(61)))],
        unknown=[Case(vulnerability("high", status="open")), Case(vulnerability("high"))],
        elsewhere=[Case(vulnerability("critical", status="open", found_at=ago(61)))],
    ),
    "medium-vulnerability-fixed-in-time": Examples(
        passes=[
            Case(vulnerability("medium", status="open", found_at=ago(90))),
            Case(vulnerability("medium", status="fixed")),
        ],
        fails=[Case(vulnerability("medium", status="open", found_at=ago(91)))],
        unknown=[Case(vulnerability("medium", status="open")), Case(vulnerability("medium"))],
        elsewhere=[Case(vulnerability("low", status="open", found_at=ago(900)))],
    ),
    "serious-alert-resolved-in-time": Examples(
        passes=[
            Case(alert(status="resolved", first_seen_at=ago(300))),
            Case(alert(status="open", first_seen_at=ago(7))),
            Case(alert(first_seen_at=ago(1))),
        ],
        fails=[
            Case(alert(status="open", first_seen_at=ago(8))),
            Case(alert(status="open", severity="critical", first_seen_at=ago(8))),
        ],
        unknown=[Case(alert(status="open")), Case(alert(first_seen_at=ago(8)))],
        elsewhere=[
            Case(alert(status="open", severity="medium", first_seen_at=ago(90))),
            Case(alert(status="dismissed", first_seen_at=ago(90))),
        ],
    ),
}


# Declarations


def test_the_examples_are_of_the_checks_that_there_are() -> None:
    assert set(EXAMPLES) == set(CHECKS)
    assert len(CHECKS) >= 16


@each_check
def test_a_check_says_what_is_good_how_to_get_there_and_for_which_controls(check: Check) -> None:
    assert not check.title.endswith(".")
    assert check.title[0].isupper()
    assert len(check.title) <= 80
    assert 1 <= check.fix.count(". ") + 1 <= 3
    assert check.fix.endswith(".")
    assert check.provider is None
    assert {control.partition(":")[0] for control in check.controls} == {"soc2", "iso27001"}
    assert [control for control in check.controls if find_control(control) is None] == []
    assert len(set(check.controls)) == len(check.controls)


def test_titles_are_told_apart() -> None:
    assert len({check.title for check in CHECKS.values()}) == len(CHECKS)
    assert len({check.fix for check in CHECKS.values()}) == len(CHECKS)


# Outcomes


@each_check
def test_a_check_is_seen_to_pass_to_fail_not_to_know_and_not_to_apply(check: Check) -> None:
    examples = EXAMPLES[check.id]
    assert examples.passes
    assert examples.fails
    assert examples.unknown
    assert examples.elsewhere
    for expected, case in examples.rows():
        assert case.judge(check) == expected, case


@each_check
def test_time_alone_moves_the_outcome_of_a_check_that_asks_for_now_and_of_no_other(check: Check) -> None:
    cases = [case for _, case in EXAMPLES[check.id].rows()]
    moved = [case for case in cases if case.judge(check, now=ago(3_000)) != case.judge(check, now=ago(-3_000))]
    assert bool(moved) == check.clocked


# Properties


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type, in the shapes that the entities use."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values_of(arguments[0])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, UnionType):
        return st.one_of(*map(values_of, arguments))
    if isinstance(annotation, type) and "datetime" in annotation.__name__.lower():
        near = st.integers(-50 * 24, 200 * 24).map(lambda hours: ago(hours / 24))
        return near | st.datetimes(timezones=st.timezones())
    return {
        NoneType: st.none(),
        bool: st.booleans(),
        int: st.integers(0, 100),
        float: st.floats(allow_nan=False),
        str: st.text(min_size=1, max_size=8),
    }[annotation]


def entities(kind: type[Entity]) -> st.SearchStrategy[Entity]:
    """Any entity of a kind, with every field told or not."""
    fields = {name: values_of(info.annotation) for name, info in kind.model_fields.items()}
    return st.fixed_dictionaries(
        {name: fields[name] for name, info in kind.model_fields.items() if info.is_required()},
        optional={name: fields[name] for name, info in kind.model_fields.items() if not info.is_required()},
    ).map(kind.model_validate)


ENTITIES = {name: entities(kind) for name, kind in KINDS.items()}


@st.composite
def cases(draw: st.DrawFn, check: Check) -> Case:
    linked = [entity for kind, _ in check.related.values() for entity in draw(st.lists(ENTITIES[kind], max_size=3))]
    return Case(draw(ENTITIES[check.kind]), tuple(linked), complete=draw(st.booleans()))


@each_check
@settings(max_examples=settings().max_examples // 2)
@given(data=st.data())
def test_a_check_never_raises_and_answers_yes_no_or_nothing(check: Check, data: st.DataObject) -> None:
    case = data.draw(cases(check))
    related: dict[str, Any] = {
        name: Related([entity for entity in case.linked if entity.kind == kind], complete=case.complete)
        for name, (kind, _) in check.related.items()
    }
    if check.applies(case.entity):
        answer = check.predicate(case.entity, **({"now": NOW} if check.clocked else {}), **related)
        assert any(answer is allowed for allowed in (True, False, None))


@each_check
@settings(max_examples=settings().max_examples // 2)
@given(data=st.data())
def test_an_answer_holds_until_the_time_that_asking_for_it_noted(check: Check, data: st.DataObject) -> None:
    case, watch = data.draw(cases(check)), Watch(NOW)
    answer = case.judge(check, now=watch.present)
    assert answer == case.judge(check)
    if watch.until is None:
        assert case.judge(check, now=ago(-3_000)) == answer
    else:
        assert watch.until > NOW  # so that no check of ours is asked at each reading
        holds = watch.until - NOW
        within = min(holds * data.draw(st.floats(0, 1)), holds - timedelta(microseconds=1))
        assert case.judge(check, now=NOW + within) == answer


@each_check
@settings(max_examples=settings().max_examples // 2)
@given(data=st.data())
def test_a_partial_reading_decides_nothing_that_a_whole_one_decides_otherwise(
    check: Check, data: st.DataObject
) -> None:
    whole = replace(data.draw(cases(check)), complete=True)
    partial = replace(whole, complete=False)
    assert partial.judge(check) in (whole.judge(check), "unknown")


@each_check
@settings(max_examples=settings().max_examples // 3)
@given(data=st.data())
def test_an_entity_of_which_nothing_is_told_neither_passes_nor_fails(check: Check, data: st.DataObject) -> None:
    told = data.draw(ENTITIES[check.kind])
    required = {name for name, info in type(told).model_fields.items() if info.is_required()}
    bare = type(told).model_validate(told.model_dump(include=required))
    assert Case(bare, complete=False).judge(check) in ("unknown", "does not apply")
