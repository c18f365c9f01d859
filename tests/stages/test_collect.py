"""Collect: records in order, each batch with a place from which nothing is lost and nothing is skipped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tests.stages.steps import operation

from tieline.clock import SetClock, SystemClock
from tieline.errors import Unexpected
from tieline.sdk import Account, Context
from tieline.sdk.addresses import AddressPolicy
from tieline.sdk.context import Checkpoint, Turned
from tieline.sdk.limits import Waits
from tieline.stages import collect as module
from tieline.stages.collect import MAX_BYTES, MAX_RECORDS, Batch, Pace, collect

Fetch = Callable[[Any], Any]
MAPPING = Account.map(external_id="payload.id")
WAITS = Waits(SystemClock())
PACE = Pace(SystemClock().now(), SystemClock().now())  # of what is compared without it


def listed(*pages: Sequence[Any]) -> Fetch:
    """A list in pages, as a vendor's SDK reads it; the cursor is the number of the page."""

    async def fetch(cursor: Any) -> tuple[Sequence[Any], Any]:
        number = cursor or 0
        return pages[number], number + 1 if number + 1 < len(pages) else None

    return fetch


def opener(start: Checkpoint | None, turned: Turned) -> Context[Any]:
    policy = AddressPolicy.parse("")
    return Context(
        options=None,
        credential=None,
        http=SimpleNamespace(waits=WAITS),  # type: ignore[arg-type]  nothing is asked for over it
        policy=policy,
        clock=SystemClock(),
        start=start,
        turned=turned,  # type: ignore[arg-type]
    )


async def batches(read: Any, start: Checkpoint | None = None) -> list[Batch]:
    async with aclosing(collect(operation(read, MAPPING), opener, start)) as found:
        return [batch async for batch in found]


