"""The context: the spine of a reading and its checkpoints, details joined side by side, and what is handed to vendors' SDKs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tieline.errors import Forbidden, Invalid, RateLimited, Unauthorised, Unavailable
from tieline.sdk import Context, Cursor
from tieline.sdk.context import Checkpoint, Pages
from tieline.sdk.provider import Options


class Told:
    """Notes each turn of the page."""

    def __init__(self) -> None:
        self.turns: list[Checkpoint] = []

    async def __call__(self, checkpoint: Checkpoint) -> None:
        self.turns.append(checkpoint)


Open = Callable[..., Context[Any]]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def open_context(bench: Any, acme: Any, told: Told) -> Open:
    def opened(start: Checkpoint | None = None) -> Context[Any]:
        http = bench.client(acme.url)
        about = {"policy": bench.policy, "clock": bench.clock, "start": start, "turned": told}
        return Context(options=Options(), credential=None, http=http, **about)

    return opened


def listed(ctx: Context[Any], *pages: list[Any], asked: list[Any] | None = None) -> Pages[Any]:
    """A list of these pages; the cursor is the number of the page."""

    async def fetch(cursor: Any) -> tuple[list[Any], Any]:
        if asked is not None:
            asked.append(cursor)
        place = cursor or 0
        return pages[place], place + 1 if place + 1 < len(pages) else None

    return ctx.each(fetch)


async def collected(pages: Pages[Any]) -> list[Any]:
    return [item async for item in pages]


# The spine


async def test_each_page_of_the_spine_is_a_checkpoint(open_context: Open, told: Told) -> None:
    assert await collected(listed(open_context(), [1, 2], [3], [])) == [1, 2, 3]
    assert told.turns == [Checkpoint(0, 1), Checkpoint(0, 2), Checkpoint(1)]


async def test_pages_within_pages_are_details_and_no_checkpoints(open_context: Open, told: Told) -> None:
    ctx = open_context()
    found = [(group, member) async for group in listed(ctx, ["a"], ["b"]) async for member in listed(ctx, [1], [2])]
    assert found == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert told.turns == [Checkpoint(0, 1), Checkpoint(1)]


async def test_lists_after_one_another_are_spines_of_their_own(open_context: Open, told: Told) -> None:
    ctx = open_context()
    assert await collected(listed(ctx, [1])) + await collected(listed(ctx, [2], [3])) == [1, 2, 3]
    assert told.turns == [Checkpoint(1), Checkpoint(1, 1), Checkpoint(2)]


async def test_a_reading_goes_on_at_its_checkpoint_and_asks_nothing_again(open_context: Open, told: Told) -> None:
    ctx, asked = open_context(Checkpoint(1, 1)), []
    before = await collected(listed(ctx, ["old"], asked=asked))
    here = await collected(listed(ctx, [1], [2], [3], asked=asked))
    after = await collected(listed(ctx, ["new"], asked=asked))
    assert (before, here, after) == ([], [2, 3], ["new"])
    assert asked == [1, 2, None]
    assert told.turns == [Checkpoint(1, 2), Checkpoint(2), Checkpoint(3)]


async def test_every_checkpoint_of_a_reading_leads_to_its_rest(open_context: Open, told: Told) -> None:
    async def read(start: Checkpoint | None) -> list[Any]:
        ctx = open_context(start)
        return await collected(listed(ctx, [1, 2], [3])) + await collected(listed(ctx, [4], [], [5]))

    assert await read(None) == [1, 2, 3, 4, 5]
    rests = [await read(start) for start in list(told.turns)]
    assert rests == [[3, 4, 5], [4, 5], [5], [5], []]


async def test_a_spine_that_failed_is_free_again(open_context: Open, told: Told) -> None:
    ctx = open_context()

    async def fetch(cursor: Any) -> Any:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        await collected(ctx.each(fetch))
    await collected(listed(ctx, [1]))
    assert told.turns == [Checkpoint(2)]


async def test_pages_over_http_go_on_at_their_cursor(open_context: Open, acme: Any, bench: Any, told: Told) -> None:
    acme.will(bench.answer({"data": [3], "next": None}))
    ctx = open_context(Checkpoint(0, "c2"))
    assert await collected(ctx.pages("/people", pages=Cursor("after", at="next"), items="data")) == [3]
    assert acme.received[0].target == "/people?after=c2"
    assert told.turns == [Checkpoint(1)]


# Joining details


async def test_joined_details_keep_the_order_of_the_page(open_context: Open) -> None:
    async def slow_first(item: int) -> int:
        await asyncio.sleep(0.01 if item == 1 else 0)
        return item * 10

    assert await collected(listed(open_context(), [1, 2], [3]).join(slow_first)) == [10, 20, 30]


async def test_joins_follow_one_another(open_context: Open) -> None:
    async def double(item: int) -> int:
        return item * 2

    async def tell(item: int) -> str:
        return f"<{item}>"

    assert await collected(listed(open_context(), [1, 2]).join(double).join(tell)) == ["<2>", "<4>"]


async def test_no_more_details_than_the_limit_run_side_by_side(open_context: Open) -> None:
    running, most = 0, 0

    async def detail(item: int) -> int:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0)
        running -= 1
        return item

    assert await collected(listed(open_context(), list(range(20))).join(detail, limit=3)) == list(range(20))
    assert most == 3


@pytest.mark.parametrize(
    "error", [Unauthorised("no"), Forbidden("no", scope="a:read"), Unavailable("no"), KeyError("a")]
)
async def test_the_error_of_a_detail_is_raised_as_it_is(open_context: Open, error: Exception) -> None:
    async def detail(item: int) -> int:
        if item == 2:
            raise error
        await asyncio.sleep(10)
        return item

    with pytest.raises(type(error)) as raised:
        await collected(listed(open_context(), [1, 2, 3]).join(detail))
    assert raised.value is error


async def test_provider_code_can_catch_what_a_detail_raises(open_context: Open) -> None:
    async def detail(_: int) -> int:
        raise Forbidden("no", scope="a:read")

    async def missing_scope() -> str | None:
        try:
            await collected(listed(open_context(), [1, 2]).join(detail))
        except Forbidden as error:
            return error.scope
        return None

    assert await missing_scope() == "a:read"


async def test_of_several_errors_the_providers_decides(open_context: Open, bench: Any) -> None:
    limited = RateLimited("wait", until=bench.now + timedelta(minutes=1))

    async def detail(item: int) -> int:
        try:
            await asyncio.sleep(0 if item == 1 else 10)
        except asyncio.CancelledError:
            raise limited from None
        raise KeyError("id")

    with pytest.raises(RateLimited) as raised:
        await collected(listed(open_context(), [1, 2]).join(detail))
    assert raised.value is limited


async def test_a_failed_detail_leaves_no_other_running_and_its_page_unturned(open_context: Open, told: Told) -> None:
    ended = []

    async def detail(item: int) -> int:
        try:
            await asyncio.sleep(0 if item == 3 else 10)
        finally:
            ended.append(item)
        if item == 3:
            raise Unavailable("away")
        return item

    with pytest.raises(Unavailable):
        await collected(listed(open_context(), [1, 2, 3]).join(detail))
    assert sorted(ended) == [1, 2, 3]
    assert told.turns == []


async def test_cancelling_a_reading_cancels_its_details(open_context: Open) -> None:
    begun, cancelled = asyncio.Event(), []

    async def detail(item: int) -> int:
        begun.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    task = asyncio.create_task(collected(listed(open_context(), [1, 2]).join(detail)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(cancelled) == [1, 2]


# Single requests, and vendors' SDKs


async def test_what_is_not_there_is_what_the_reader_says(open_context: Open, acme: Any, bench: Any) -> None:
    acme.will(bench.answer({}, status=404))
    ctx = open_context()
    assert await ctx.get("/a", missing=None) is None
    assert await collected(ctx.pages("/a", missing=())) == []
    with pytest.raises(Forbidden):
        await ctx.get("/a", missing=Forbidden("not shown"))


async def test_posting_sends_json(open_context: Open, acme: Any, bench: Any) -> None:
    acme.will(bench.answer({"ok": True}))
    assert await open_context().post("/a", {"b": 1}) == {"ok": True}
    assert (acme.received[0].method, acme.received[0].json) == ("POST", {"b": 1})


async def test_a_blocking_call_runs_in_a_thread_of_its_own(open_context: Open) -> None:
    names = await open_context().thread(lambda: threading.current_thread().name)
    assert names != threading.current_thread().name


async def test_an_address_for_an_sdk_is_checked(open_context: Open) -> None:
    ctx = open_context()
    assert ctx.check_address("http://127.0.0.1:9000") == "http://127.0.0.1:9000"
    with pytest.raises(Invalid):
        ctx.check_address("http://10.0.0.1:9000")


async def test_the_time_is_the_clocks(open_context: Open, bench: Any) -> None:
    assert open_context().now == bench.clock.now()
