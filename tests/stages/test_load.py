"""Load: only what differs is written; links move with what holds them; what was removed can come back."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from tests.stages.steps import Step

from tieline.ids import entity_uuid, to_uuid
from tieline.sdk import Account, Asset, Membership, check
from tieline.sdk.entities import KINDS, Entity
from tieline.store.entities import count_unseen, keys_of, remove_unseen
from tieline.store.runs import create_run, save_progress

PERSON = Account.map(external_id="payload.id", email="payload.email")
MEMBER = Membership.map(external_id="payload.id", account="payload.who", group="payload.where")


def names(found: list[Any]) -> list[str]:
    return sorted(one.entity.external_id for one in found)


async def test_new_changed_and_unchanged_records_are_told_apart(step: Step) -> None:
    compared, _ = await step.store(step.made(PERSON, {"id": "a"}, {"id": "b"}))
    assert (names(compared.created), compared.changed, compared.unchanged) == (["a", "b"], [], [])
    compared, _ = await step.store(step.made(PERSON, {"id": "a"}, {"id": "b", "email": "b@x.y"}, {"id": "c"}))
    assert (names(compared.created), names(compared.changed), names(compared.unchanged)) == (["c"], ["b"], ["a"])
    rows = await step.query("SELECT external_id, data ->> 'email' AS email FROM entities ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [("a", None), ("b", "b@x.y"), ("c", None)]


async def test_an_unchanged_record_is_not_written_again(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a"}))
    before = await step.query("SELECT xmin::text AS written, changed_at FROM entities")
    await step.later(days=1).store(step.made(PERSON, {"id": "a"}))
    assert await step.query("SELECT xmin::text AS written, changed_at FROM entities") == before


async def test_a_record_of_common_size_is_stored_as_it_is(step: Step) -> None:
    """PostgreSQL compresses what makes a row long; for the rows that most providers give, that costs more than all else."""
    people = [{"id": f"{number}", "email": "a@x.y", "told": "the same again " * 200} for number in range(30)]
    await step.store(step.made(PERSON, *people))
    (found,) = await step.query(
        "SELECT min(length(raw::text)) AS size, count(pg_column_compression(raw)) AS compressed FROM entities"
    )
    assert found["size"] > 3_000
    assert found["compressed"] == 0


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_the_longest_texts_that_a_kind_allows_are_stored(step: Step, kind: str) -> None:
    """An index takes entries of 2,704 bytes at most, after it has compressed what it can."""

    @check(KINDS[kind], severity="low", controls=["soc2:CC6.1"])
    def as_it_should_be(_: Entity) -> bool:
        """As it should be.

        Mend it.
        """
        return False

    fields = KINDS[kind].model_json_schema()["properties"]
    record = {name: value for name, about in fields.items() if (value := longest(about)) is not None}
    made = step.made(KINDS[kind].map(**{name: f"payload.{name}" for name in record}), record)
    moved, attested = await step.page(made, step.judge(as_it_should_be))
    assert (moved["opened"], attested) == ([record["external_id"]], 1)
    assert await step.query("SELECT external_id FROM entities") == [{"external_id": record["external_id"]}]


def longest(field: dict[str, Any]) -> str | None:
    """A text for a field that is as long as it may be, in characters of four bytes that cannot be compressed."""
    for one in field.get("anyOf", [field]):
        if "enum" in one:
            return max(one["enum"], key=len)
        if most := one.get("maxLength"):
            return "".join(map(chr, Random(most).choices(range(0x20000, 0x2A6D0), k=most)))
    return None


async def test_a_state_that_is_too_long_has_its_record_rejected_and_no_other(step: Step) -> None:
    mapping = Asset.map(external_id="payload.id", name="payload.id", status="payload.status")
    made = step.made(mapping, {"id": "a", "status": "x" * 101}, {"id": "b", "status": "x" * 100})
    await step.store(made)
    assert [(one.field, one.reason) for one in made.refusals] == [
        ("status", "String should have at most 100 characters")
    ]
    assert await step.query("SELECT external_id FROM entities") == [{"external_id": "b"}]


async def test_the_same_id_of_another_kind_is_another_entity(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a"}))
    compared, _ = await step.store(step.made(MEMBER, {"id": "a", "who": "a", "where": "g"}))
    assert names(compared.created) == ["a"]


async def test_links_are_derived_and_need_no_target_to_exist(step: Step) -> None:
    await step.store(step.made(MEMBER, {"id": "m", "who": "a", "where": "g"}))
    connection = to_uuid(step.connection.id, "conn")
    expected = {"account": entity_uuid(connection, "account", "a"), "group": entity_uuid(connection, "group", "g")}
    assert {row["field"]: row["target_id"] for row in await step.query("SELECT * FROM links")} == expected


async def test_a_link_that_moved_tells_of_the_old_and_the_new_target(step: Step) -> None:
    await step.store(step.made(MEMBER, {"id": "m", "who": "a", "where": "g"}))
    made = step.made(MEMBER, {"id": "m", "who": "b", "where": "g"})
    async with step.db.work(step.org_id) as work:
        _, _, linked = await step.load(work, made, step.judge())
    connection = to_uuid(step.connection.id, "conn")
    both = {("account", entity_uuid(connection, "account", name)) for name in "ab"}
    assert {pair for pair in linked if pair[0] == "account"} == both
    assert len(await step.query("SELECT * FROM links")) == 2


async def test_what_a_complete_run_did_not_see_is_removed_and_can_come_back(step: Step) -> None:
    await step.store(step.made(PERSON, {"id": "a"}, {"id": "b"}))
    about: dict[str, Any] = {"connection_id": step.connection.id, "operation": "things"}
    async with step.db.work(step.org_id) as work:
        later = await create_run(
            work, connection_id=step.connection.id, provider="sandbox", operation="things", kind="sync", cause="test",
            now=step.now,
        )  # fmt: skip
        seen = keys_of(step.made(PERSON, {"id": "a"}).candidates)
        await save_progress(work, later.id, checkpoint=None, counts={}, seen=seen)
        assert await count_unseen(work, **about, run_id=later.id) == (1, 2)
        (gone,) = await remove_unseen(work, **about, run_id=later.id, now=step.now)
        assert await count_unseen(work, **about, run_id=later.id) == (0, 1)
    assert gone == next(iter(step.made(PERSON, {"id": "b"}).candidates))
    compared, _ = await step.store(step.made(PERSON, {"id": "b"}))
    assert names(compared.created) == ["b"]
    assert await step.query("SELECT 1 FROM entities WHERE removed_at IS NOT NULL") == []


async def test_what_a_later_run_wrote_is_not_swept_by_an_older_one(step: Step) -> None:
    async with step.db.work(step.org_id) as work:
        older = step.run
        newer = await create_run(
            work, connection_id=step.connection.id, provider="sandbox", operation="things", kind="sync", cause="test",
            now=step.now,
        )  # fmt: skip
    object.__setattr__(step, "run", newer)
    await step.store(step.made(PERSON, {"id": "a"}))
    async with step.db.work(step.org_id) as work:
        about: dict[str, Any] = {"connection_id": step.connection.id, "operation": "things", "run_id": older.id}
        assert await remove_unseen(work, **about, now=step.now) == []


async def test_an_empty_batch_writes_nothing(step: Step) -> None:
    compared, answers = await step.store(step.made(PERSON))
    assert (compared.to_write, answers) == ([], [])
