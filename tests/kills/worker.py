"""One act of a life in a process of its own, which dies where it is told to.

`python -m tests.kills.worker` imports everything once and forks a process for each order that it is given, line by line: such a
process starts in a moment, and is killed as any other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.kills import mutants
from tests.kills.world import PAGE, provider

from tieline import faults
from tieline.catalog.compile import compile_catalog
from tieline.engine import Engine, EngineLimits
from tieline.flows.connect import establish
from tieline.flows.disconnect import disconnect, retry_revocations
from tieline.flows.parts import Parts
from tieline.flows.reach import parse_options
from tieline.flows.rewrap import rewrap
from tieline.flows.sync import request_sync, run_sync
from tieline.ids import from_uuid
from tieline.sdk import Grant, OAuthApp
from tieline.sdk.addresses import AddressPolicy
from tieline.stages import collect
from tieline.store.db import Db
from tieline.store.schedules import Schedule, list_schedules
from tieline.vault import Vault, load_or_create

SECOND = timedelta(seconds=1)
LIMITS = EngineLimits(
    org_cap=1,  # one run at a time, so that runs follow one another as if undisturbed
    heartbeat=0.5 * SECOND,
    tick=0.2 * SECOND,
    reconcile=0.5 * SECOND,
    stale_after=timedelta(hours=1),  # what a killed process held is given to the next by the queue, long before
    grace=10 * SECOND,  # for one that wakes late: whatever it is about to write, it tries to
)
CATALOG = compile_catalog([provider()], ())


@dataclass(frozen=True)
class Order:
    """What a process is to do, where, and when in the life's own time.

    `about` is the account of `connect` and `disconnect`, the operation of `ask`, if not all. `asked` is how often a run has been
    asked for so far. `fault` and `log` are as in TIELINE_FAULT and TIELINE_FAULT_LOG. A `batch` is how many records
    are stored together at most: of one page, so that no two are, or of a part of one.
    """

    act: str
    about: str
    now: str
    url: str
    org: str
    keys: str
    world: str
    asked: int = 0
    fault: str = ""
    log: str = ""
    mutant: str = ""
    batch: int = PAGE + 1

    def write(self) -> str:
        return json.dumps(asdict(self))


class StoryClock:
    """A clock that begins where a life's story stands, goes on as all clocks do, and is moved over waits."""

    def __init__(self, now: datetime) -> None:
        self._zero = now - timedelta(seconds=time.monotonic())

    def now(self) -> datetime:
        return self._zero + timedelta(seconds=time.monotonic())

    def move_to(self, moment: datetime) -> None:
        self._zero += max(moment - self.now(), timedelta()) + timedelta(milliseconds=1)


def parts_at(order: Order, db: Db, clock: Any) -> Parts:
    """The parts of a Tieline that knows the invented provider and no other."""
    ring = load_or_create(Path(order.keys), may_create=False)
    app = OAuthApp(client_id="kills", client_secret="not-a-secret")  # type: ignore[arg-type]
    about = {"apps": {"works": app}, "hosts": {"works": {"world": order.world}}}
    return Parts(db, CATALOG, Vault(ring), clock, AddressPolicy.parse("127.0.0.1"), ring, **about)


# The acts. Whoever got no answer looks whether it was done, and if not does it again


async def connect(parts: Parts, order: Order) -> None:
    """What the callback does with a grant, unless it is done."""
    if await _connection(parts, order, order.about):
        return
    declared = parts.catalog.provider("works")
    ends = parts.clock.now() + timedelta(minutes=1)
    given = {"access_token": f"access.{order.about}.first", "refresh_token": f"refresh.{order.about}"}
    grant = Grant(**given, expires_at=ends, obtained_at=parts.clock.now())
    await establish(parts, order.org, declared, declared.mode(), parse_options(declared, {}), grant)


async def ask(parts: Parts, order: Order) -> None:
    """Ask for a run, unless that was noted."""
    told = await _query(parts, order, "SELECT count(*) AS n FROM audit_entries WHERE action = 'sync.requested'")
    if told[0]["n"] == order.asked:
        (connection,) = await _connection(parts, order, "ann")
        await request_sync(parts, order.org, connection, operation=order.about or None)


