"""The history of entities through real syncs: what runs change, remove and find again is kept, told, and pruned in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.flows.bench import ALL, Bench

from tieline.errors import NotFound
from tieline.flows.history import NotKept, Version, compare_times, list_versions, prune_history, see_past
from tieline.flows.reconfigure import reconfigure
from tieline.flows.upkeep import CHORES
from tieline.sdk.entities import KINDS
from tieline.store.entities import StoredEntity
from tieline.store.entity_counts import count_by, count_by_kind

SOON = timedelta(seconds=1)


async def history(bench: Bench, entity: StoredEntity) -> Sequence[Version]:
    async with bench.parts.db.work(bench.org) as work:
        return (await list_versions(work, entity.id, ALL)).items


async def past(bench: Bench, entity: StoredEntity, at: datetime) -> StoredEntity:
    async with bench.parts.db.work(bench.org) as work:
        return (await see_past(work, entity.id, at, now=bench.clock.now())).entity


async def assert_counts_hold(bench: Bench) -> None:
    """The counts that triggers keep are those of the entities."""
    rows = await bench.query(
        "SELECT kind, status, verdict, count(*) AS entities FROM entities WHERE removed_at IS NULL GROUP BY 1, 2, 3"
    )
    kept = await bench.query("SELECT kind, status, verdict, entities FROM entity_counts WHERE entities <> 0")
    assert sorted(map(str, kept)) == sorted(map(str, rows))
    async with bench.parts.db.work(bench.org) as work:
        assert sum((await count_by_kind(work, bench.connection.id)).values()) == sum(row["entities"] for row in rows)
        assert await count_by(work, "provider", {"kind": "account", "provider": "okta"}) == {
            "sandbox": sum(row["entities"] for row in rows if row["kind"] == "account")
        }


async def test_a_change_tells_what_was_before_and_which_run_it_was(synced: Bench) -> None:
    accounts = await synced.entities("account")
    (change,) = synced.sandbox.change("suspend")
    before = accounts[change["id"]]
    run = (await synced.sync("people"))["people"]
    newest, oldest = await history(synced, before)
    assert (newest.what, newest.run_id, newest.until) == ("changed", run.id, None)
    told = {one.field: (one.before, one.after) for one in newest.changes or ()}
    assert told["status"] == ("active", "suspended")
    assert (oldest.what, oldest.run_id, oldest.until) == ("created", before.run_id, newest.since)
    assert (await past(synced, before, newest.since - SOON)).data == before.data
    assert (await past(synced, before, newest.since)).status == "suspended"
    kept = await synced.query("SELECT entity_id FROM entity_versions WHERE kind = 'account'")
    assert len(kept) == 1, "nothing is kept of those that did not change"
    await assert_counts_hold(synced)


async def test_reading_again_what_is_unchanged_writes_nothing(synced: Bench) -> None:
    await synced.sync()
    assert await synced.query("SELECT 1 FROM entity_versions") == []
    await assert_counts_hold(synced)


async def test_what_is_gone_is_told_as_gone_and_what_returns_as_returned(synced: Bench) -> None:
    accounts = await synced.entities("account")
    gone_for = {"people": {"filter": "payload.employment_type != 'contractor'"}}
    await reconfigure(synced.parts, synced.org, synced.connection.id, overrides=gone_for)
    removal = (await synced.sync("people"))["people"]
    one = next(iter((await synced.entities("account", removed=True)).values()))
    gone_at = one.since
    await reconfigure(synced.parts, synced.org, synced.connection.id, overrides={})
    back = (await synced.sync("people"))["people"]
    told = await history(synced, one)
    assert [version.what for version in told] == ["returned", "removed", "created"]
    assert [version.run_id for version in told] == [back.id, removal.id, accounts[one.external_id].run_id]
    assert (await past(synced, one, gone_at)).removed_at == gone_at
    for at in (gone_at - SOON, synced.clock.now()):
        there = await past(synced, one, at)
        assert (there.removed_at, there.data) == (None, accounts[one.external_id].data)
    async with synced.parts.db.work(synced.org) as work:
        found = await compare_times(work, one.id, gone_at - SOON, gone_at, now=synced.clock.now())
    assert (found.before and found.before.entity.removed_at, found.changes) == (None, [])
    assert found.after
    assert found.after.entity.removed_at == gone_at
    await assert_counts_hold(synced)


async def test_each_kind_is_kept_for_as_long_as_it_should(synced: Bench) -> None:
    entities = await synced.entities("account") | await synced.entities("repository")
    changed = [entities[synced.sandbox.change(action)[0]["id"]] for action in ("suspend", "publish")]
    await synced.sync()
    account, repository = changed
    synced.clock.ahead += timedelta(days=40)
    assert prune_history in CHORES
    parts = replace(synced.parts, history_days=dict.fromkeys(KINDS, 400) | {"account": 30})
    assert await prune_history(parts) == len(
        await synced.query("SELECT 1 FROM entities WHERE kind = 'account' AND since <> first_seen_at")
    )
    assert await prune_history(parts) == 0
    with pytest.raises(NotKept, match="no longer kept"):
        await past(synced, account, account.since)
    assert [one.what for one in await history(synced, account)] == ["unknown"]
    assert (await past(synced, repository, repository.since)).data == repository.data
    with pytest.raises(NotFound):
        await past(synced, account, account.first_seen_at - SOON)
    assert (await past(synced, account, synced.clock.now())).status == "suspended"
