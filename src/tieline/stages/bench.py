"""The bench: a process beside this one in which mappings are tried, and run, that nobody has vouched for.

The CEL engine bounds the steps of loops and the depth of data, but neither the time nor the memory of one evaluation, and it holds
the interpreter's lock meanwhile: a text that is replaced into itself a few times fills any machine. So what an organization
wrote itself runs apart, with 1 GiB at most, and whoever takes longer than it may is ended with the process; the next gets a new one. The process has
no settings, no keys and no database, ends with the one that began it, and stays at hand in between: to begin takes half a second.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from tieline.catalog.compile import CompiledOperation
from tieline.errors import Conflict, Invalid
from tieline.stages.guarded import answer_batch, read_drafts, write_batch
from tieline.stages.transform import Draft, Refusal
from tieline.stages.trial import Outcome, Trial, answer_trials, read_outcomes, write_trials

MOST_BYTES = 1 << 30
SECONDS = 5.0
"""How long trials may take together; a plain one of 200 records takes a few hundredths."""

BATCH_SECONDS = 15.0
"""How long a few records of a run may take; plain ones take a hundredth."""

_BEGINS_WITHIN = 30.0
_TURN_WITHIN = 10.0
_READY, _FAILED = b"ready\n", b"null\n"
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass
class Bench:
    """One process at most, and one trial or batch in it at a time; it is begun by the first."""

    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    lock: threading.Lock = field(default_factory=threading.Lock)
    process: subprocess.Popen[bytes] | None = None

    async def carry_out(self, trials: Sequence[Trial], *, seconds: float = SECONDS) -> list[list[Outcome]]:
        """The outcomes of each trial; raises `Invalid` for what takes too much, `Conflict` when others take long."""
        line = write_trials(trials)
        try:
            async with asyncio.timeout(_TURN_WITHIN):  # `wait_for` loses a cancellation that comes with the turn
                await self.gate.acquire()
        except TimeoutError:
            raise Conflict("Others are trying mappings just now", advice="Try again in a moment.") from None
        return read_outcomes(await self._told(line, seconds))

    async def draft(
        self,
        records: Sequence[Any],
        operation: CompiledOperation,
        own: Mapping[str, Any],
        *,
        connection: UUID,
        options: Mapping[str, Any],
        seconds: float = BATCH_SECONDS,
    ) -> list[Draft | Refusal]:
        """What `stages.transform.draft` makes of records, mapped already; raises `Invalid` for a mapping that takes too much."""
        about: dict[str, Any] = {"connection": connection, "options": options}
        line, refused = write_batch(records, operation, own, **about)
        await self.gate.acquire()  # it waits for its turn
        return read_drafts(await self._told(line, seconds)) + refused

    async def _told(self, line: bytes, seconds: float) -> Any:
        """What the process answers to whoever has passed the gate."""
        try:
            return orjson.loads(await asyncio.to_thread(self._ask, line, seconds))
        finally:
            self.gate.release()

    def _ask(self, line: bytes, seconds: float) -> bytes:
        with self.lock:
            process = self._begun()
            told, late = _exchange(process, line, seconds)
            if told == _FAILED:
                raise RuntimeError("a trial failed; it is no fault of the mapping")
            if told and not late:
                return told
            _end(process)
        if late:
            raise Invalid(
                f"The mapping takes longer than {seconds:g} seconds", advice="Use fewer loops, or loops over less."
            )
        raise Invalid("The mapping needs too much memory", advice="Use less that makes texts or lists longer.")

    def _begun(self) -> subprocess.Popen[bytes]:
        """The process, a new one if there is none any more."""
        if self.process is None or self.process.poll() is not None:
            environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tieline.stages.bench"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
            weakref.finalize(self, _end, self.process)
            told, _ = _exchange(self.process, b"", _BEGINS_WITHIN)
            if told != _READY:
                _end(self.process)
                raise RuntimeError("the process for trials does not begin")
        return self.process


def _exchange(process: subprocess.Popen[bytes], line: bytes, seconds: float) -> tuple[bytes, bool]:
    """Send a line and read one; nothing where the process ended, and whether that was for the time that it took."""
    late = threading.Event()

    def end_it() -> None:
        late.set()
        process.kill()

    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process for trials has no pipes")
    timer = threading.Timer(seconds, end_it)
    timer.start()
    try:
        if line:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
        return process.stdout.readline(), late.is_set()
    except OSError:  # it has ended
        return b"", late.is_set()
    finally:
        timer.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe:
                pipe.close()
    process.wait()


def main() -> None:
    """Answer line by line, until standard input ends; a trial that needs too much memory ends it."""
    with suppress(ImportError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(_answered(line))
        sys.stdout.buffer.flush()


def _answered(line: bytes) -> bytes:
    try:
        asked = orjson.loads(line)
        return orjson.dumps(answer_trials(asked) if isinstance(asked, list) else answer_batch(asked)) + b"\n"
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  told on the other side, where there is a log
        return _FAILED


if __name__ == "__main__":
    main()
