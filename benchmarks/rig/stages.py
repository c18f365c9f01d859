"""Where the time of a sync goes: how long each of its stages took, and for how much of that it was at work itself."""

from __future__ import annotations

import asyncio
import functools
import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STAGES = {
    "fetch": "tieline.stages.collect._read",
    "draft": "tieline.flows.sync.draft",
    "mapping": "tieline.sdk.mapping.CompiledMapping.apply",
    "judge": "tieline.flows.sync.expect_new",
    "look up": "tieline.store.entities.look_up",
    "assess": "tieline.flows.sync.assess",
    "write": "tieline.flows.sync.load",
    "findings": "tieline.flows.judging.move_findings",
    "evidence": "tieline.flows.judging.attest",
    "events": "tieline.flows.judging.announce_findings",
    "progress": "tieline.store.runs.save_progress",
    "sweep": "tieline.flows.sync.sweep",
}
"""What is timed, by the name under which it is called; a name that is no longer there is left out."""


@contextmanager
def timed() -> Iterator[dict[str, list[float]]]:
    """Seconds of each stage while the block runs: until it was done, and at work in this process.

    The rest is waiting, above all for PostgreSQL, or for a processor. Of what is awaited each step is timed alone, so that what other tasks do in between
    does not count as work.
    """
    spent: dict[str, list[float]] = {name: [0.0, 0.0] for name in STAGES}
    replaced = [one for name, path in STAGES.items() if (one := _replace(path, spent[name]))]
    try:
        yield spent
    finally:
        for place, name, stage in replaced:
            setattr(place, name, stage)


def _replace(path: str, spent: list[float]) -> tuple[Any, str, Any] | None:
    holder, _, name = path.rpartition(".")
    place = resolved(holder)
    stage = getattr(place, name, None)
    if stage is None:
        return None
    setattr(place, name, _awaited(stage, spent) if asyncio.iscoroutinefunction(stage) else _called(stage, spent))
    return place, name, stage


def resolved(path: str) -> Any:
    """A module, or a class in one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        holder, _, name = path.rpartition(".")
        return getattr(importlib.import_module(holder), name, None)


def _called(stage: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @functools.wraps(stage)
    def call(*args: Any, **kwargs: Any) -> Any:
        began, worked = time.perf_counter(), time.thread_time()
        try:
            return stage(*args, **kwargs)
        finally:
            spent[0] += time.perf_counter() - began
            spent[1] += time.thread_time() - worked

    return call


def _awaited(stage: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @functools.wraps(stage)
    async def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return await _Steps(stage(*args, **kwargs), spent)
        finally:
            spent[0] += time.perf_counter() - began

    return call


class _Steps:
    """A coroutine whose steps are timed one by one."""

    def __init__(self, coroutine: Any, spent: list[float]) -> None:
        self.coroutine = coroutine
        self.spent = spent

    def __await__(self) -> Any:
        step, given = self.coroutine.send, None
        while True:
            began = time.thread_time()
            try:
                waited_for = step(given)
            except StopIteration as done:
                return done.value
            finally:
                self.spent[1] += time.thread_time() - began
            try:
                step, given = self.coroutine.send, (yield waited_for)
            except BaseException as error:  # noqa: BLE001  a cancellation, which the coroutine must see
                step, given = self.coroutine.throw, error
