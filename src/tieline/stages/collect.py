"""Collect: run an operation and hand over its records page by page, each with the place to go on from.

The operation runs in a task of its own and fills a short queue, so that the next page is fetched while this one is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tieline.sdk.context import Checkpoint, Context, Turned
from tieline.sdk.provider import Operation

MAX_RECORDS = 1_000
"""A page is stored in parts of at most this many records, so that a long one costs neither memory nor a long lock."""

_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """Records in order; `checkpoint` is set where a page ended, and is where a later run may go on."""

    records: list[Any] = field(repr=False)
    checkpoint: Checkpoint | None


async def collect(
    operation: Operation, open_context: Callable[[Checkpoint | None, Turned], Context[Any]], start: Checkpoint | None
) -> AsyncGenerator[Batch, None]:
    """The batches of one reading, from its start or from a checkpoint; raises whatever the operation raises."""
    queue: asyncio.Queue[Batch | None] = asyncio.Queue(maxsize=_AHEAD)
    reader = asyncio.create_task(_read(operation, open_context, start, queue))
    try:
        while (batch := await queue.get()) is not None:
            yield batch
        await reader
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await reader


async def _read(
    operation: Operation,
    open_context: Callable[[Checkpoint | None, Turned], Context[Any]],
    start: Checkpoint | None,
    queue: asyncio.Queue[Batch | None],
) -> None:
    records: list[Any] = []

    async def turned(checkpoint: Checkpoint) -> None:
        nonlocal records
        done, records = records, []
        await queue.put(Batch(done, checkpoint))

    try:
        async for record in operation.read(open_context(start, turned)):
            records.append(record)
            if len(records) >= MAX_RECORDS:
                part, records = records, []
                await queue.put(Batch(part, None))
        if records:
            await queue.put(Batch(records, None))
    finally:
        await queue.put(None)
