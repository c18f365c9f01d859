"""The worker: it takes one job after another from the queue, begins its hold and calls the flow of its kind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from pgqueuer.models import Job

from tieline import faults
from tieline.clock import Clock
from tieline.engine.queue import read_hold
from tieline.log import bind, place_of
from tieline.store.db import Db, is_passing
from tieline.store.schedules import Hold, HoldLost, begin, give_back

Handler = Callable[[Hold], Awaitable[None]]
"""A flow: it begins what is held, does its pages, and releases it; all itself."""

logger = logging.getLogger(__name__)


class Worker:
    """What one process runs now; `on_free` is called whenever a job has ended."""

    def __init__(
        self,
        db: Db,
        handlers: Mapping[str, Handler],
        *,
        clock: Clock,
        longest: timedelta,
        on_free: Callable[[], None],
    ) -> None:
        self._db = db
        self._handlers = handlers
        self._clock = clock
        self._longest = longest.total_seconds()
        self._on_free = on_free
        self._running: dict[asyncio.Task[None], Hold] = {}
        self._owed: list[Hold] = []
        self.stopping = False
        self.busy = 0
        """How many jobs there are here, those included that are just being begun or concluded."""
        self.ended = 0
        """How many jobs came to their end here, whichever it was."""

    @property
    def holds(self) -> list[Hold]:
        """The holds, with their fences, of all that runs."""
        return list(self._running.values())

    async def start(self) -> None:
        """Begin, or begin anew."""
        self.stopping = False
        await self.settle()

    async def settle(self) -> None:
        """Hand back the holds that could not be begun, or handed back when their jobs ended, as when the database was away."""
        for _ in range(len(self._owed)):
            await self._give_back(self._owed.pop(0), None)

    async def run(self, job: Job) -> None:
        """Run one job. It raises nothing, because PgQueuer would store the exception's message."""
        self.busy += 1
        hold = None
        try:
            hold = read_hold(job.payload or b"")
            with bind(schedule_id=hold.schedule_id, org_id=hold.org_id):
                await self._run(hold)
        except Exception as error:  # noqa: BLE001  the row stays held for now
            logger.warning("A job could not be begun", extra={"error": type(error).__name__})
            if hold:
                self._owed.append(hold)
        finally:
            self.busy -= 1
            self._on_free()

    async def stop(self, grace: timedelta) -> None:
        """Begin nothing more, let what runs end within the time given, then cancel it."""
        self.stopping = True
        if self._running:
            await asyncio.wait(self._running, timeout=grace.total_seconds())
        self.cancel()

    def cancel(self) -> None:
        """Cancel all that runs, and begin nothing more; each job hands its hold back."""
        self.stopping = True
        for task in self._running:
            task.cancel()

    async def _run(self, hold: Hold) -> None:
        async with self._db.work(hold.org_id) as work:
            schedule = await begin(work, hold)
        if schedule is None:
            return  # the job came late, or twice
        faults.passing("worker.begun")
        hold = schedule.hold
        if self.stopping:
            await self._give_back(hold, None)
            return
        task = asyncio.create_task(_call(self._handlers[hold.kind], hold))
        self._running[task] = hold
        try:
            ended, _ = await asyncio.wait({task}, timeout=self._longest)
            if not ended:
                task.cancel()
                await asyncio.wait({task})
        finally:
            del self._running[task]
            task.cancel()
            self.ended += 1
        await self._conclude(hold, task, late=not ended)

    async def _conclude(self, hold: Hold, task: asyncio.Task[None], *, late: bool) -> None:
        """See to the hold of a job that ended otherwise than by releasing it."""
        if task.cancelled():
            if late:
                logger.warning("A job took too long, and is tried again later")
            await self._give_back(hold, "TooLong" if late else None)
        elif isinstance(task.exception(), HoldLost):
            logger.info("The hold was lost; another worker goes on")
        elif error := task.exception():
            name = type(error).__name__
            logger.warning("A job failed", extra={"error": name, "place": place_of(error)})
            await self._give_back(hold, name, counted=not is_passing(error))

    async def _give_back(self, hold: Hold, error: str | None, *, counted: bool = True) -> None:
        try:
            async with self._db.work(hold.org_id) as work:
                await give_back(work, hold, now=self._clock.now(), error=error, counted=counted)
                faults.passing("worker.returned")
        except Exception as failure:  # noqa: BLE001  the database is away: try again when it is back
            logger.warning("A hold could not be handed back yet", extra={"error": type(failure).__name__})
            self._owed.append(hold)


async def _call(handler: Handler, hold: Hold) -> None:
    await handler(hold)
