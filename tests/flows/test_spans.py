"""The spans of a run: what its time went to, page by page, as the provider made it wait."""

from __future__ import annotations

from tests.flows.bench import Bench

from tieline.flows.runs import read_spans
from tieline.store.run_spans import Span

SECOND_PAGE = r"GET /v1/people\?.*after="


async def spans_of(bench: Bench, operation: str = "people") -> list[Span]:
    run = (await bench.runs(operation))[0]
    return (await read_spans(bench.parts, bench.org, run.id))[1]


async def test_each_page_of_a_run_has_its_span_in_order_and_a_second_run_its_own(synced: Bench) -> None:
    first = (await synced.runs("people"))[0]
    run = (await synced.sync("people"))["people"]
    spans = await spans_of(synced)
    assert sum(one.pages for one in spans) == run.pages > 0
    assert [one.begun_at for one in spans] == sorted(one.begun_at for one in spans)
    for one in spans:
        assert one.begun_at <= one.ended_at
        assert one.limited_ms + one.retried_ms <= one.read_ms
    assert (await read_spans(synced.parts, synced.org, first.id))[1] != spans


async def test_a_short_wait_is_in_the_span_of_its_page(synced: Bench) -> None:
    synced.sandbox.spoil(SECOND_PAGE, status=429, headers={"Retry-After": "1"})
    run = (await synced.sync("people"))["people"]
    spans = await spans_of(synced)
    assert (run.status, [one.cause for one in spans if one.cause]) == ("succeeded", [])
    assert 900 <= sum(one.limited_ms for one in spans) <= sum(one.read_ms for one in spans)


async def test_what_is_tried_again_after_a_failure_waits_for_that(synced: Bench) -> None:
    synced.sandbox.spoil(SECOND_PAGE, status=503, headers={"Retry-After": "1"})
    await synced.sync("people")
    assert sum(one.retried_ms for one in await spans_of(synced)) >= 900


async def test_a_long_wait_is_a_span_of_its_own_until_the_next_page(synced: Bench) -> None:
    synced.sandbox.spoil(SECOND_PAGE, status=429, headers={"Retry-After": "7"})
    await synced.request("people")
    await synced.run_due()
    waiting = await spans_of(synced)
    assert [one.cause for one in waiting] == ["", "rate-limited"]
    await synced.drain()
    spans = await spans_of(synced)
    wait = next(place for place, one in enumerate(spans) if one.cause)
    assert (wait, spans[wait].page) == (1, 1)
    assert (spans[wait].ended_at - spans[wait].begun_at).total_seconds() >= 5
    assert spans[wait].ended_at == spans[wait + 1].begun_at
