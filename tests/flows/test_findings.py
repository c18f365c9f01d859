"""What people do about findings: give them to somebody, mute them, one or many at once, and what is told of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.flows.bench import Bench

from tieline.errors import Conflict, Invalid, NotFound
from tieline.flows import findings as flow
from tieline.flows.explain import explain
from tieline.flows.findings import Chosen
from tieline.flows.members import invite_member, remove_member
from tieline.ids import new_id, to_uuid
from tieline.sdk import Account, Membership, Related, check
from tieline.store.audit import list_entries
from tieline.store.connections import NOBODY, lock_connection
from tieline.store.entities import get_entity
from tieline.store.finding_groups import group_findings
from tieline.store.findings import Finding, count_matching, get_finding, list_events, list_findings
from tieline.store.listing import Paging
from tieline.store.outbox import list_outbox

ACTOR = "somebody"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


async def invite(bench: Bench, name: str) -> str:
    made = await invite_member(bench.parts, bench.org, email=f"{name}@example.com", role="member", name=name)
    return made.member.id


async def read(bench: Bench, finding: Finding) -> Finding:
    async with bench.parts.db.work(bench.org) as work:
        return await get_finding(work, finding.id)


async def entries(bench: Bench, action: str) -> list[dict[str, Any]]:
    async with bench.parts.db.work(bench.org) as work:
        found = (await list_entries(work, Paging(), action=action)).items
    return [{"target": one.target, **one.details} for one in found]


async def told(bench: Bench, kind: str) -> list[dict[str, Any]]:
    async with bench.parts.db.work(bench.org) as work:
        return [one.data for one in (await list_outbox(work, Paging(limit=5_000), type=kind)).items]


async def listed(bench: Bench, **wanted: Any) -> set[str]:
    async with bench.parts.db.work(bench.org) as work:
        return {one.id for one in (await list_findings(work, Paging(limit=5_000), **wanted)).items}


async def test_a_finding_is_given_to_a_member_and_taken_back(synced: Bench) -> None:
    anna, finding = await invite(synced, "anna"), (await synced.all_findings())[0]
    given = await flow.assign(synced.parts, synced.org, finding.id, owner=anna, actor=ACTOR)
    assert (given.owner_id, given.changed_at) == (anna, finding.changed_at)
    again = await flow.assign(synced.parts, synced.org, finding.id, owner=anna, actor=ACTOR)
    assert again == given
    assert await listed(synced, owner=anna) == {finding.id}
    taken = await flow.assign(synced.parts, synced.org, finding.id, owner=NOBODY, actor=ACTOR)
    assert taken.owner_id is None
    async with synced.parts.db.work(synced.org) as work:
        history = [(one.event, one.actor, one.values) for one in await list_events(work, finding.id)][-2:]
    assert history == [("assigned", ACTOR, {"owner_id": anna}), ("unassigned", ACTOR, {})]
    assert [one["owner"] for one in await told(synced, "finding.assigned")] == [anna]
    assert [one["owner"] for one in await told(synced, "finding.unassigned")] == [None]
    assert await entries(synced, "finding.assigned") == [
        {"target": finding.id, "check": finding.check_id, "owner": anna}
    ]


async def test_an_owner_must_be_a_member_of_this_organization(synced: Bench) -> None:
    finding = (await synced.all_findings())[0]
    for stranger in (new_id("mem"), "nonsense"):
        with pytest.raises(Invalid):
            await flow.assign(synced.parts, synced.org, finding.id, owner=stranger, actor=ACTOR)
    with pytest.raises(NotFound):
        await flow.assign(synced.parts, synced.org, new_id("find"), owner=NOBODY, actor=ACTOR)
    assert (await read(synced, finding)).owner_id is None


async def test_the_findings_of_who_leaves_are_nobodys(synced: Bench) -> None:
    leaver, stayer = await invite(synced, "leaver"), await invite(synced, "stayer")
    first, second, third = (await synced.all_findings())[:3]
    await flow.assign_many(synced.parts, synced.org, Chosen([first.id, second.id]), owner=leaver, actor=ACTOR)
    await flow.assign(synced.parts, synced.org, third.id, owner=stayer, actor=ACTOR)
    await remove_member(synced.parts, synced.org, leaver)
    assert await listed(synced, owner=leaver) == set()
    assert await listed(synced, owner=stayer) == {third.id}
    assert (await synced.history(first))[-2:] == ["assigned", "unassigned"]
    assert (await entries(synced, "member.removed"))[0]["findings"] == 2


async def test_all_that_match_are_muted_at_once_and_what_is_resolved_is_left(synced: Bench) -> None:
    synced.sandbox.change("enrol_mfa", 2)
    await synced.sync()
    found = await synced.findings("mfa-enabled")
    resolved = [one for one in found.values() if one.status == "resolved"]
    assert len(resolved) == 2
    until = synced.clock.now() + timedelta(days=1)
    about: dict[str, Any] = {"reason": "Later", "until": until, "actor": ACTOR}
    chosen = Chosen(filters={"check_id": "mfa-enabled"})
    done = await flow.mute_many(synced.parts, synced.org, chosen, **about)
    assert (len(done.changed), done.left) == (len(found) - 2, 2)
    assert {one.status for one in done.changed} == {"muted"}
    assert await listed(synced, status="muted") == {one.id for one in done.changed}
    assert (await entries(synced, "finding.muted"))[0]["filters"] == {"check_id": "mfa-enabled"}
    assert len(await told(synced, "finding.muted")) == len(done.changed)
    again = await flow.unmute_many(synced.parts, synced.org, Chosen([one.id for one in found.values()]), actor=ACTOR)
    assert (len(again.changed), again.left) == (len(done.changed), 2)
    with pytest.raises(Conflict):
        await flow.mute(synced.parts, synced.org, resolved[0].id, reason="x", until=None, actor=ACTOR)


async def test_many_are_changed_together_or_not_at_all(synced: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (await synced.all_findings())[:2]
    mixed = Chosen([one.id, new_id("find"), other.id])
    with pytest.raises(NotFound):
        await flow.mute_many(synced.parts, synced.org, mixed, reason="x", until=None, actor=ACTOR)
    monkeypatch.setattr(flow, "MOST_AT_ONCE", 1)
    for chosen in (Chosen(filters={}), Chosen([one.id, other.id])):
        with pytest.raises(Invalid, match="at most 1"):
            await flow.mute_many(synced.parts, synced.org, chosen, reason="x", until=None, actor=ACTOR)
    assert await listed(synced, status="muted") == set()


async def test_findings_are_found_by_whom_they_are_about_by_owner_and_by_age(synced: Bench) -> None:
    everything = await synced.all_findings()
    one = everything[0]
    same = {other.id for other in everything if (other.kind, other.subject) == (one.kind, one.subject)}
    assert await listed(synced, kind=one.kind, subject=one.subject) == same
    assert await listed(synced, owner=NOBODY) == {other.id for other in everything}
    assert await listed(synced, opened_before=one.opened_at) == {
        other.id for other in everything if other.opened_at < one.opened_at
    }
    with pytest.raises(TypeError):
        await listed(synced, colour="red")


@pytest.mark.parametrize("by", ["check", "subject", "connection", "owner"])
async def test_groups_hold_every_finding_once_and_their_key_leads_to_them(synced: Bench, by: Any) -> None:
    anna = await invite(synced, "anna")
    await flow.assign_many(
        synced.parts, synced.org, Chosen(filters={"check_id": "mfa-enabled"}), owner=anna, actor=ACTOR
    )
    async with synced.parts.db.work(synced.org) as work:
        groups, of = await group_findings(work, by, most=1_000)
        some, still = await group_findings(work, by, most=1)
    assert (len(groups), some, still) == (of, groups[:1], of)
    everything = await synced.all_findings()
    assert sum(one.open + one.muted + one.resolved for one in groups) == len(everything)
    for one in groups[:5]:
        key = {"owner" if name == "owner_id" else name: value or NOBODY for name, value in one.key.items()}
        assert len(await listed(synced, **key)) == one.open + one.muted + one.resolved
    ranks = [["critical", "high", "medium", "low", "info"].index(one.severity) for one in groups if one.open]
    assert ranks == sorted(ranks)


async def assert_counts_hold(bench: Bench) -> None:
    """The counts that triggers keep are those of the findings."""
    names = "connection_id, check_id, kind, severity, status, owner_id"
    rows = await bench.query(f"SELECT {names}, count(*) AS findings FROM findings GROUP BY {names}")
    kept = await bench.query(f"SELECT {names}, findings FROM finding_counts WHERE findings <> 0")
    assert sorted(map(str, kept)) == sorted(map(str, rows))


async def test_findings_are_counted_as_they_change(synced: Bench) -> None:
    anna, some = await invite(synced, "anna"), Chosen(filters={"check_id": "mfa-enabled"})
    await assert_counts_hold(synced)
    await flow.mute_many(synced.parts, synced.org, some, reason="known", until=None, actor=ACTOR)
    await flow.assign_many(synced.parts, synced.org, some, owner=anna, actor=ACTOR)
    await assert_counts_hold(synced)
    synced.sandbox.change("suspend")
    synced.sandbox.change("leave")
    await synced.sync()
    await assert_counts_hold(synced)
    await remove_member(synced.parts, synced.org, anna)
    await assert_counts_hold(synced)
    for wanted in (
        {},
        {"status": "open", "severity": "high"},
        {"check_id": "mfa-enabled", "owner": NOBODY},
        {"checks": ["mfa-enabled", "default-branch-protected"], "kind": "account"},
        {"provider": "sandbox", "connection_id": synced.connection.id},
        {"provider": "okta"},
        {"subject": (await synced.all_findings())[0].subject},
    ):
        async with synced.parts.db.work(synced.org) as work:
            counts = await count_matching(work, **wanted)
        found = [one for one in await synced.all_findings() if one.id in await listed(synced, **wanted)]
        assert counts == Counter(one.status for one in found), wanted


@pytest.mark.parametrize("wanted", [{}, {"severity": "high"}, {"status": "resolved"}, {"owner": NOBODY}], ids=str)
async def test_a_group_tells_the_oldest_open_finding_and_the_newest_title(synced: Bench, wanted: Any) -> None:
    synced.clock.move_to(synced.clock.now() + timedelta(days=3))
    synced.sandbox.change("suspend")
    await synced.sync()
    async with synced.parts.db.work(synced.org) as work:
        groups, _ = await group_findings(work, "check", most=1_000, **wanted)
    matching = [one for one in await synced.all_findings() if one.id in await listed(synced, **wanted)]
    for one in groups:
        mine = [finding for finding in matching if finding.check_id == one.key["check_id"]]
        assert one.oldest == min((finding.opened_at for finding in mine if finding.status == "open"), default=None)
        assert (one.entities, one.title) == (len(mine), max(mine, key=lambda finding: finding.id).title)
    assert {one.key["check_id"] for one in groups} == {one.check_id for one in matching}


async def test_whoever_changes_findings_waits_for_the_turn_of_their_connection(synced: Bench) -> None:
    finding = (await synced.all_findings())[0]
    async with synced.parts.db.work(synced.org) as page:
        await lock_connection(page, finding.connection_id)
        muting = asyncio.create_task(
            flow.mute(synced.parts, synced.org, finding.id, reason="known", until=None, actor=ACTOR)
        )
        while not await synced.query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            assert not muting.done(), "it did not wait"
        # It holds nothing that a page may want meanwhile: else the two would wait for each other.
        driver = await page.driver()
        await driver.execute("SELECT FROM findings WHERE id = $1 FOR UPDATE NOWAIT", to_uuid(finding.id, "find"))
    assert (await muting).status == "muted"


async def test_a_finding_is_explained_by_the_check_itself(synced: Bench) -> None:
    finding = next(iter((await synced.findings("default-branch-protected", status="open")).values()))
    async with synced.parts.db.work(synced.org) as work:
        entity, _ = await get_entity(work, finding.entity_id)
    rule = synced.parts.catalog.check(finding.check_id)
    reasons = {one.name: one for one in explain(rule, finding.kind, finding.values, entity.data, at=synced.clock.now())}
    assert list(reasons) == list(finding.values)
    assert any(one.expected for one in reasons.values())
    assert not any(one.moved for one in reasons.values())


def test_what_is_expected_is_what_the_check_would_take() -> None:
    @check(Account, severity="low", controls=["soc2:CC6.1"])
    def tidy(account: Account) -> bool | None:
        """It is tidy.

        Tidy it.
        """
        return account.mfa is True and account.status in ("active", "invited")

    values = {"mfa": False, "status": "active"}
    (mfa, status) = explain(tidy, "account", values, {"external_id": "a", "mfa": True, "status": "active"}, at=NOW)
    assert (mfa.expected, mfa.was, mfa.now, mfa.moved) == ("yes", False, True, True)
    assert status.expected == "", "no status helps while there is no second factor"
    both = explain(tidy, "account", {"mfa": True, "status": "deleted"}, {"external_id": "a"}, at=NOW)
    assert [one.expected for one in both] == ["", "active or invited"]
    assert explain(None, "account", values, {"external_id": "a"}, at=NOW)[0].expected == ""
    assert explain(tidy, "gone", values, {"external_id": "a"}, at=NOW)[0].now is False


def test_what_is_linked_is_expected_to_be_there_or_not() -> None:
    @check(Account, severity="low", controls=["soc2:CC6.1"])
    def alone(account: Account, memberships: Related[Membership]) -> bool | None:
        """It is alone.

        Leave.
        """
        return memberships.none() if account.active is not False else True

    found = {"active": True, "memberships": {"count": 3, "complete": True}}
    reasons = explain(alone, "account", found, {"external_id": "a", "active": True}, at=NOW)
    assert [one.expected for one in reasons] == ["", "none that counts"]
