"""Assess: three answers, of which unknown moves nothing; findings open, resolve and reopen as the answers turn."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.stages.steps import NOW, Step

from tieline.ids import new_id, to_uuid
from tieline.sdk import Account, Membership, Related, check
from tieline.stages.assess import FRESH_FOR, reassess
from tieline.store import entities

PERSON = Account.map(
    external_id="payload.id",
    admin="payload.admin",
    status="payload.status",
    last_login_at="payload.seen",
    mfa="payload.mfa",
)
MEMBER = Membership.map(external_id="payload.who + payload.where", account="payload.who", group="payload.where")
CONTROLS = ["soc2:CC6.1"]


@check(Account, severity="high", controls=CONTROLS, when=lambda account: account.status != "suspended")
def has_mfa(account: Account) -> bool | None:
    """A second factor.

    Enrol one.
    """
    return account.mfa


@check(Account, severity="low", controls=CONTROLS)
def in_no_group(account: Account, memberships: Related[Membership]) -> bool | None:
    """No group.

    Leave.
    """
    return memberships.none()


@check(Account, severity="low", controls=CONTROLS)
def seen_lately(account: Account, now: datetime) -> bool | None:
    """Seen.

    Sign in.
    """
    return None if account.last_login_at is None else now - account.last_login_at < timedelta(days=90)


def person(step: Step, **fields: Any) -> Any:
    return step.made(PERSON, {"id": "ann", **fields})


async def standing(step: Step) -> list[tuple[str, str]]:
    rows = await step.query("SELECT check_id, status FROM findings ORDER BY check_id")
    return [(row["check_id"], row["status"]) for row in rows]


async def outcome(step: Step, name: str) -> str | None:
    (row,) = await step.query(f"SELECT outcomes -> '{name}' ->> 0 AS outcome FROM entities WHERE kind = 'account'")
    found: str | None = row["outcome"]
    return found


async def history(step: Step) -> list[str]:
    return [row["event"] for row in await step.query("SELECT event FROM finding_events ORDER BY id")]


async def test_a_failure_opens_and_a_pass_resolves(step: Step) -> None:
    judge = step.judge(has_mfa)
    moved, _ = await step.page(person(step, mfa=False), judge)
    assert moved == {"opened": ["ann"], "reopened": [], "resolved": []}
    assert await standing(step) == [("has-mfa", "open")]
    moved, _ = await step.page(person(step, mfa=True), judge)
    assert moved["resolved"] == ["ann"]
    moved, _ = await step.page(person(step, mfa=False), judge)
    assert moved["reopened"] == ["ann"]
    assert await history(step) == ["opened", "resolved", "reopened"]


async def test_a_pass_from_the_start_leaves_no_finding(step: Step) -> None:
    moved, written = await step.page(person(step, mfa=True), step.judge(has_mfa))
    assert (moved["opened"], written) == ([], 1)
    assert await standing(step) == []


async def test_unknown_moves_nothing_in_either_direction(step: Step) -> None:
    judge = step.judge(has_mfa)
    assert await step.page(person(step), judge) == ({"opened": [], "reopened": [], "resolved": []}, 0)
    assert await outcome(step, "has-mfa") == "unknown"
    await step.page(person(step, mfa=False), judge)
    moved, written = await step.page(person(step), judge)
    assert (moved["resolved"], written) == ([], 0)
    assert await standing(step) == [("has-mfa", "open")]
    moved, _ = await step.page(person(step, mfa=True), judge)
    assert moved["resolved"] == ["ann"]


async def test_a_check_that_no_longer_applies_resolves_without_a_statement(step: Step) -> None:
    judge = step.judge(has_mfa)
    await step.page(person(step, mfa=False), judge)
    moved, written = await step.page(person(step, mfa=False, status="suspended"), judge)
    assert (moved["resolved"], written) == (["ann"], 0)
    assert await outcome(step, "has-mfa") is None


async def test_the_values_that_decided_are_kept(step: Step) -> None:
    await step.page(person(step, mfa=False), step.judge(has_mfa))
    (row,) = await step.query("SELECT values ->> 'mfa' AS mfa, severity, subject FROM findings")
    assert row == {"mfa": "false", "severity": "high", "subject": "ann"}


async def test_absence_counts_only_when_everything_was_read(step: Step) -> None:
    await step.page(person(step), step.judge(in_no_group))
    assert await outcome(step, "in-no-group") == "unknown"
    await step.page(person(step, mfa=True), step.judge(in_no_group, complete=["membership"]))
    assert await outcome(step, "in-no-group") == "pass"


async def test_presence_counts_at_once(step: Step) -> None:
    await step.page(step.made(MEMBER, {"who": "ann", "where": "g"}), step.judge(in_no_group))
    moved, _ = await step.page(person(step), step.judge(in_no_group))
    assert moved["opened"] == ["ann"]


async def test_presence_does_not_count_while_it_is_being_read_anew(step: Step) -> None:
    await step.page(step.made(MEMBER, {"who": "ann", "where": "g"}), step.judge(in_no_group))
    moved, _ = await step.page(person(step), step.judge(in_no_group, complete=["membership"], moving=["membership"]))
    assert moved["opened"] == []
    assert await outcome(step, "in-no-group") == "unknown"


async def test_a_failure_that_stands_still_stands_while_links_are_read_anew(step: Step) -> None:
    await step.page(step.made(MEMBER, {"who": "ann", "where": "g"}), step.judge(in_no_group))
    await step.page(person(step), step.judge(in_no_group))
    moving = step.judge(in_no_group, complete=["membership"], moving=["membership"])
    assert await step.page(person(step, mfa=True), moving) == ({"opened": [], "reopened": [], "resolved": []}, 0)
    assert await outcome(step, "in-no-group") == "fail"


async def test_a_link_that_comes_or_goes_judges_what_it_points_to(step: Step) -> None:
    judge = step.judge(in_no_group, complete=["membership"])
    await step.page(person(step), judge)
    async with step.db.work(step.org_id) as work:
        _, _, linked = await step.load(work, step.made(MEMBER, {"who": "ann", "where": "g"}), judge)
        (answer,) = (await reassess(work, linked, judge)).answers
    assert (answer.before, answer.outcome) == ("pass", "fail")
    assert await outcome(step, "in-no-group") == "fail"
    async with step.db.work(step.org_id) as work:
        gone = list(step.made(MEMBER, {"who": "ann", "where": "g"}).candidates)
        await (await work.driver()).execute("UPDATE entities SET removed_at = now() WHERE id = ANY($1)", gone)
        links = [(field, target) for field, _, target in await entities.links_from(work, gone)]
        (answer,) = (await reassess(work, links, judge)).answers
    assert (answer.before, answer.outcome) == ("fail", "pass")


async def test_only_checks_that_depend_on_the_time_judge_the_unchanged(step: Step) -> None:
    seen = (NOW - timedelta(days=80)).isoformat()
    judge = step.judge(seen_lately, has_mfa)
    await step.page(person(step, seen=seen, mfa=True), judge)
    later = step.later(days=20)
    moved, _ = await later.page(person(step, seen=seen, mfa=True), later.judge(seen_lately, has_mfa))
    assert moved["opened"] == ["ann"]
    assert (await outcome(step, "seen-lately"), await outcome(step, "has-mfa")) == ("fail", "pass")


async def test_the_unchanged_is_judged_again_when_time_turns_an_answer_and_not_before(step: Step) -> None:
    asked: list[datetime] = []

    @check(Account, severity="low", controls=CONTROLS)
    def seen_this_month(account: Account, now: datetime) -> bool | None:
        """Seen."""
        asked.append(now)
        return account.last_login_at is not None and now - account.last_login_at < timedelta(days=30)

    unmoved = replace(seen_this_month, id="unmoved", clocked=False, predicate=lambda _: True)
    seen = (NOW - timedelta(days=20)).isoformat()
    for hours, often in ((0, True), (1, False), (239, False), (241, True), (242, False)):
        asked.clear()
        later = step.later(hours=hours)
        await later.page(person(step, seen=seen), later.judge(seen_this_month, unmoved))
        assert bool(asked) == often, hours
    assert await standing(step) == [("seen-this-month", "open")]


async def test_a_link_that_came_moves_the_time_at_which_to_judge_again(step: Step) -> None:
    @check(Account, severity="low", controls=CONTROLS)
    def joined_lately(account: Account, memberships: Related[Membership], now: datetime) -> bool | None:
        """Joined."""
        return memberships.any(lambda one: one.added_at is not None and now - one.added_at < timedelta(days=30))

    mapping = Membership.map(**{**MEMBER.fields, "added_at": "payload.added"})
    judge = step.judge(joined_lately, complete=["membership"])
    await step.page(person(step), judge)
    made = step.made(mapping, {"who": "ann", "where": "g", "added": (NOW - timedelta(days=20)).isoformat()})
    async with step.db.work(step.org_id) as work:
        _, _, links = await step.load(work, made, judge)
        await reassess(work, links, judge)
    (row,) = await step.query("SELECT judge_at FROM entities WHERE kind = 'account'")
    assert row["judge_at"] == NOW + timedelta(days=10)


async def test_an_answer_that_grew_old_is_given_again(step: Step) -> None:
    await step.page(person(step, mfa=True), step.judge(has_mfa))
    for days, written in ((FRESH_FOR.days - 1, 0), (FRESH_FOR.days, 1), (FRESH_FOR.days + 1, 0)):
        later = step.later(days=days)
        moved, attested = await later.page(person(step, mfa=True), later.judge(has_mfa))
        assert attested == written
        assert not any(moved.values())


async def test_entities_of_other_connections_are_never_judged(step: Step) -> None:
    await step.page(person(step, mfa=False), step.judge(has_mfa))
    async with step.db.work(step.org_id) as work:
        other = step.judge(has_mfa)
        stranger = to_uuid(new_id("conn"), "conn")
        assert (await reassess(work, [("account", stranger)], other)).answers == []
