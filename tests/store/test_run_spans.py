"""Spans as they are stored: a row a page, put together where there are many, and waits that last until what comes next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.store.test_queries import connection_of

from tieline.store.connections import save_connection
from tieline.store.db import Db
from tieline.store.organizations import Organization
from tieline.store.run_spans import MOST, Span, add_page, add_wait, fold_spans, list_spans
from tieline.store.runs import create_run

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
async def run_id(db: Db, organization: Organization) -> str:
    connection = connection_of(organization)
    async with db.work(organization.id) as work:
        await save_connection(work, connection)
        about = {"provider": "acme", "operation": "people", "kind": "sync", "cause": "manual"}
        return (await create_run(work, connection_id=connection.id, now=NOW, **about)).id


def page(number: int) -> Span:
    return Span(number, "", 1, NOW + number * SECOND, NOW + (number + 1) * SECOND, 800, 300, 100, 50)


@pytest.mark.parametrize("pages", [1, MOST, MOST + 1, 250])
async def test_however_many_pages_there_are_the_spans_are_few_and_add_up(
    db: Db, organization: Organization, run_id: str, pages: int
) -> None:
    async with db.work(organization.id) as work:
        for number in range(1, pages + 1):
            await add_page(work, run_id, page(number))
        live = await list_spans(work, run_id, pages=pages)
        await fold_spans(work, run_id, pages=pages)
        assert await list_spans(work, run_id, pages=pages) == live
        assert await list_spans(work, run_id, pages=pages + 1)
    assert len(live) <= MOST
    assert (live[0].begun_at, live[-1].ended_at) == (page(1).begun_at, page(pages).ended_at)
    assert sum(one.pages for one in live) == pages
    assert [one.page for one in live] == sorted({one.page for one in live})
    for name, each in (("read_ms", 800), ("limited_ms", 300), ("retried_ms", 100), ("load_ms", 50)):
        assert sum(getattr(one, name) for one in live) == each * pages


async def test_waits_in_a_row_are_one_and_last_until_the_next_page(
    db: Db, organization: Organization, run_id: str
) -> None:
    async with db.work(organization.id) as work:
        await add_page(work, run_id, page(1))
        for seconds in (3, 10):
            await add_wait(work, run_id, page=1, cause="rate-limited", now=NOW + seconds * SECOND)
        (_, waiting) = await list_spans(work, run_id, pages=1)
        assert (waiting.cause, waiting.begun_at, waiting.ended_at) == (
            "rate-limited",
            NOW + 3 * SECOND,
            NOW + 3 * SECOND,
        )
        await add_page(work, run_id, page(20))
        (_, waited, _) = await list_spans(work, run_id, pages=2)
        assert waited.ended_at == page(20).begun_at


async def test_a_run_without_spans_has_none(db: Db, organization: Organization, run_id: str) -> None:
    async with db.work(organization.id) as work:
        assert await list_spans(work, run_id, pages=0) == []
