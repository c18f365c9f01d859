"""A PostgreSQL of the engine's tests' own, because some of them crash it, and in it nothing but what a test makes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.engine.steps import Place, own_server

from tieline.store.db import Db


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    with own_server() as made:
        yield made


@pytest.fixture
async def db(place: Place) -> AsyncIterator[Db]:
    tables = "toy_runs, toy_pages, toy_refused, toy_calls, toy_deaths, toy_triggers"
    await place.execute(f"TRUNCATE organizations, pgqueuer, pgqueuer_log, {tables} CASCADE")
    opened = Db(place.url)
    yield opened
    await opened.close()
