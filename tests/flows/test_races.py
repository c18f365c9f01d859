"""What happens side by side to one credential: nobody waits for ever, and no answer of a provider is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from tests.emulators.oidc import Oidc
from tests.flows.grants import sign_in
from tests.flows.test_lifecycle import Story, story  # noqa: F401  a fixture
from tests.flows.test_tokens import Granted, granted, refreshes  # noqa: F401  a fixture

from tieline.errors import Conflict
from tieline.flows import connect as flow
from tieline.flows.connect import replace_credential, roll_back
from tieline.flows.credentials import open_credential, open_row
from tieline.flows.disconnect import disconnect
from tieline.flows.expiry import mind_expiry
from tieline.flows.reach import parse_options, reach

BESIDE: dict[str, Callable[[Granted], Awaitable[Any]]] = {
    "a test call": lambda one: flow.test_connection(one.parts, one.org, one.connection.id),
    "a look at what ends": lambda one: mind_expiry(one.parts),
    "another use": lambda one: one.use(),
}


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """The database by the role that owns it."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("beside", BESIDE)
async def test_a_slow_refresh_gets_on_with_whatever_is_done_beside_it(
    granted: Granted,  # noqa: F811
    oidc: Oidc,
    beside: str,
) -> None:
    await granted.query("UPDATE credentials SET expires_at = now() + interval '3 days'")
    oidc.fail({"path": "/token", "times": 1, "delay_ms": 700})
    refreshing = asyncio.create_task(granted.use())
    await asyncio.sleep(0.3)
    await BESIDE[beside](granted)
    assert await refreshing == "anna"
    assert refreshes(oidc) == 1
    assert await granted.counters() == {"version": 1, "serial": 1}
    assert await granted.use() == "anna"
    assert (await granted.standing()).status == "active"


async def test_a_disconnection_during_a_refresh_revokes_what_was_refreshed(granted: Granted, oidc: Oidc) -> None:  # noqa: F811
    oidc.fail({"path": "/token", "times": 1, "delay_ms": 700})
    refreshing = asyncio.create_task(granted.use())
    await asyncio.sleep(0.3)
    gone = await disconnect(granted.parts, granted.org, granted.connection.id)
    await asyncio.gather(refreshing, return_exceptions=True)
    assert (gone.revoked, gone.to_revoke) == (1, 0)
    (told,) = await granted.query(
        "SELECT details->>'serial' AS serial FROM audit_entries WHERE action = 'credential.revoked'"
    )
    assert told["serial"] == "1"
    assert await granted.query("SELECT 1 FROM credentials") == []


async def test_an_answer_that_cannot_be_stored_at_once_is_stored_as_soon_as_it_can(
    granted: Granted,  # noqa: F811
    oidc: Oidc,
    owner: asyncpg.Connection[Any],
) -> None:
    oidc.fail({"path": "/token", "times": 1, "delay_ms": 700})
    refreshing = asyncio.create_task(granted.use())
    await asyncio.sleep(0.3)
    await owner.execute("REVOKE INSERT ON audit_entries FROM tieline_app")
    try:
        await asyncio.sleep(1.2)
        assert not refreshing.done()
    finally:
        await owner.execute("GRANT INSERT ON audit_entries TO tieline_app")
    assert await refreshing == "anna"
    assert refreshes(oidc) == 1
    assert await granted.counters() == {"version": 1, "serial": 1}


async def test_an_answer_that_is_stored_late_takes_the_place_of_no_newer_credential(
    granted: Granted,  # noqa: F811
    oidc: Oidc,
    owner: asyncpg.Connection[Any],
) -> None:
    parts, provider = granted.parts, granted.parts.catalog.provider("certified")
    async with parts.db.work(granted.org) as work:
        held = await open_credential(work, parts, provider, granted.connection)
    about = {"connection": granted.connection}
    async with reach(parts, granted.org, provider, parse_options(provider, {}), held, **about) as opened:
        oidc.fail({"path": "/token", "times": 1, "delay_ms": 700})
        refreshing = asyncio.create_task(opened.signer.fresh())
        await asyncio.sleep(0.3)
        await owner.execute("REVOKE INSERT ON audit_entries FROM tieline_app")
        try:
            await asyncio.sleep(2.3)  # between two tries to store
        finally:
            await owner.execute("GRANT INSERT ON audit_entries TO tieline_app")
        await sign_in(parts, granted.org, oidc)
        await refreshing
        used = opened.signer.held
    assert used.row
    stored = await open_row(parts, used.auth, used.row)
    assert used.credential == stored.credential, "it goes on with what its row holds"
    assert await granted.query("SELECT version, serial FROM credentials WHERE retired_at IS NULL") == [
        {"version": 2, "serial": 0}
    ]
    assert refreshes(oidc) == 1


async def test_a_roll_back_that_a_rotation_overtakes_changes_nothing(story: Story) -> None:  # noqa: F811
    about = (story.parts, story.org, story.connection.id)
    await story.rotate()
    story.world.gate = asyncio.Event()
    rolling = asyncio.create_task(roll_back(*about))
    await asyncio.sleep(0.2)
    gate, story.world.gate = story.world.gate, None
    await replace_credential(*about, {"token": "a-third-token"})
    gate.set()
    with pytest.raises(Conflict, match="meanwhile"):
        await rolling
    assert len(await story.query("SELECT 1 FROM credentials WHERE retired_at IS NULL")) == 1
    assert (await flow.test_connection(*about)).status == "active"
