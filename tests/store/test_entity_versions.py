"""Entity versions: what was overwritten or removed can be told for any time, once, and for as long as it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import new_organization
from tests.stages.steps import NOW, Step, make_step

from tieline.errors import NotFound
from tieline.flows.history import list_versions
from tieline.ids import from_uuid
from tieline.sdk import Account
from tieline.store.db import Db
from tieline.store.entities import keys_of, remove_unseen
from tieline.store.entity_versions import prune_versions
from tieline.store.listing import Paging
from tieline.store.past_entities import find_past, list_past
from tieline.store.runs import create_run, save_progress

PERSON = Account.map(external_id="payload.id", email="payload.email", title="payload.title", admin="payload.admin")
ALL = Paging(limit=5_000)
Told = dict[str, Any] | None


@pytest.fixture
async def step(db: Db) -> Step:
    return await make_step(db, await new_organization(db))


def id_of(step: Step, name: str) -> str:
    return from_uuid("ent", next(iter(step.made(PERSON, {"id": name}).candidates)))


async def sweep(step: Step, *kept: str) -> None:
    """A complete run that saw only these."""
    async with step.db.work(step.org_id) as work:
        run = await create_run(
            work, connection_id=step.connection.id, provider="sandbox", operation="things", kind="sync", cause="test",
            now=step.now,
        )  # fmt: skip
        seen = keys_of(step.made(PERSON, *({"id": name} for name in kept)).candidates)
        await save_progress(work, run.id, checkpoint=None, counts={}, seen=seen)
        await remove_unseen(
            work, connection_id=step.connection.id, operation="things", run_id=run.id, now=step.now
        )  # fmt: skip


async def as_of(step: Step, name: str, at: datetime) -> Told:
    """The fields at a time; `None` while it is gone."""
    async with step.db.work(step.org_id) as work:
        past = await find_past(work, id_of(step, name), at)
    assert past.kept
    return None if past.entity.removed_at else past.entity.data


async def versions(step: Step) -> list[dict[str, Any]]:
    return await step.query("SELECT * FROM entity_versions ORDER BY until")


async def test_only_what_was_otherwise_is_kept_and_only_of_what_changed(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a", "email": "a@x.y"}, {"id": "b"}))
    assert await versions(step) == []
    later = step.later(days=1)
    await later.store(step.made(PERSON, {"id": "a", "email": "a@x.y", "title": "Chief"}, {"id": "b"}, {"id": "c"}))
    (kept,) = await versions(step)
    assert (from_uuid("ent", kept["entity_id"]), kept["fields"]) == (id_of(step, "a"), {"title": None})
    assert (kept["since"], kept["until"], kept["removed"]) == (step.now, later.now, False)
    assert from_uuid("run", kept["run_id"]) == from_uuid("run", kept["first_run_id"]) == step.run.id


async def test_a_page_stored_again_adds_no_version(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a"}))
    for days in (1, 2, 3):
        await step.later(days=days).store(step.made(PERSON, {"id": "a", "title": "Chief"}))
    await sweep(step.later(days=4))
    await sweep(step.later(days=5))
    assert [one["until"] for one in await versions(step)] == [NOW + timedelta(days=days) for days in (1, 4)]


async def test_a_record_that_changes_without_its_fields_is_no_other_version(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a", "noise": 1}))
    compared, _ = await step.later(days=1).store(step.made(PERSON, {"id": "a", "noise": 2}))
    assert len(compared.changed) == 1
    assert await versions(step) == []
    assert await as_of(step, "a", NOW + timedelta(hours=1)) == await as_of(step, "a", NOW + timedelta(days=2))


async def test_no_raw_record_is_kept(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a", "hidden": "hunter2"}))
    await step.later(days=1).store(step.made(PERSON, {"id": "a", "title": "Chief", "hidden": "hunter3"}))
    assert "hunter" not in str(await versions(step))


async def test_changes_at_the_same_moment_or_by_a_clock_that_is_behind_keep_their_order(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a"}))
    await step.store(step.made(PERSON, {"id": "a", "title": "One"}))
    await step.later(hours=-3).store(step.made(PERSON, {"id": "a", "title": "Two"}))
    async with step.db.work(step.org_id) as work:
        told = (await list_versions(work, id_of(step, "a"), ALL)).items
    assert [[change.after for change in one.changes or ()] for one in told] == [["Two"], ["One"], []]
    assert [one.since for one in told] == sorted((one.since for one in told), reverse=True)
    assert [one.until for one in told[1:]] == [one.since for one in told[:-1]]


async def test_before_it_was_read_there_was_nothing(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a"}))
    with pytest.raises(NotFound, match="had not been read") as refused:
        await as_of(step, "a", NOW - timedelta(seconds=1))
    assert "2026-03-02" in refused.value.what_to_do
    async with step.db.work(step.org_id) as work:
        assert (await list_past(work, NOW - timedelta(seconds=1), ALL)).items == []


async def test_lists_are_filtered_by_what_was(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a", "title": "Clerk"}, {"id": "b", "title": "Chief"}))
    await step.later(days=1).store(step.made(PERSON, {"id": "a", "title": "Chief"}, {"id": "b", "title": "Clerk"}))
    await sweep(step.later(days=2), "a")
    async with step.db.work(step.org_id) as work:

        async def found(days: float, **wanted: Any) -> list[str]:
            listed = await list_past(work, NOW + timedelta(days=days), ALL, **wanted)
            return sorted(one.entity.external_id for one in listed.items)

        assert await found(0.5, search="chief") == ["b"]
        assert await found(1.5, search="chief") == ["a"]
        assert await found(2.5) == ["a"]
        assert await found(2.5, removed=True, kind="account") == ["b"]
        assert await found(1.5, status="present", provider="sandbox", connection_id=step.connection.id) == ["a", "b"]
        assert await found(1.5, status="active") == await found(1.5, kind="group") == []
        page = await list_past(work, NOW + timedelta(days=1.5), Paging(limit=1))
        rest = await list_past(work, NOW + timedelta(days=1.5), Paging(page.next, 1))
        assert page.items[0].entity.id < rest.items[0].entity.id
        assert (page.next, rest.next) == (page.items[0].entity.id, None)


async def test_another_organization_sees_no_version(db: Db, step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a"}))
    await step.later(days=1).store(step.made(PERSON, {"id": "a", "title": "Chief"}))
    async with db.work((await new_organization(db)).id) as work:
        for at in (NOW, NOW + timedelta(days=2)):
            with pytest.raises(NotFound, match="There is no entity"):
                await find_past(work, id_of(step, "a"), at)


# Retention


async def prune(db: Db, *, before: datetime, limit: int = 5_000) -> int:
    async with db.system() as work:
        return await prune_versions(work, "account", before=before, limit=limit)


async def test_what_was_pruned_is_unknown_and_what_was_kept_still_right(fresh_database_url: str) -> None:
    db = Db(fresh_database_url, pool_size=2)
    step = await make_step(db, await new_organization(db))
    for days, title in enumerate(("Zero", "One", "Two", "Three")):
        await step.later(days=days).store(step.made(PERSON, {"id": "a", "title": title}, {"id": "still"}))
    assert await prune(db, before=NOW + timedelta(days=2), limit=1) == 1
    assert await prune(db, before=NOW + timedelta(days=2)) == 0
    async with db.work(step.org_id) as work:
        assert not (await find_past(work, id_of(step, "a"), NOW + timedelta(hours=1))).kept
        told = (await list_versions(work, id_of(step, "a"), ALL)).items
        listed = (await list_past(work, NOW + timedelta(hours=1), ALL, search="Zero")).items
    assert [(one.what, one.changes is None) for one in told] == [("changed", False)] * 2 + [("unknown", True)]
    assert [one.kept for one in listed] == [False], "one that may have been so must be told"
    assert (await as_of(step, "a", NOW + timedelta(days=1))) == {"external_id": "a", "title": "One", "type": "person"}
    assert await as_of(step, "still", NOW) == {"external_id": "still", "type": "person"}, "it has not changed since"
    await db.close()


# Any story


@dataclass
class Naive:
    """The same, kept whole: what each entity was from when on."""

    told: dict[str, list[tuple[datetime, Told]]] = field(default_factory=dict)

    def now(self, name: str) -> Told:
        return self.told[name][-1][1] if name in self.told else None

    def set(self, name: str, at: datetime, data: Told) -> None:
        if data != self.now(name):
            self.told.setdefault(name, []).append((at, data))

    def at(self, name: str, moment: datetime) -> Told:
        return next(data for since, data in reversed(self.told[name]) if since <= moment)


NAMES = ("a", "b")
PEOPLE = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from(["a@x.y", "b@x.y"]),
        "title": st.sampled_from(["Chief", "Clerk", "Ünï ‘q’", ""]),
        "admin": st.booleans(),
        "noise": st.integers(0, 3),
    },
)
ACTS: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.one_of(
    st.tuples(st.just("page"), st.dictionaries(st.sampled_from(NAMES), PEOPLE, min_size=1)),
    st.tuples(st.just("again"), st.just({})),
    st.tuples(st.just("sweep"), st.dictionaries(st.sampled_from(NAMES), st.just({}))),
)


@given(acts=st.lists(ACTS, min_size=1, max_size=9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_time_of_any_story_is_as_it_was(database_url: str, acts: Sequence[tuple[str, dict[str, Any]]]) -> None:
    asyncio.run(live_through(database_url, acts))


async def live_through(url: str, acts: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Let it happen, hour by hour, and compare every time that there was with the naive model."""
    db, naive, last = Db(url, pool_size=2), Naive(), dict[str, Any]()
    step = await make_step(db, await new_organization(db))
    for hour, (act, people) in enumerate(acts):
        here = step.later(hours=hour)
        if act == "sweep":
            await sweep(here, *people)
            for name in set(naive.told) - set(people):
                naive.set(name, here.now, None)
            continue
        last = people if act == "page" else last  # again: as after a crash; after a sweep, all return
        made = here.made(PERSON, *({"id": name} | told for name, told in last.items()))
        await here.store(made)
        for one in made.candidates.values():
            naive.set(one.entity.external_id, here.now, one.entity.model_dump(exclude_none=True))
    for hour in range(len(acts)):
        await compare(step, naive, NOW + timedelta(hours=hour, minutes=30))
    for name, states in naive.told.items():
        await follow(step, name, [since for since, _ in states])
    await db.close()


async def compare(step: Step, naive: Naive, at: datetime) -> None:
    async with step.db.work(step.org_id) as work:
        listed = {one.entity.external_id: one.entity.data for one in (await list_past(work, at, ALL)).items}
    expected = {name: naive.at(name, at) for name, states in naive.told.items() if states[0][0] <= at}
    assert listed == {name: data for name, data in expected.items() if data is not None}
    for name, data in expected.items():
        assert await as_of(step, name, at) == data


async def follow(step: Step, name: str, moments: list[datetime]) -> None:
    """The history, one version a page, tells each state once, newest first."""
    found: list[datetime] = []
    cursor: str | None = None
    async with step.db.work(step.org_id) as work:
        while True:
            page = await list_versions(work, id_of(step, name), Paging(cursor, 1))
            found += [one.since for one in page.items]
            if (cursor := page.next) is None:
                break
    assert found == moments[::-1]
