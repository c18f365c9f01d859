"""The life of a connection as a table: what every event makes of a connection in every state, whoever brings it about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from tests.flows.bench import Bench, MovableClock, parts_over

from tieline.catalog.compile import compile_catalog
from tieline.errors import (
    Conflict,
    Forbidden,
    Suspended,
    TielineError,
    Unauthorised,
    Unavailable,
)
from tieline.flows import connect as flow
from tieline.flows.connect import Attempt, connect, replace_credential, roll_back
from tieline.flows.disconnect import disconnect
from tieline.flows.expiry import mind_expiry
from tieline.flows.pauses import pause, resume
from tieline.flows.states import TRANSITIONS
from tieline.flows.upkeep import upkeep
from tieline.sdk import Account, Context, Identified, PersonalToken, Provider
from tieline.store.db import Db
from tieline.store.organizations import Organization
from tieline.store.schedules import Hold
from tieline.vault import LocalKeyRing

STATES = ("active", "degraded", "error", "expired", "needs_reconnect", "suspended", "paused", "disconnected")

#                    active           degraded         error            expired          needs_reconnect  suspended        paused           disconnected
TABLE = """
pause                paused           paused           paused           paused           paused           paused           paused           refused
resume               refused          refused          refused          refused          refused          refused          active           refused
test_good            active           active           active           expired          active           active           paused           refused
test_lacks_scope     degraded         degraded         degraded         expired          degraded         degraded         paused           refused
test_refused         needs_reconnect  needs_reconnect  needs_reconnect  needs_reconnect  needs_reconnect  needs_reconnect  paused           refused
test_suspended       suspended        suspended        suspended        suspended        suspended        suspended        paused           refused
test_away            active           degraded         error            expired          needs_reconnect  suspended        paused           refused
rotate               active           active           active           active           active           active           paused           refused
rotate_lacks_scope   degraded         degraded         degraded         degraded         degraded         degraded         paused           refused
rotate_refused       active           degraded         error            expired          needs_reconnect  suspended        paused           refused
rotate_other_account active           degraded         error            expired          needs_reconnect  suspended        paused           refused
disconnect           disconnected     disconnected     disconnected     disconnected     disconnected     disconnected     disconnected     refused
run_good             active           degraded         active           cannot_run       cannot_run       cannot_run       cannot_run       cannot_run
run_refused          needs_reconnect  needs_reconnect  needs_reconnect  cannot_run       cannot_run       cannot_run       cannot_run       cannot_run
run_lacks_scope      degraded         degraded         degraded         cannot_run       cannot_run       cannot_run       cannot_run       cannot_run
run_suspended        suspended        suspended        suspended        cannot_run       cannot_run       cannot_run       cannot_run       cannot_run
run_away             error            error            error            cannot_run       cannot_run       cannot_run       cannot_run       cannot_run
date_passes          expired          expired          expired          expired          expired          expired          paused           disconnected
"""  # fmt: skip


def rows() -> list[tuple[str, str, str]]:
    """Each event in each state, and what comes of it."""
    return [
        (event, state, after)
        for event, *afters in (line.split() for line in TABLE.strip().splitlines())
        for state, after in zip(STATES, afters, strict=True)
    ]


@dataclass
class World:
    """What the provider does next."""

    account: Identified = field(default_factory=lambda: Identified("acc_1", "Larkfield", frozenset({"read"})))
    test: TielineError | None = None
    run: TielineError | None = None
    gate: asyncio.Event | None = None


def provider_of(world: World) -> Provider[Any]:
    """A provider whose operation does what the world says."""

    async def identify(_ctx: Context[Any]) -> Identified:
        if world.gate:
            await world.gate.wait()
        if world.test:
            raise world.test
        return world.account

    made: Provider[Any] = Provider(
        slug="story",
        name="Story",
        category="other",
        base_url="https://story.example.com",
        auth=PersonalToken(help="Story → Tokens"),
        identity=identify,
    )

    @made.sync(
        Account.map(external_id="payload.id", display_name="payload.name"),
        every="1h",
        needs=["read"],
    )
    async def people(_ctx: Context[Any]) -> AsyncIterator[Any]:
        """People."""
        if world.run:
            raise world.run
        yield {"id": "1", "name": "Ada"}

    return made


@dataclass
class Story(Bench):
    """A connection to the story provider."""

    world: World = field(default_factory=World)

    async def admit(self) -> list[Hold]:
        """Holds on what is due of this connection; the database is shared with other tests."""
        return [hold for hold in await super().admit() if hold.org_id == self.org]

    async def run_people(self, error: TielineError | None = None) -> None:
        """Ask for a run and carry it out, however often it is tried."""
        self.world.run = error
        try:
            await self.request("people")
            await self.drain()
        finally:
            self.world.run = None

    async def test(self, error: TielineError | None = None, *, lacking: bool = False) -> None:
        """Test the connection; the provider answers so."""
        self.world.test = error
        if lacking:
            self.world.account = replace(self.world.account, scopes=frozenset())
        try:
            await flow.test_connection(self.parts, self.org, self.connection.id)
        finally:
            self.world.test, self.world.account = None, World().account

    async def rotate(self, error: TielineError | None = None, *, account: str = "acc_1", lacking: bool = False) -> None:
        """Give a new credential; the provider says whose it is and what it may do, or refuses it."""
        scopes = frozenset() if lacking else World().account.scopes
        self.world.test, self.world.account = error, replace(self.world.account, id=account, scopes=scopes)
        try:
            await replace_credential(self.parts, self.org, self.connection.id, {"token": "a-new-token-for-tests"})
        finally:
            self.world.test, self.world.account = None, World().account

    async def pass_date(self) -> None:
        """Let the date come on which the credential ends."""
        await self.query_as_owner("UPDATE credentials SET expires_at = now() - interval '1 minute'")
        await mind_expiry(self.parts)

    async def query_as_owner(self, statement: str) -> None:
        async with self.parts.db.work(self.org) as work:
            await (await work.driver()).execute(statement)


@pytest.fixture
async def story(db: Db, organization: Organization, ring: LocalKeyRing) -> Story:
    """An active connection to the story provider."""
    world = World()
    clock = MovableClock()
    parts = replace(parts_over(db, ring, clock), catalog=compile_catalog([provider_of(world)], ()))
    made = await connect(parts, organization.id, Attempt("story", credential={"token": "a-token-for-tests"}))
    return Story(parts, clock, None, made, world=world)  # type: ignore[arg-type]  # this provider has no server


LACKS = Forbidden("Story does not let this token read people", scope="read")
AWAY = Unavailable("Story is away")
REFUSED = Unauthorised("Story refuses the token")
SUSPENDED = Suspended("Story has suspended the installation")

REACH: dict[str, Callable[[Story], Awaitable[Any]]] = {
    "active": lambda story: story.test(),
    "degraded": lambda story: story.test(lacking=True),
    "error": lambda story: story.run_people(AWAY),
    "expired": lambda story: story.pass_date(),
    "needs_reconnect": lambda story: story.run_people(REFUSED),
    "suspended": lambda story: story.run_people(SUSPENDED),
    "paused": lambda story: pause(story.parts, story.org, story.connection.id),
    "disconnected": lambda story: disconnect(story.parts, story.org, story.connection.id),
}
EVENTS: dict[str, Callable[[Story], Awaitable[Any]]] = {
    "pause": lambda story: pause(story.parts, story.org, story.connection.id),
    "resume": lambda story: resume(story.parts, story.org, story.connection.id),
    "test_good": lambda story: story.test(),
    "test_lacks_scope": lambda story: story.test(lacking=True),
    "test_refused": lambda story: story.test(REFUSED),
    "test_suspended": lambda story: story.test(SUSPENDED),
    "test_away": lambda story: story.test(AWAY),
    "rotate": lambda story: story.rotate(),
    "rotate_lacks_scope": lambda story: story.rotate(lacking=True),
    "rotate_refused": lambda story: story.rotate(REFUSED),
    "rotate_other_account": lambda story: story.rotate(account="acc_2"),
    "disconnect": lambda story: disconnect(story.parts, story.org, story.connection.id),
    "run_good": lambda story: story.run_people(),
    "run_refused": lambda story: story.run_people(REFUSED),
    "run_lacks_scope": lambda story: story.run_people(LACKS),
    "run_suspended": lambda story: story.run_people(SUSPENDED),
    "run_away": lambda story: story.run_people(AWAY),
    "date_passes": lambda story: story.pass_date(),
}


@pytest.mark.parametrize(("event", "state", "after"), rows())
async def test_every_event_in_every_state_leads_where_the_table_says(
    story: Story, event: str, state: str, after: str
) -> None:
    await REACH[state](story)
    assert (await story.standing()).status == state
    refused = after in {"refused", "cannot_run"}
    failed = await failure_of(EVENTS[event](story))
    if refused:
        assert isinstance(failed, Conflict)
    elif event.startswith(("test_", "rotate_")) and "lacks" not in event and event != "test_good":
        assert isinstance(failed, Unauthorised | Unavailable | Suspended | Conflict)
    else:
        assert failed is None
    assert (await story.standing()).status == (state if refused else after)


async def failure_of(event: Awaitable[Any]) -> TielineError | None:
    """The error with which something that a person asked for was answered."""
    try:
        await event
    except TielineError as error:
        return error
    return None


def test_every_transition_that_is_allowed_is_taken_by_some_event() -> None:
    taken = {(state, after) for _, state, after in rows() if after in STATES and after != state}
    taken |= {("paused", before) for before in STATES if before not in {"paused", "disconnected", "error"}}
    assert {(one, to) for one, tos in TRANSITIONS.items() for to in tos} == taken


@pytest.mark.parametrize("before", ["active", "degraded", "expired", "needs_reconnect", "suspended"])
async def test_a_pause_forgets_nothing_of_what_was_before_it(story: Story, before: str) -> None:
    await REACH[before](story)
    await pause(story.parts, story.org, story.connection.id)
    await resume(story.parts, story.org, story.connection.id)
    assert (await story.standing()).status == before


async def test_a_credential_that_ends_during_a_pause_is_expired_after_it(story: Story) -> None:
    await pause(story.parts, story.org, story.connection.id)
    await story.pass_date()
    await resume(story.parts, story.org, story.connection.id)
    assert (await story.standing()).status == "expired"


async def test_people_are_warned_14_7_and_1_days_before_the_end_and_once_each(story: Story) -> None:
    given = {"token": "a-token-that-ends"}
    ends = story.clock.now() + timedelta(days=30)
    await replace_credential(story.parts, story.org, story.connection.id, given, expires_at=ends)
    told: list[int] = []
    for hours in range(0, 30 * 24, 24):
        story.clock.move_to(ends - timedelta(days=30) + timedelta(hours=hours))
        await mind_expiry(story.parts)
        told = await warnings(story)
    assert told == [14, 7, 1]
    assert (await story.standing()).status == "active"
    story.clock.move_to(ends)
    await upkeep(story.parts)
    assert (await story.standing()).status == "expired"


async def test_a_rotation_can_be_taken_back_until_the_former_credential_is_destroyed(story: Story) -> None:
    await story.rotate()
    newest, former = await fingerprints(story)
    assert await in_force(story) == newest != former
    await roll_back(story.parts, story.org, story.connection.id)
    assert await in_force(story) == former
    assert (await story.standing()).status == "active"
    await story.rotate()
    story.clock.move_to(story.clock.now() + timedelta(days=8))
    await upkeep(story.parts)
    with pytest.raises(Conflict, match="no former credential"):
        await roll_back(story.parts, story.org, story.connection.id)


async def fingerprints(story: Story) -> list[str]:
    """Those of all versions that are kept, the newest first."""
    return [
        row["fingerprint"] for row in await story.query("SELECT fingerprint FROM credentials ORDER BY version DESC")
    ]


async def in_force(story: Story) -> str:
    found = await story.query("SELECT fingerprint FROM credentials WHERE retired_at IS NULL")
    assert len(found) == 1
    return str(found[0]["fingerprint"])


async def warnings(story: Story) -> list[int]:
    """The numbers of days of which people were warned, in order."""
    found = await story.query("SELECT data->>'days' AS days FROM outbox WHERE type = 'connection.expiring' ORDER BY id")
    return [int(row["days"]) for row in found]


def test_the_table_holds_every_state() -> None:
    assert set(STATES) == set(TRANSITIONS)
    assert set(EVENTS) == {event for event, _, _ in rows()}
