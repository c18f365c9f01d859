"""Trials on the bench: the same outcome as in this process, and no expression that hangs or fills the machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tieline.catalog import load_catalog
from tieline.catalog.compile import compile_operation
from tieline.errors import Invalid
from tieline.sdk import Account, Context
from tieline.sdk.provider import Operation
from tieline.stages.bench import Bench
from tieline.stages.transform import Refusal, Transformed, finish, transform
from tieline.stages.trial import LONGEST_VALUE, Outcome, Trial, carry_out

CONNECTION = uuid4()
BOMB = "['aaaaaaaaaa']" + ".map(a, a + a)" * 29 + "[0]"
"""Five gigabytes, in a line."""
ENDLESS = "payload.l.exists(a, payload.t.matches('(.*)(b|c)(.*)d')) ? 'a' : 'b'"
"""Nine thousand searches of a long text, each within the engine's bounds."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    yield (one := Bench())
    assert one.process


@pytest.fixture(scope="module")
def people() -> Operation:
    return load_catalog().operation("sandbox", "people")


def trial(people: Operation, fields: dict[str, str], **more: Any) -> Trial:
    record = {"id": "per_1", "status": "active", "employment_type": "employee", "mfa_methods": []} | more
    return Trial(people, {"fields": fields}, [(record, None)], CONNECTION, {"base_url": "http://x"}, explained=True)


async def one(bench: Bench, tried: Trial, **limits: float) -> Outcome:
    [[outcome]] = await bench.carry_out([tried], **limits)
    return outcome


FIELDS = (
    {},
    {"title": "options.base_url", "department": "payload.nothing"},
    {"title": "1"},
    {"title": "payload.when.x"},
    {"created_at": "timestamp('2026-01-31T12:00:00Z')", "url": "string(b'abc')"},
    {"username": "payload.text"},
)


async def test_the_bench_comes_to_what_this_process_comes_to(bench: Bench, people: Operation) -> None:
    for fields in FIELDS:
        tried = trial(people, fields, when=7, text="a\0b\u2028c")
        assert await one(bench, tried) == carry_out(tried)[0]


async def test_a_value_that_is_too_long_is_told_as_that(bench: Bench, people: Operation) -> None:
    outcome = await one(bench, trial(people, {"title": "payload.text"}, text="x" * LONGEST_VALUE))
    told = next(each for each in outcome.told if each.field == "title")
    assert (told.state, told.value, outcome.state) == ("long", None, "rejected")


async def test_what_fills_the_memory_ends_its_own_process_and_the_next_trial_works(
    bench: Bench, people: Operation
) -> None:
    with pytest.raises(Invalid, match="too much memory"):
        await one(bench, trial(people, {"title": BOMB}), seconds=60)
    assert (await one(bench, trial(people, {}))).state == "kept"


async def test_what_takes_too_long_is_ended_and_the_next_trial_works(bench: Bench, people: Operation) -> None:
    endless = trial(people, {"title": ENDLESS}, l=list(range(9_000)), t="x" * 500_000)
    with pytest.raises(Invalid, match=r"longer than 0\.2 seconds"):
        await one(bench, endless, seconds=0.2)
    assert (await one(bench, trial(people, {}))).state == "kept"


async def test_the_process_has_none_of_our_environment(people: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIELINE_DATABASE_URL", "postgresql://somebody:hunter2@db.example/x")
    fresh = Bench()
    await one(fresh, trial(people, {}))
    assert b"hunter2" not in environment_of(fresh)


def environment_of(bench: Bench) -> bytes:
    assert bench.process
    file = Path(f"/proc/{bench.process.pid}/environ")
    if not file.exists():
        pytest.skip("this system does not show a process's environment")
    return file.read_bytes()


async def test_a_batch_comes_to_the_same_on_the_bench_as_here(bench: Bench, people: Operation) -> None:
    own = {"filter": "payload.status != 'left'", "fields": {"title": "payload.text", "created_at": "payload.since"}}
    plain = {"id": "per_1", "status": "active", "employment_type": "employee", "mfa_methods": ["totp"], "text": "a"}
    records: list[Any] = [
        plain | {"since": "2026-01-31T12:00:00+02:00"},
        plain | {"id": "per_2", "since": "never"},
        plain | {"id": "per_3", "status": "left"},
        plain | {"id": "per_4", "text": "a\0b\u2028c", "since": None},
        plain | {"id": "per_5", "text": "\ud800"},
        plain | {"id": "per_6", "since": 1 << 70},
        plain | {"id": "per_7", "text": 7},
        "no object",
    ]
    compiled = compile_operation(load_catalog(), "sandbox", people, own)
    about = {"connection": CONNECTION, "options": {"base_url": "http://x"}}
    here = transform(records, compiled, **about)
    there = finish(await bench.draft(records, compiled, own, **about))
    assert there.candidates == here.candidates
    assert [one.entity.external_id for one in here.candidates.values()] == ["per_1", "per_4"]
    assert by_reason(there) == by_reason(here)
    assert (there.skipped, len(here.refusals)) == (here.skipped, 5) == (1, 5)


@pytest.mark.parametrize(
    "text", [b'{"id": "per_1", "score": 1e999}', b'{"id": "per_1", "deep": ' + b"[" * 120 + b"]" * 120 + b"}"]
)
async def test_of_a_record_that_cannot_be_read_no_expression_of_an_organization_is_asked(
    bench: Bench, people: Operation, text: bytes
) -> None:
    own = {"fields": {"external_id": "payload.id"}}
    compiled = compile_operation(load_catalog(), "sandbox", people, own)
    (refusal,) = await bench.draft([text], compiled, own, connection=CONNECTION, options={})
    assert isinstance(refusal, Refusal)
    assert (refusal.field, refusal.reason, refusal.id) == ("record", "is not JSON, or nested too deeply", None)


async def test_what_is_dropped_from_a_record_does_not_bring_it_past_the_bench(bench: Bench) -> None:
    mapping = Account.map(external_id="payload.id", drop=("secret",))
    operation = Operation("people", "People", (mapping,), timedelta(hours=1), frozenset(), read_nothing)
    own = {"fields": {"external_id": ENDLESS}}
    compiled = compile_operation(load_catalog(), "sandbox", operation, own)
    record = {"id": "1", "secret": 1 << 70, "l": list(range(9_000)), "t": "x" * 500_000}
    with pytest.raises(Invalid, match=r"longer than 0\.2 seconds"):
        await bench.draft([record], compiled, own, connection=CONNECTION, options={}, seconds=0.2)


async def read_nothing(_: Context[Any]) -> AsyncIterator[Any]:
    for never in ():
        yield never


def by_reason(made: Transformed) -> set[tuple[str, str, Any]]:
    return {(one.field, one.reason, one.id) for one in made.refusals}
