"""A sandbox for the session, as at its start for each test, and a bench connected to it in a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.flows.bench import Bench, Sandbox, connected, start_sandbox

from tieline.vault import LocalKeyRing


@pytest.fixture(scope="session")
def small_sandbox() -> Iterator[Sandbox]:
    with start_sandbox(150) as running:
        yield running


@pytest.fixture
def sandbox(small_sandbox: Sandbox) -> Sandbox:
    """A company of 150 people, as at its start."""
    small_sandbox.control("reset")
    return small_sandbox


@pytest.fixture
async def bench(fresh_database_url: str, ring: LocalKeyRing, sandbox: Sandbox) -> AsyncIterator[Bench]:
    """A connection to the sandbox whose first syncs are queued."""
    async with connected(fresh_database_url, ring, sandbox) as made:
        yield made
