"""The life of a grant: refreshed once whoever asks, kept through outages, dead when it is dead, revoked at the end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from tests.emulators.oidc import Oidc
from tests.flows.bench import Bench, MovableClock
from tests.flows.grants import Place, parts_at, sign_in, start_user, use

from tieline.errors import Unauthorised, Unavailable
from tieline.flows.disconnect import disconnect
from tieline.flows.upkeep import upkeep
from tieline.store.db import Db
from tieline.store.organizations import create_organization
from tieline.store.schedules import Hold
from tieline.vault import LocalKeyRing, load_or_create


@dataclass
class Granted(Bench):
    """A connection by OAuth to the certified server."""

    place: Place | None = None
    folder: Path | None = None

    async def admit(self) -> list[Hold]:
        return [hold for hold in await super().admit() if hold.org_id == self.org]

    async def use(self) -> str:
        return await use(self.parts, self.connection)

    def start(self, name: str, *, tasks: int = 1, fault: str = "", wait: bool = False) -> tuple[object, Path]:
        """A process that uses the connection; it waits for its file if asked."""
        assert self.folder
        assert self.place
        go = self.folder / f"go-{name}"
        if not wait:
            go.touch()
        process = start_user(self.place, self.org, self.connection.id, tasks=tasks, go=str(go), fault=fault)
        return process, go

    async def counters(self) -> dict[str, int]:
        found = await self.query("SELECT version, serial FROM credentials")
        return dict(found[0])


def refreshes(oidc: Oidc) -> int:
    """How often the certified server was asked to refresh."""
    return sum(one["grant_type"] != "authorization_code" for one in oidc.requests())


@pytest.fixture
async def granted(database_url: str, oidc: Oidc, tmp_path: Path) -> AsyncIterator[Granted]:
    """Anna has signed in; her token has ended, those after it last an hour."""
    ring: LocalKeyRing = load_or_create(tmp_path / "keys.json", may_create=True)
    db, clock = Db(database_url, pool_size=6), MovableClock()
    place = Place(database_url, str(tmp_path / "keys.json"), oidc.issuer, oidc.apps["basic"])
    parts = parts_at(place, db, clock, ring)
    async with db.system() as work:
        org = await create_organization(
            work, slug=f"org-{tmp_path.name}"[:60].lower().replace("_", "-"), name="Test", now=clock.now()
        )
    oidc.let_last(AccessToken=1)
    made = await sign_in(parts, org.id, oidc)
    oidc.let_last(AccessToken=3600)
    await asyncio.sleep(1)
    yield Granted(parts, clock, None, made, place=place, folder=tmp_path)  # type: ignore[arg-type]  # no sandbox here
    await db.close()


async def ended(process: object) -> int:
    """The exit code of a process."""
    await asyncio.to_thread(process.join, 60)  # type: ignore[attr-defined]
    code = process.exitcode  # type: ignore[attr-defined]
    assert code is not None
    return int(code)


@pytest.mark.timeout(180)
async def test_two_hundred_tasks_of_four_processes_refresh_an_expired_token_exactly_once(
    granted: Granted, oidc: Oidc
) -> None:
    started = [granted.start("all", tasks=50, wait=True) for _ in range(4)]
    await asyncio.sleep(3)  # all have their connection by then; if not, they only come later
    started[0][1].touch()
    assert [await ended(process) for process, _ in started] == [0, 0, 0, 0]
    assert refreshes(oidc) == 1
    assert await granted.counters() == {"version": 1, "serial": 1}


async def test_a_token_is_refreshed_before_it_ends(granted: Granted, oidc: Oidc) -> None:
    await granted.use()
    granted.clock.move_to(granted.clock.now() + timedelta(minutes=40))
    await granted.use()
    assert refreshes(oidc) == 1
    granted.clock.move_to(granted.clock.now() + timedelta(minutes=12))
    await granted.use()
    assert refreshes(oidc) == 2


async def test_a_process_killed_before_it_asked_costs_nothing(granted: Granted, oidc: Oidc) -> None:
    killed, _ = granted.start("killed", fault="refresh.begun:1")
    assert await ended(killed) == -signal.SIGKILL
    await granted.drain()
    assert (await granted.standing()).status == "active"
    assert refreshes(oidc) == 1


async def test_a_process_killed_between_answer_and_commit_ends_in_a_reconnect_that_says_why(
    granted: Granted, oidc: Oidc
) -> None:
    killed, _ = granted.start("killed", fault="refresh.answered:1")
    assert await ended(killed) == -signal.SIGKILL
    assert refreshes(oidc) == 1
    await granted.drain()
    standing = await granted.standing()
    assert standing.status == "needs_reconnect"
    assert "cut short" in (standing.status_message or "")
    assert refreshes(oidc) == 2
    granted.clock.move_to(granted.clock.now() + timedelta(days=2))
    assert await granted.run_due() == 0
    assert refreshes(oidc) == 2


async def test_an_outage_while_the_token_is_good_is_not_noticed_and_is_asked_about_once(
    granted: Granted, oidc: Oidc
) -> None:
    await granted.use()
    granted.clock.move_to(granted.clock.now() + timedelta(minutes=50))
    oidc.fail({"path": "/token", "times": 100, "status": 503})
    assert {await granted.use() for _ in range(5)} == {"anna"}
    assert refreshes(oidc) == 2
    oidc.fail()
    granted.clock.move_to(granted.clock.now() + timedelta(seconds=31))
    await granted.use()
    assert refreshes(oidc) == 3


async def test_an_outage_when_the_token_has_ended_is_an_outage_and_no_dead_grant(granted: Granted, oidc: Oidc) -> None:
    oidc.fail({"path": "/token", "times": 100, "status": 503})
    with pytest.raises(Unavailable):
        await granted.use()
    oidc.fail()
    await granted.drain()
    assert (await granted.standing()).status == "active"


async def test_a_token_that_is_refused_before_its_end_is_refreshed_once(granted: Granted, oidc: Oidc) -> None:
    await granted.use()
    oidc.fail({"path": "/me", "times": 1, "status": 401})
    await granted.use()
    assert refreshes(oidc) == 2
    oidc.fail({"path": "/me", "times": 100, "status": 401})
    with pytest.raises(Unauthorised):
        await granted.use()
    assert refreshes(oidc) == 3


async def test_disconnecting_revokes_the_grant_at_the_provider(granted: Granted, oidc: Oidc) -> None:
    gone = await disconnect(granted.parts, granted.org, granted.connection.id)
    assert (gone.revoked, gone.to_revoke, gone.remains) == (1, 0, "Remove Tieline from your list of apps.")
    assert oidc.requests("/token/revocation")
    assert await granted.query("SELECT 1 FROM credentials UNION ALL SELECT 1 FROM revocations") == []


async def test_a_revocation_that_fails_is_tried_again_and_then_given_up_after_a_day(
    granted: Granted, oidc: Oidc
) -> None:
    oidc.fail({"path": "/token/revocation", "times": 100, "status": 503})
    gone = await disconnect(granted.parts, granted.org, granted.connection.id)
    assert (gone.revoked, gone.to_revoke) == (0, 1)
    assert gone.connection.status == "disconnected"
    tried = len(oidc.requests("/token/revocation"))
    await upkeep(granted.parts)
    assert len(oidc.requests("/token/revocation")) == tried
    granted.clock.move_to(granted.clock.now() + timedelta(minutes=2))
    await upkeep(granted.parts)
    assert len(oidc.requests("/token/revocation")) > tried
    granted.clock.move_to(granted.clock.now() + timedelta(days=1, hours=2))
    await upkeep(granted.parts)
    assert await granted.query("SELECT 1 FROM revocations") == []


async def test_a_revocation_that_failed_once_succeeds_later(granted: Granted, oidc: Oidc) -> None:
    oidc.fail({"path": "/token/revocation", "times": 2, "status": 503})
    await disconnect(granted.parts, granted.org, granted.connection.id)
    oidc.fail()
    granted.clock.move_to(granted.clock.now() + timedelta(minutes=2))
    await upkeep(granted.parts)
    assert await granted.query("SELECT 1 FROM revocations") == []
    actions = [row["action"] for row in await granted.query("SELECT action FROM audit_entries ORDER BY seq")]
    assert actions[-1] == "credential.revoked"


async def test_signing_in_again_reconnects_the_same_account(granted: Granted, oidc: Oidc) -> None:
    again = await sign_in(granted.parts, granted.org, oidc)
    assert again.id == granted.connection.id
    other = await sign_in(granted.parts, granted.org, oidc, login="bert")
    assert other.id != granted.connection.id