@pytest.fixture
def each_page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches so small that no two pages are handed over together."""
    monkeypatch.setattr(module, "MAX_RECORDS", 2)


@pytest.mark.usefixtures("each_page_alone")
async def test_each_page_comes_with_the_place_of_the_next_and_the_last_with_the_end() -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(listed(["a"], ["b"], ["c"])):
            yield record + "!"

    found = await batches(read)
    merged = [record for batch in found for record in batch.records]
    assert merged == ["a!", "b!", "c!"]
    assert found[-1].checkpoint == Checkpoint(1)


async def test_pages_that_wait_are_handed_over_together_with_the_last_place() -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(listed(["a"], ["b"], [], ["c"])):
            yield record

    assert await batches(read) == [Batch(["a", "b", "c"], Checkpoint(1), PACE)]


@pytest.mark.usefixtures("each_page_alone")
async def test_pages_inside_a_page_are_no_places_to_go_on_from() -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for group in ctx.each(listed(["g"], ["h"])):
            async for member in ctx.each(listed(["1"], ["2"])):
                yield group + member

    found = await batches(read)
    assert [record for batch in found for record in batch.records] == ["g1", "g2", "h1", "h2"]
    assert [batch.checkpoint for batch in found if batch.checkpoint] == [Checkpoint(0, 1), Checkpoint(1)]


@pytest.mark.usefixtures("each_page_alone")
async def test_a_list_after_another_counts_its_own_places() -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(listed(["a1", "a2"], ["a3", "a4"])):
            yield record
        async for record in ctx.each(listed(["b1", "b2"], ["b3", "b4"])):
            yield record

    found = await batches(read)
    places = [batch.checkpoint for batch in found if batch.checkpoint]
    assert places == [Checkpoint(0, 1), Checkpoint(1), Checkpoint(1, 1), Checkpoint(2)]


@pytest.mark.parametrize(
    ("start", "left"),
    [
        (Checkpoint(0, 1), ["a3", "b1", "b2"]),
        (Checkpoint(1), ["b1", "b2"]),
        (Checkpoint(1, 1), ["b2"]),
        (Checkpoint(2), []),
    ],
)
async def test_a_reading_goes_on_from_its_place(start: Checkpoint, left: list[str]) -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(listed(["a1", "a2"], ["a3"])):
            yield record
        async for record in ctx.each(listed(["b1"], ["b2"])):
            yield record

    assert [record for batch in await batches(read, start) for record in batch.records] == left


@pytest.mark.usefixtures("each_page_alone")
async def test_from_every_place_given_nothing_is_missing() -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for group in ctx.each(listed(["g", "h"], ["i"])):
            async for member in ctx.each(listed(["1"], ["2", "3"])):
                yield group + member
        async for record in ctx.each(listed(["x"], ["y"])):
            yield record
        yield "last"

    whole = [record for batch in await batches(read) for record in batch.records]
    before: list[Any] = []
    for batch in await batches(read):
        before += batch.records
        if batch.checkpoint:
            rest = [record for one in await batches(read, batch.checkpoint) for record in one.records]
            assert rest == whole[len(whole) - len(rest) :]
            assert len(before) + len(rest) >= len(whole)  # a part of the next page may have come along; it comes again
    assert before == whole


async def test_details_are_joined_to_their_records_in_order() -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async def detail(record: int) -> str:
            await asyncio.sleep(0.001 * (3 - record))
            return f"{record}+"

        async for record in ctx.each(listed([1, 2], [3])).join(detail):
            yield record

    assert [record for batch in await batches(read) for record in batch.records] == ["1+", "2+", "3+"]


async def test_a_long_page_is_handed_over_in_parts_and_only_the_last_has_a_place() -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(listed(range(2 * MAX_RECORDS + 1))):
            yield record

    found = await batches(read)
    assert [len(batch.records) for batch in found] == [MAX_RECORDS, MAX_RECORDS, 1]
    assert [batch.checkpoint for batch in found] == [None, None, Checkpoint(1)]


async def test_a_page_of_large_records_is_handed_over_in_parts_of_little_text() -> None:
    text = b"x" * (MAX_BYTES // 4)

    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(listed([text] * 9)):
            yield record

    found = await batches(read)
    assert [(len(batch.records), batch.checkpoint) for batch in found] == [(4, None), (4, None), (1, Checkpoint(1))]


async def test_what_is_read_ahead_is_bound_by_its_text_too() -> None:
    text, read_so_far = b"x" * (MAX_BYTES // 4), 0

    async def fetch(cursor: Any) -> tuple[Sequence[Any], Any]:
        nonlocal read_so_far
        read_so_far += 3
        return [text] * 3, (cursor or 0) + 1

    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(fetch):
            yield record

    async with aclosing(collect(operation(read, MAPPING), opener, None)) as reading:
        taken = [len((await anext(reading)).records) for _ in range(5)]
        await asyncio.sleep(0.01)  # the reader is ahead by now, and waits
    assert taken == [3] * 5  # two pages would be too much
    assert read_so_far - sum(taken) <= 4 * 6  # two shelves, and what waits before each


async def test_records_without_any_pages_come_without_a_place() -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        yield "one"

    assert await batches(read) == [Batch(["one"], None, PACE)]


async def test_an_error_comes_after_the_pages_that_were_whole() -> None:
    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(listed(["a"], ["b", "c"])):
            if record == "c":
                raise Unexpected("a surprise")
            yield record

    found: list[Batch] = []

    async def take_all() -> None:
        async with aclosing(collect(operation(read, MAPPING), opener, None)) as reading:
            async for batch in reading:
                found.append(batch)  # noqa: PERF401  what came before the error counts

    with pytest.raises(Unexpected, match="a surprise"):
        await take_all()
    assert found == [Batch(["a"], Checkpoint(0, 1), PACE)]


@pytest.mark.usefixtures("each_page_alone")
@pytest.mark.parametrize("taken", [1, 2, 3])
async def test_whoever_stops_listening_ends_the_reading(taken: int) -> None:
    closed = asyncio.Event()

    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        try:
            async for record in ctx.each(listed(*([number, number] for number in range(50)))):
                yield record
        finally:
            closed.set()

    async with aclosing(collect(operation(read, MAPPING), opener, None)) as reading:
        for _ in range(taken):
            await anext(reading)
        await asyncio.sleep(0.01)  # the reader is ahead by now, and waits
    assert closed.is_set()


@pytest.mark.usefixtures("each_page_alone")
async def test_a_cancellation_is_not_lost_while_the_reading_is_ended() -> None:
    ending = asyncio.Event()

    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        try:
            while True:
                yield "a"
        finally:
            ending.set()
            await asyncio.Event().wait()  # as one who says goodbye to a provider that does not answer

    async def fail(records: list[Any]) -> list[Any]:
        raise ValueError("not prepared")

    async def take() -> None:
        async for _ in collect(operation(read, MAPPING), opener, None, fail):
            pass

    taking = asyncio.create_task(take())
    await ending.wait()
    taking.cancel()
    await asyncio.wait([taking])
    assert taking.cancelled()


@pytest.mark.usefixtures("each_page_alone")
async def test_reading_is_ahead_of_storing_but_not_without_bound() -> None:
    asked: list[int] = []

    async def fetch(cursor: Any) -> tuple[Sequence[Any], Any]:
        asked.append(cursor or 0)
        return [cursor, cursor], (cursor or 0) + 1

    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        async for record in ctx.each(fetch):
            yield record

    async with aclosing(collect(operation(read, MAPPING), opener, None)) as reading:
        await anext(reading)
        await asyncio.sleep(0.05)
        assert 1 < len(asked) < 6


@pytest.mark.usefixtures("each_page_alone")
async def test_a_page_says_how_long_its_reader_waited_and_the_next_one_does_not_say_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SetClock(PACE.begun)
    monkeypatch.setattr(WAITS, "_clock", clock)

    async def read(ctx: Context[Any]) -> AsyncIterator[Any]:
        pages = listed(["a", "b"], ["c", "d"])

        async def fetch(cursor: Any) -> Any:
            if cursor is None:
                for cause, seconds in (("limit", 2), ("retry", 1)):
                    with WAITS.during(cause):
                        clock.at += timedelta(seconds=seconds)
            return await pages(cursor)

        async for record in ctx.each(fetch):
            yield record

    found = await batches(read)
    assert next((one.pace.limited_ms, one.pace.retried_ms) for one in found) == (2000, 1000)
    assert sum(one.pace.limited_ms + one.pace.retried_ms for one in found) == 3000
    assert len(found) > 1


async def test_pages_that_are_handed_over_together_say_the_time_of_both() -> None:
    begun, ms = PACE.begun, timedelta(milliseconds=1)
    both = Pace(begun, begun + 5 * ms, 1, 2) + Pace(begun + 6 * ms, begun + 9 * ms, 3, 4)
    assert both == Pace(begun, begun + 9 * ms, 4, 6)
