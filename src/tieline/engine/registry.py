"""The registry of workers, as one of them keeps its own row in it; for operators, nothing is decided by it."""

from __future__ import annotations

import logging
import socket
from datetime import timedelta
from importlib.metadata import version

from tieline.clock import Clock
from tieline.engine.limits import EngineLimits
from tieline.ids import new_id
from tieline.store.db import Db
from tieline.store.workers import Worker, forget_worker, note_worker, prune_workers

_SILENT_FOR = timedelta(hours=1)
_HOURS_KEPT = timedelta(days=2)

logger = logging.getLogger(__name__)


class Registry:
    """One process's place among the workers."""

    def __init__(self, db: Db, limits: EngineLimits, *, role: str, clock: Clock) -> None:
        self._db = db
        self._limits = limits
        self._role = role
        self._clock = clock
        self._id = new_id("wrk")
        self._version = version("tieline")
        self._started = clock.now()
        self._told = 0

    async def enter(self, *, running: int, ended: int) -> None:
        """Say that the process is alive, and what it does; `ended` counts the jobs that it ended since it began."""
        limits = self._limits
        worker = Worker(
            self._id,
            socket.gethostname(),
            self._role,
            self._version,
            limits.slots,
            limits.org_cap,
            limits.provider_cap,
            limits.heartbeat,
            running,
            self._started,
            self._clock.now(),
        )
        async with self._db.system() as work:
            await note_worker(work, worker, jobs=ended - self._told)
        self._told = ended

    async def leave(self) -> None:
        """Take the row away at a clean end; where the database is away it stays, and is pruned later."""
        try:
            async with self._db.system() as work:
                await forget_worker(work, self._id)
        except Exception as error:  # noqa: BLE001  the process ends, whatever becomes of its row
            logger.info("The worker could not sign off", extra={"error": type(error).__name__})

    async def prune(self) -> None:
        """Forget the workers that have been gone for long."""
        now = self._clock.now()
        async with self._db.system() as work:
            await prune_workers(work, silent_since=now - _SILENT_FOR, hours_before=now - _HOURS_KEPT)
