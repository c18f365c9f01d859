"""The mapping lab: what is tried comes to what a run would come to, writes nothing, cannot hang the server, and is saved or undone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.flows.bench import Bench

from tieline.catalog import compile_catalog
from tieline.errors import Conflict, Invalid, NotFound
from tieline.flows.connect import Attempt, connect
from tieline.flows.lab import (
    Place,
    choose_record,
    give_record,
    list_choices,
    open_place,
    save_mapping,
    try_mapping,
)
from tieline.flows.overrides import Own, check_overrides, read_own, replace_own
from tieline.flows.reconfigure import reconfigure
from tieline.flows.tried import filters_of, lines_of
from tieline.sdk import Account, Context, Identified, PersonalToken, Policy, Provider, Record
from tieline.stages.bench import Bench as TrialBench
from tieline.store.records import group_samples
from tieline.store.runs import save_rejections

BENCH = TrialBench()
"""One process for all tests here, as a server has one."""


@pytest.fixture
async def people(synced: Bench) -> Place:
    synced.parts = replace(synced.parts, bench=BENCH)
    return await open_place(synced.parts, synced.org, synced.connection.id, "people")


@pytest.fixture
async def person(synced: Bench, people: Place) -> Any:
    """The stored record of somebody who is neither a contractor nor a service."""
    for one in (await list_choices(synced.parts, people)).stored:
        chosen = await choose_record(synced.parts, people, one.id)
        if chosen.record["employment_type"] == "employee":
            return chosen
    raise AssertionError


async def everything(bench: Bench) -> list[Any]:
    names = ("entities", "findings", "evidence", "connections", "audit_entries", "runs")
    return [await bench.query(f"SELECT count(*), max(xmin::text::bigint) FROM {name}") for name in names]


async def test_the_mapping_in_force_makes_of_a_stored_record_what_is_stored(
    synced: Bench, people: Place, person: Any
) -> None:
    tried = await try_mapping(synced.parts, people, person)
    assert (tried.outcome.state, tried.outcome.entity_id) == ("kept", person.entity.id)
    assert tried.outcome.data == person.entity.data
    said = {one.check: (one.outcome, one.before) for one in tried.said}
    assert said == {check: (outcome, outcome) for check, (outcome, _) in person.entity.outcomes.items()}
    told = {one.field: (one.whose, one.told.state if one.told else None) for one in lines_of(tried)}
    assert told["email"] == ("provider", "value")
    assert told["url"] == (None, None)


async def test_a_trial_writes_nothing(synced: Bench, people: Place, person: Any) -> None:
    before = await everything(synced)
    own = Own("payload.employment_type != 'contractor'", {"mfa": "true", "title": "payload.department"})
    await try_mapping(synced.parts, people, person, own, others=200)
    assert await everything(synced) == before


async def test_what_is_tried_is_what_a_run_then_stores(synced: Bench, people: Place, person: Any) -> None:
    own = Own("payload.employment_type != 'contractor'", {"title": "payload.department + ': ' + payload.title"})
    tried = await try_mapping(synced.parts, people, person, own, others=200)
    assert tried.compared
    await save_mapping(synced.parts, people, None, own, stamp=people.stamp)
    run = (await synced.sync("people"))["people"]
    stored = (await synced.entities("account"))[person.entity.external_id]
    assert stored.data == tried.outcome.data
    assert run.removed == run.skipped >= tried.compared.after["left_out"] > 0
    assert run.rejected == tried.compared.after["rejected"] == 0
    assert run.changed >= tried.compared.changed > 100


async def test_each_line_tells_its_own_value_whose_it_is_and_which_field_rejects(
    synced: Bench, people: Place, person: Any
) -> None:
    own = Own(None, {"title": "1", "department": "payload.nothing.there", "url": "payload.title.size.x"})
    tried = await try_mapping(synced.parts, people, person, own)
    assert (tried.outcome.state, tried.before.state) == ("rejected", "kept")
    lines = {one.field: one for one in lines_of(tried)}
    assert lines["title"].told
    assert (lines["title"].told.value, lines["title"].whose, lines["title"].provider) == (
        1,
        "organization",
        "payload.title",
    )
    assert lines["department"].told
    assert lines["department"].told.state == "none"
    assert lines["url"].told
    assert lines["url"].told.state == "error"
    assert [one.field for one in lines.values() if one.problem] == [tried.outcome.field]


FILTERS = (
    ("payload.employment_type == 'employee'", "kept", None),
    ("payload.employment_type == 'contractor'", "left_out", None),
    ("payload.nothing == 1", "rejected", "reads something that the record lacks: ask with has() first"),
    ("payload.title", "rejected", "must answer true or false, and answers something else"),
)


async def test_a_filter_keeps_leaves_out_or_rejects(synced: Bench, people: Place, person: Any) -> None:
    for source, state, problem in FILTERS:
        tried = await try_mapping(synced.parts, people, person, Own(source))
        assert tried.outcome.state == state
        (line,) = filters_of(tried)
        assert (line.whose, line.expression, line.problem) == ("organization", source, problem)


async def test_a_wrong_expression_is_told_by_its_field(synced: Bench, people: Place, person: Any) -> None:
    with pytest.raises(Invalid) as refused:
        await try_mapping(synced.parts, people, person, Own("payload.(", {"title": "nobody.knows", "shoes": "1"}))
    assert [one["field"] for one in refused.value.details["fields"]] == ["filter", "fields.title", "fields.shoes"]


async def test_a_rejected_sample_is_tried_first_and_counted_where_it_would_fit(synced: Bench, people: Place) -> None:
    run = (await synced.runs("people"))[0]
    record = {"id": "per_1", "display_name": 7}
    reason = "is not text: map a number with string()"
    samples = [
        {"kind": "account", "field": "display_name", "reason": reason, "record": record | {"id": n}} for n in "ab"
    ]
    async with synced.parts.db.work(synced.org) as work:
        await save_rejections(work, run.id, samples, now=synced.clock.now())
        (alike,) = await group_samples(work, synced.connection.id)
    assert (alike.operation, alike.field, alike.reason, alike.sampled) == ("people", "display_name", reason, 2)
    first = (await list_choices(synced.parts, people)).first
    assert first == alike.samples[0]
    chosen = await choose_record(synced.parts, people, first)
    assert (await try_mapping(synced.parts, people, chosen)).outcome.reason == reason
    mended = Own(None, {"display_name": "string(payload.display_name)"})
    tried = await try_mapping(synced.parts, people, chosen, mended, others=10)
    assert tried.outcome.state == "kept"
    assert tried.compared
    assert (tried.compared.samples, tried.compared.mended, tried.compared.records) == (2, 2, 10)


async def test_a_record_of_another_operation_or_connection_is_not_found(synced: Bench, people: Place) -> None:
    (group, *_) = (await synced.entities("group")).values()
    for wrong in (group.id, "ent_nothing", "rej_nothing", "what"):
        with pytest.raises(NotFound):
            await choose_record(synced.parts, people, wrong)
    with pytest.raises(NotFound):
        await open_place(synced.parts, synced.org, synced.connection.id, "nothing")
    with pytest.raises(Invalid):
        give_record(people, ["no object"])


async def test_who_saves_over_what_somebody_else_changed_is_told(synced: Bench, people: Place) -> None:
    await save_mapping(synced.parts, people, None, Own(None, {"mfa": "true"}), stamp=people.stamp)
    changed = (await synced.standing()).overrides
    assert changed == {"people": {"fields": {"mfa": "true"}}}
    late = await open_place(synced.parts, synced.org, synced.connection.id, "people")
    with pytest.raises(Conflict, match="since you opened it"):
        await save_mapping(synced.parts, late, None, Own(), stamp=people.stamp)
    with pytest.raises(Conflict, match="meanwhile"):
        await reconfigure(synced.parts, synced.org, synced.connection.id, overrides={}, standing={})
    assert (await synced.standing()).overrides == changed
    now = await open_place(synced.parts, synced.org, synced.connection.id, "people")
    await save_mapping(synced.parts, now, None, Own(), stamp=now.stamp)
    assert (await synced.standing()).overrides == {}


# Operations with several mappings


def twins() -> Provider[Any]:
    """A provider whose operation gives records of three variants, two of the same kind."""

    async def identify(_ctx: Context[Any]) -> Identified:
        return Identified("acc_1", "Twins", None)

    made: Provider[Any] = Provider(
        slug="twins",
        name="Twins",
        category="other",
        base_url="https://twins.example.com",
        auth=PersonalToken(help="Tokens"),
        identity=identify,
    )

    @made.sync(
        [
            Account.map(variant="person", external_id="payload.id", title="payload.name"),
            Policy.map(variant="password", external_id="payload.id", name="payload.name", type="'password'"),
            Policy.map(variant="session", external_id="payload.id", name="payload.name", type="'session'"),
        ],
        every="1h",
    )
    async def rules(_ctx: Context[Any]) -> AsyncIterator[Any]:
        """Rules."""
        for variant in ("person", "password", "session"):
            yield Record({"id": variant, "name": f"The {variant}"}, variant)

    return made


@pytest.fixture
async def rules(bench: Bench) -> tuple[Bench, Place]:
    parts = replace(bench.parts, catalog=compile_catalog([twins()], []), bench=BENCH)
    connection = await connect(parts, bench.org, Attempt("twins", {}, {"token": "a-token-for-tests-only"}))
    other = Bench(parts, bench.clock, bench.sandbox, connection)
    await reconfigure(parts, bench.org, connection.id, name="Twins")
    for hold in await other.admit():
        if (await other.schedules())[0].connection_id == connection.id:
            await other.carry_out(hold)
    return other, await open_place(parts, bench.org, connection.id, "rules")


async def test_the_variant_of_a_stored_record_is_found_and_its_mapping_alone_is_saved(
    rules: tuple[Bench, Place],
) -> None:
    bench, place = rules
    found = {one.external_id: one for one in (await list_choices(bench.parts, place)).stored}
    assert sorted(found) == ["password", "person", "session"]
    for name, entity in found.items():
        assert (await choose_record(bench.parts, place, entity.id)).variant == name
    chosen = await choose_record(bench.parts, place, found["session"].id)
    own = Own(None, {"name": "payload.name + '!'"})
    tried = await try_mapping(bench.parts, place, chosen, own, others=200)
    assert tried.compared
    assert (tried.compared.records, tried.compared.changed) == (1, 1)
    saved = await save_mapping(bench.parts, place, "session", own)
    assert saved.overrides == {"rules": {"variants": {"session": {"fields": {"name": "payload.name + '!'"}}}}}
    await bench.sync("rules")
    names = {one.external_id: one.data["name"] for one in (await bench.entities("policy")).values()}
    assert names == {"password": "The password", "session": "The session!"}


def test_what_was_said_for_all_variants_stays_with_each_when_one_is_replaced() -> None:
    operation = twins().operations[0]
    standing = {"filter": "payload.id != 'x'", "fields": {"external_id": "payload.name"}}
    new = replace_own(standing, operation, "person", Own())
    assert not read_own(new, "person")
    for variant in ("password", "session"):
        assert read_own(new, variant) == read_own(standing, variant) == Own(standing["filter"], standing["fields"])
    assert replace_own({}, operation, "person", Own()) == {}


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"variants": {"nobody": {}}}, "no such variant"),
        ({"variants": {"person": {"variants": {}}}}, "give `filter`"),
        ({"variants": ["person"]}, "give `filter`"),
        ({"variants": {"person": {"fields": {"name": "payload.x"}}}}, "Account has no such field"),
        ({"fields": {"name": "payload.x"}}, "Account has no such field"),
        ({"variants": {"session": {"filter": "payload.("}}}, "variants.session.filter: line 1"),
        ({"fields": {"external_id": " "}}, "is empty"),
    ],
)
def test_overrides_that_make_no_sense_are_refused(own: Any, told: str) -> None:
    provider = twins()
    with pytest.raises(Invalid, match=told):
        check_overrides(compile_catalog([provider], []), provider, {"rules": own})
