"""Collect: run an operation and hand over its records in batches, each with the place to go on from.

The operation runs in a task of its own, so that the next page is fetched while this one is stored. Another task does meanwhile what
can be done with records before they are stored. Pages that arrive faster than they are stored are handed over together: a transaction
costs the same for thirty records as for a thousand.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import perf_counter
from typing import Any, cast

from tieline.sdk.context import Checkpoint, Context, Turned
from tieline.sdk.limits import waited
from tieline.sdk.provider import Operation

MAX_RECORDS = 1_000
"""The size of a batch: longer pages are stored in parts, so that they cost neither memory nor a long lock."""

MAX_BYTES = 16 * 1024 * 1024
"""The same for the text of its records, of which a page may hold 32 MiB. Parsed ones only count: to measure one is to write it out."""

_AT_A_TIME = 10
_STROKE = 0.001
"""Seconds of preparing at a stretch, about as long as the database takes for a short statement."""

_A_MOMENT = 1e-9
"""Seconds until the next stretch: a timer comes after whatever the database has answered by then, where `sleep(0)` comes before it."""

Prepare = Callable[[list[Any]], Awaitable[list[Any]]]
"""What is done with a few records before they are stored; as many come back."""


@dataclass(frozen=True)
class Pace:
    """When a batch was read, and the milliseconds in it that its reader waited for the rate limit or before another try."""

    begun: datetime
    ended: datetime
    limited_ms: int = 0
    retried_ms: int = 0

    def __add__(self, after: Pace) -> Pace:
        """Both, one after the other."""
        limited, retried = self.limited_ms + after.limited_ms, self.retried_ms + after.retried_ms
        return Pace(self.begun, after.ended, limited, retried)


@dataclass(frozen=True)
class Batch:
    """Records in order, or what was made of them; `checkpoint` is set where a page ended, and is where a later run may go on.

    `size` is how many bytes of text the records were that came as text.
    """

    records: list[Any] = field(repr=False)
    checkpoint: Checkpoint | None
    pace: Pace = field(compare=False)
    size: int = field(default=0, compare=False)


async def collect(
    operation: Operation,
    open_context: Callable[[Checkpoint | None, Turned], Context[Any]],
    start: Checkpoint | None,
    prepare: Prepare | None = None,
) -> AsyncGenerator[Batch, None]:
    """The batches of one reading, from its start or from a checkpoint; raises whatever the operation raises.

    A batch holds what `prepare` makes of its records, of a few at a time.
    """
    read, prepared = _Shelf(), _Shelf()
    tasks = [  # in the order in which they are waited for: a reader ends only if somebody takes what it read
        asyncio.create_task(_prepare(read, prepare or _as_they_are, prepared)),
        asyncio.create_task(_read(operation, open_context, start, read)),
    ]
    try:
        while (batch := await prepared.take()) is not None:
            yield batch
        for task in tasks:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # raises nothing but the caller's own cancellation


async def _as_they_are(records: list[Any]) -> list[Any]:
    return records


async def _prepare(read: _Shelf, prepare: Prepare, prepared: _Shelf) -> None:
    try:
        while (batch := await read.take()) is not None:
            made: list[Any] = []
            begun = perf_counter()
            for first in range(0, len(batch.records), _AT_A_TIME):
                made += await prepare(batch.records[first : first + _AT_A_TIME])
                if perf_counter() - begun > _STROKE:
                    await asyncio.sleep(_A_MOMENT)
                    begun = perf_counter()
            await prepared.put(replace(batch, records=made))
    finally:
        prepared.close()


async def _read(
    operation: Operation,
    open_context: Callable[[Checkpoint | None, Turned], Context[Any]],
    start: Checkpoint | None,
    shelf: _Shelf,
) -> None:
    records: list[Any] = []
    size = 0
    begun: datetime

    async def hand_over(checkpoint: Checkpoint | None) -> None:
        nonlocal records, size, begun
        done = Batch(records, checkpoint, _pace(context, begun), size)
        records, size = [], 0
        await shelf.put(done)
        begun = context.now  # the next page is asked for only now

    context = open_context(start, hand_over)
    begun = context.now
    reading = cast("AsyncGenerator[Any, None]", operation.read(context))  # the catalog saw to it
    try:
        async with aclosing(reading):
            async for record in reading:
                records.append(record)
                if isinstance(record, bytes):
                    size += len(record)
                if len(records) >= MAX_RECORDS or size >= MAX_BYTES:
                    await hand_over(None)
        if records:
            await hand_over(None)
    finally:
        shelf.close()


def _pace(context: Context[Any], begun: datetime) -> Pace:
    stood = waited(context.take_waits())
    return Pace(begun, context.now, stood["limit"], stood["retry"])


class _Shelf:
    """Between the one who reads and the one who stores: holds about a batch of records that wait."""

    def __init__(self) -> None:
        self._waiting: deque[Batch] = deque()
        self._closed = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def put(self, batch: Batch) -> None:
        """Lay down a page, and go on once less than a batch waits."""
        self._waiting.append(batch)
        self._filled.set()
        while self._is_full():
            self._emptied.clear()
            await self._emptied.wait()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._filled.set()

    async def take(self) -> Batch | None:
        """All that waits and fits into one batch; `None` once nothing more will come."""
        while not self._waiting and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        if not self._waiting:
            return None
        taken = self._waiting.popleft()
        while self._waiting and _fit_together(taken, self._waiting[0]):
            following = self._waiting.popleft()
            place = following.checkpoint or taken.checkpoint
            pace, size = taken.pace + following.pace, taken.size + following.size
            taken = Batch(taken.records + following.records, place, pace, size)
        self._emptied.set()
        return taken

    def _is_full(self) -> bool:
        records, size = sum(len(one.records) for one in self._waiting), sum(one.size for one in self._waiting)
        return records >= MAX_RECORDS or size >= MAX_BYTES


def _fit_together(one: Batch, other: Batch) -> bool:
    return len(one.records) + len(other.records) <= MAX_RECORDS and one.size + other.size <= MAX_BYTES