async def work(parts: Parts, order: Order) -> None:
    """What a worker does, until all that is due has ended; nobody waits for a time that a clock can be moved to."""
    until, begun = asyncio.Event(), parts.clock.now()
    (connection,) = await _connection(parts, order, "ann")

    async def sync(hold: Any) -> None:
        await run_sync(parts, hold)

    engine = asyncio.create_task(Engine(parts.db, {"sync": sync}, clock=parts.clock, limits=LIMITS).run(until=until))
    while waiting := [one for one in await _schedules(parts, order, connection) if _is_unfinished(one, begun)]:
        if not any(one.held_by for one in waiting):
            parts.clock.move_to(min(one.next_run_at for one in waiting))
        await asyncio.sleep(0.1)
    until.set()
    await engine


async def bring_under_new_key(parts: Parts, order: Order) -> None:
    """Re-wrap what is sealed, one secret at a time."""
    await rewrap(parts, batch=1)


async def leave(parts: Parts, order: Order) -> None:
    """Disconnect, unless it is done."""
    for connection in await _connection(parts, order, order.about):
        await disconnect(parts, order.org, connection)


async def revoke(parts: Parts, order: Order) -> None:
    """What every process does now and then: revoke what could not be."""
    await retry_revocations(parts)


ACTS = {
    "connect": connect,
    "ask": ask,
    "work": work,
    "rewrap": bring_under_new_key,
    "disconnect": leave,
    "revoke": revoke,
}


def _is_unfinished(one: Schedule, begun: datetime) -> bool:
    """Whether it is held, waits for another try, was asked for, or was called by the calendar when this process began."""
    due = one.next_run_at is not None and one.next_run_at <= begun
    return one.enabled and bool(one.held_by or one.run_id or one.attempt or one.generation > one.ran_generation or due)


async def _schedules(parts: Parts, order: Order, connection: str) -> list[Schedule]:
    async with parts.db.work(order.org) as transaction:
        return await list_schedules(transaction, connection)


async def _connection(parts: Parts, order: Order, account: str) -> list[str]:
    """The id of the connection to an account, if there is one."""
    alive = f"SELECT id FROM connections WHERE disconnected_at IS NULL AND account_id = '{account}'"
    return [from_uuid("conn", row["id"]) for row in await _query(parts, order, alive)]


async def _query(parts: Parts, order: Order, statement: str) -> list[Any]:
    async with parts.db.work(order.org) as transaction:
        return list(await (await transaction.driver()).fetch(statement))


# The process that forks


async def _do(order: Order) -> None:
    db = Db(order.url, pool_size=4)
    try:
        await ACTS[order.act](parts_at(order, db, StoryClock(datetime.fromisoformat(order.now))), order)
    finally:
        await db.close()


def _be(order: Order) -> None:
    """What a forked process does; it never returns."""
    os.environ |= {"TIELINE_FAULT": order.fault, "TIELINE_FAULT_LOG": order.log}
    faults.arm()
    collect.MAX_RECORDS = order.batch
    logging.disable()  # what goes wrong here is meant to
    mutants.become(order.mutant)
    try:
        asyncio.run(_do(order))
    except BaseException:  # noqa: BLE001  it must not go on as the process that it was forked from
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        os._exit(1)
    os._exit(0)


def _wait(pid: int) -> dict[str, Any]:
    """How a process ended or froze, and the seconds of processor time that it took."""
    _, status, used = os.wait4(pid, os.WUNTRACED)
    code = None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
    return {"pid": pid, "code": code, "cpu": used.ru_utime + used.ru_stime}


def main() -> None:
    """Carry out what is written on standard input: an order, or the number of a frozen process that is to wake."""
    for line in sys.stdin:
        said = json.loads(line)
        if isinstance(said, int):
            os.kill(said, signal.SIGCONT)
            pid = said
        elif (pid := os.fork()) == 0:
            _be(Order(**said))
        print(json.dumps(_wait(pid)), flush=True)  # noqa: T201
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu": used.ru_utime + used.ru_stime}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
