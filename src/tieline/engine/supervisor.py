"""The engine of one process: worker, admission and upkeep, begun anew whenever the connection to the database is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pgqueuer import QueueManager
from pgqueuer.models import Job

from tieline import faults
from tieline.clock import Clock
from tieline.engine.limits import EngineLimits
from tieline.engine.queue import SETTINGS, count_queued, enqueue, open_queue, prune, role_of
from tieline.engine.registry import Registry
from tieline.engine.worker import Handler, Worker
from tieline.store.admission import admit, beat, cut_off_silent, release_stale
from tieline.store.db import Db
from tieline.store.schedules import DUE_CHANNEL
from tieline.telemetry import instruments

_FIRST_PAUSE = 0.2  # seconds between sessions; doubled up to the longest
_LONGEST_PAUSE = 5.0
_MOMENT = 0.02
_OWN_CONNECTIONS = 2  # as many again when it must be
_PRUNE_EVERY = timedelta(hours=1)
_UPKEEP_EVERY = timedelta(minutes=5)
_KEPT_FOR = timedelta(days=1)

logger = logging.getLogger(__name__)


class Engine:
    """Runs what is due of the kinds it has handlers for; any number of engines share one database.

    `upkeep` is done at the start and every few minutes beside. `role` is how the process was started, for the registry of workers.
    """

    def __init__(
        self,
        db: Db,
        handlers: Mapping[str, Handler],
        *,
        clock: Clock,
        limits: EngineLimits | None = None,
        upkeep: Callable[[], Awaitable[None]] | None = None,
        role: str = "worker",
    ) -> None:
        self._db = db
        self._own = db.apart(_OWN_CONNECTIONS)  # flows may use up their pool, and it must not look dead then
        self._upkeep = upkeep
        self._kinds = tuple(handlers)
        self._clock = clock
        self._limits = limits or EngineLimits()
        self._wake = asyncio.Event()
        self._worker = Worker(db, handlers, clock=clock, longest=self._limits.longest, on_free=self._wake.set)
        self._registry = Registry(self._own, self._limits, role=role, clock=clock)

    async def run(self, *, until: asyncio.Event | None = None) -> None:
        """Work until `until` is set; then claim nothing more, let running jobs end or hand them back, and return."""
        try:
            await self._work(until or asyncio.Event())
            await self._registry.leave()
        finally:
            await self._own.close()

    async def _work(self, until: asyncio.Event) -> None:
        """One session after another, until told to stop."""
        pause = _FIRST_PAUSE
        while not until.is_set():
            began = asyncio.get_running_loop().time()
            try:
                await self._session(until)
            except Exception as error:  # noqa: BLE001  whatever ended it, the rows are safe and the next session goes on
                instruments.ENGINE_RESTARTS.add()
                logger.warning("The engine begins anew", extra={"error": _names(error)})
                lasted = asyncio.get_running_loop().time() - began
                pause = _FIRST_PAUSE if lasted > _LONGEST_PAUSE else min(pause * 2, _LONGEST_PAUSE)
                await _wait(until, pause * random.uniform(0.5, 1))  # noqa: S311  spreads load, keeps no secret

    async def _session(self, until: asyncio.Event) -> None:
        """Work on one connection, until told to stop or until the connection is lost."""
        connection = await self._db.driver()
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(DUE_CHANNEL, lambda *_: self._wake.set())
            await self._worker.start()
            async with asyncio.TaskGroup() as group:
                manager = self._manager(connection)
                chores = [
                    group.create_task(_watch(lost)),
                    group.create_task(self._stop(until, manager)),
                    group.create_task(_repeat(self._admit, self._until_due)),
                    group.create_task(_repeat(self._beat, _sleep(self._limits.heartbeat / 3))),
                    group.create_task(_repeat(self._worker.settle, _sleep(self._limits.heartbeat / 6))),
                    group.create_task(_repeat(self._sign_on, _sleep(self._limits.heartbeat / 3))),
                    group.create_task(self._reconcile_later()),
                    group.create_task(_repeat(self._prune, _sleep(_PRUNE_EVERY))),
                ]
                if self._upkeep:
                    chores.append(group.create_task(_repeat(self._upkeep, _sleep(_UPKEEP_EVERY))))
                server = group.create_task(self._serve(manager))
                try:
                    await asyncio.wait({server})
                finally:
                    self._worker.cancel()  # PgQueuer would wait for jobs that nobody watches any more
                for chore in chores:
                    chore.cancel()
        finally:
            await _close(connection)

    def _manager(self, connection: Any) -> QueueManager:
        manager = QueueManager(open_queue(connection), channel=SETTINGS.channel)
        for role in sorted({role_of(kind) for kind in self._kinds}):

            @manager.entrypoint(role, accepts_context=False)
            async def run(job: Job) -> None:
                await self._worker.run(job)

        return manager

    async def _serve(self, manager: QueueManager) -> None:
        """Let PgQueuer fetch jobs, one at a time so that each end is written at once.

        It looks for the jobs of dead processes only when it looks for any, hence the short time between looks.
        """
        await manager.run(
            dequeue_timeout=self._limits.heartbeat / 2,
            batch_size=1,
            max_concurrent_tasks=self._limits.slots,
            heartbeat_timeout=self._limits.heartbeat,
            shutdown_on_listener_failure=True,
        )

    async def _stop(self, until: asyncio.Event, manager: QueueManager) -> None:
        await until.wait()
        manager.shutdown.set()
        await self._worker.stop(self._limits.grace)

    async def _admit(self) -> None:
        """Fill the free slots: give holds to rows that are due, and jobs to the holds, in one transaction."""
        if self._worker.busy >= self._limits.slots or self._worker.stopping:
            return
        async with self._own.system() as work:
            queued = await count_queued(work, self._kinds)  # first: a job that is no longer queued then is busy already
            holds = await admit(
                work,
                now=self._clock.now(),
                kinds=self._kinds,
                free_slots=self._limits.slots - self._worker.busy - queued,
                org_cap=self._limits.org_cap,
                provider_cap=self._limits.provider_cap,
            )
            if holds:
                faults.passing("admission.held")
                await enqueue(work, holds)
                faults.passing("admission.enqueued")
        if holds:
            faults.passing("admission.committed")

    async def _until_due(self) -> None:
        """Wait for a trigger, a free slot or the next tick, and a moment at least, so that one tick serves many of them."""
        await asyncio.sleep(_MOMENT)
        await _wait(self._wake, self._limits.tick.total_seconds())
        self._wake.clear()

    async def _beat(self) -> None:
        if holds := self._worker.holds:
            async with self._own.system() as work:
                await beat(work, holds)

    async def _sign_on(self) -> None:
        await self._registry.enter(running=len(self._worker.holds), ended=self._worker.ended)

    async def _reconcile_later(self) -> None:
        """After a pause at first: where all were down, the queue still has the jobs, and they go on at once."""
        pause = _sleep(self._limits.reconcile)
        await pause()
        await _repeat(self._reconcile, pause)

    async def _reconcile(self) -> None:
        await self._beat()  # if the clock was turned, our own have not been heard of for long either
        async with self._own.system() as work:
            released = await release_stale(work, now=self._clock.now(), older_than=self._limits.stale_after)
            if released:
                faults.passing("reconcile.released")
        if released:
            instruments.RELEASED.add(released)
            logger.warning("Released runs that nobody speaks for", extra={"count": released})
        async with self._own.system() as work:
            ended = await cut_off_silent(work, older_than=self._limits.stale_after)
        if ended:
            logger.warning("Ended transactions of processes that say nothing more", extra={"count": ended})

    async def _prune(self) -> None:
        """Drop what PgQueuer keeps of jobs that ended a day ago; our own runs are the history. And workers that are long gone."""
        await self._registry.prune()
        deleted = 1
        while deleted:
            async with self._own.system() as work:
                deleted = await prune(work, before=self._clock.now() - _KEPT_FOR)


async def _repeat(chore: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]) -> None:
    """Do a chore for ever; one failure is told and does not end it."""
    while True:
        try:
            await chore()
        except Exception as error:  # noqa: BLE001  a lost connection ends the session elsewhere
            logger.warning("An upkeep of the engine failed", extra={"error": type(error).__name__})
        await pause()


def _sleep(period: timedelta) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.sleep(period.total_seconds())


async def _watch(lost: asyncio.Event) -> None:
    await lost.wait()
    raise ConnectionError("the database closed the connection")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, for so long. Not by `wait_for`: before Python 3.12 it loses a cancellation that comes just after the event."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _close(connection: Any) -> None:
    """Close politely, or at once if the server does not answer."""
    try:
        await connection.close(timeout=2)
    except Exception:  # noqa: BLE001  it is gone already
        connection.terminate()


def _names(error: BaseException) -> str:
    """The types of what went wrong, messages left out: those of the driver quote addresses."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(sorted({_names(one) for one in error.exceptions}))
    return type(error).__name__
