"""The time that all processes share: the database's, since no two machines' clocks agree and any of them may be turned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import func, select

from tieline.clock import SteadyClock
from tieline.store.db import Db, is_passing

_LOOK_EVERY = 5.0  # seconds
_TOLD_BEYOND = timedelta(minutes=1)

logger = logging.getLogger(__name__)


@asynccontextmanager
async def in_step(db: Db, clock: SteadyClock) -> AsyncIterator[None]:
    """Set a clock by the database's, now and every few seconds while the block runs. While the database is away it goes on by itself."""
    await _follow(db, clock)
    following = asyncio.create_task(_go_on_following(db, clock))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait({following})  # unlike `await following`, it takes nobody else's cancellation for this one


async def _go_on_following(db: Db, clock: SteadyClock) -> None:
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        try:
            await _follow(db, clock)
        except Exception as error:  # noqa: BLE001  the clock goes on by itself, and is set again when that is possible
            if not is_passing(error):
                logger.warning("The database's time could not be asked", extra={"error": type(error).__name__})


async def _follow(db: Db, clock: SteadyClock) -> None:
    async with db.system() as work:
        asked = clock.now()
        told = (await work.connection.execute(select(func.clock_timestamp()))).scalar_one()
    took = clock.now() - asked
    moved = clock.follow(told + took / 2, within=took)
    if abs(moved) > _TOLD_BEYOND:
        logger.warning("The clock was set by the database's", extra={"seconds": round(moved.total_seconds())})
