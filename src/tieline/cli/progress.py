"""Waiting for runs: an engine of this process's own, what becomes of the runs, and how that is shown.

On a terminal a table is drawn anew as the runs move; elsewhere a line is written whenever a run changes its state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from tieline.cli import exits
from tieline.cli.show import console, plain, styled, warn
from tieline.errors import NotOffered

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tieline.cli.session import Running
    from tieline.flows.parts import Parts
    from tieline.store.runs import Run

_LOOK_EVERY = 0.25  # seconds
_LAST_PAGE = 1.0  # seconds of stopping that need no explanation
_RECENT = 50  # runs of a connection that are read at a time; those waited for are nearly always among them
_BAD = frozenset({"failed", "cancelled", "held", "stopped"})
_ENDED = frozenset({"succeeded", "partial", *_BAD})


@dataclass(frozen=True)
class Watched:
    """A run as it stands; `stopped` says why it cannot go on, as when its connection was paused.

    `again_at` is when it is tried again, if it broke off and nobody works on it.
    """

    run: Run
    stopped: str | None = None
    again_at: datetime | None = None

    @property
    def waits_until(self) -> datetime | None:
        """Until when the provider makes it wait, or it rests before it is tried again."""
        if self.stopped or self.run.status not in {"queued", "running"}:
            return None
        return self.run.resume_at or self.again_at

    @property
    def state(self) -> str:
        """Its status, told apart further: waiting for the provider, or stopped."""
        return "stopped" if self.stopped else "waiting" if self.waits_until else self.run.status

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it by itself."""
        return self.state in _ENDED

    @property
    def failed(self) -> bool:
        """Whether it ended without reading all that there is; what the account does not offer is not there."""
        return self.state in _BAD or (self.state == "partial" and self.run.error_slug != NotOffered.slug)


@dataclass(frozen=True)
class Outcome:
    """How the waiting ended."""

    runs: list[Watched]

    @property
    def code(self) -> int:
        """The exit code."""
        if any(one.failed for one in self.runs):
            return exits.RUN_FAILED
        return exits.FINE if all(one.ended for one in self.runs) else exits.STILL_WAITING


class Display(Protocol):
    """Shows the runs as they move."""

    def show(self, runs: Sequence[Watched]) -> None:
        """Take note of how the runs stand now."""
        ...

    def close(self) -> None:
        """Leave the last state on the screen."""
        ...


@asynccontextmanager
async def working(
    tieline: Running,
    *,
    role: str = "command",
    until: asyncio.Event | None = None,
    tell: Callable[[str], None] = warn,
) -> AsyncIterator[None]:
    """Carry out what is due while the block runs, or `until` then; at the end runs under way come to theirs, or are handed back.

    `tell` is called if that takes a while. What an engine needs is imported by a thread: a server answers meanwhile.
    """
    until = until or asyncio.Event()
    engine = await asyncio.to_thread(tieline.engine, role)
    worker = asyncio.create_task(engine.run(until=until))
    try:
        yield
    finally:
        until.set()
        ended, _ = await asyncio.wait({worker}, timeout=_LAST_PAGE)
        if not ended:
            tell(
                "Runs under way are ended or handed back, in 20 s at most; Ctrl-C leaves at once, and they wait longer."
            )
        await worker


async def watch(parts: Parts, org_id: str, runs: Sequence[Run], display: Display, *, patience: timedelta) -> Outcome:
    """Look at the runs until all have ended, or until only the provider's waiting times are left and exceed patience.

    Patience begins anew with each page that comes in.
    """
    seen: tuple[Any, ...] = ()
    moved = parts.clock.now()
    try:
        while True:
            watched = await _look(parts, org_id, runs)
            display.show(watched)
            standing = tuple((one.state, one.run.pages) for one in watched)
            if standing != seen:
                seen, moved = standing, parts.clock.now()
            if _is_over(watched, moved + patience):
                return Outcome(watched)
            await asyncio.sleep(_LOOK_EVERY)
    finally:
        display.close()


def _is_over(watched: Sequence[Watched], give_up: datetime) -> bool:
    left = [one.waits_until for one in watched if not one.ended]
    return all(until is not None and until > give_up for until in left)


async def _look(parts: Parts, org_id: str, runs: Sequence[Run]) -> list[Watched]:
    """The runs as they stand, in the order given."""
    from tieline.store.listing import Paging
    from tieline.store.runs import get_run, list_runs
    from tieline.store.schedules import list_schedules

    found: dict[str, Run] = {}
    off: dict[str, str] = {}
    again: dict[str, datetime] = {}
    async with parts.db.work(org_id) as work:
        for connection in {one.connection_id for one in runs}:
            newest = (await list_runs(work, Paging(limit=_RECENT), connection_id=connection)).items
            found |= {one.id: one for one in newest}
            if any(one.status in {"queued", "running"} for one in newest):
                for schedule in await list_schedules(work, connection):
                    if schedule.run_id and not schedule.enabled:
                        off[schedule.run_id] = schedule.off_reason or "switched off"
                    elif schedule.run_id and schedule.attempt and not schedule.held_by and schedule.next_run_at:
                        again[schedule.run_id] = schedule.next_run_at
        standing = [found.get(one.id) or await get_run(work, one.id) for one in runs]
    return [Watched(one, off.get(one.id) if one.status == "queued" else None, again.get(one.id)) for one in standing]


def make_display(names: Mapping[str, str], *, err: bool = False) -> Display:
    """A live table on a terminal, lines elsewhere; `names` are the connections' names by id."""
    out = console(err=err)
    return LiveTable(out, names) if out.is_terminal else Lines(out, names)


@dataclass
class Lines:
    """A line for each change of state."""

    console: Console
    names: Mapping[str, str]
    _last: dict[str, str] = field(default_factory=dict)

    def show(self, runs: Sequence[Watched]) -> None:
        """Write a line for each run whose state has changed."""
        for one in runs:
            if one.state != self._last.get(one.run.id, "queued"):
                self._last[one.run.id] = one.state
                self.console.print(plain(describe(one, self.names)))

    def close(self) -> None:
        """Nothing is left to do."""


class LiveTable:
    """One table, drawn in place."""

    def __init__(self, out: Console, names: Mapping[str, str]) -> None:
        from rich.live import Live

        self._names = names
        self._live = Live(console=out, auto_refresh=False, transient=False)
        self._live.start()

    def show(self, runs: Sequence[Watched]) -> None:
        """Draw the table anew."""
        self._live.update(progress_table(runs, self._names), refresh=True)

    def close(self) -> None:
        """Leave the table as it stands."""
        self._live.stop()


def progress_table(runs: Sequence[Watched], names: Mapping[str, str]) -> Table:
    """The runs with what they have read so far."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    several = len({one.run.connection_id for one in runs}) > 1
    for heading in (["connection"] if several else []) + ["operation", "state"]:
        table.add_column(heading, no_wrap=True, min_width=9 if heading == "state" else None)
    for heading in ("pages", "records", "created", "changed", "unchanged", "rejected", "findings"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=8 if heading == "findings" else 5)
    for one in runs:
        run = one.run
        counts = [run.pages, run.records, run.created, run.changed, run.unchanged, run.rejected]
        name = [plain(names.get(run.connection_id, run.connection_id))[:24]] if several else []
        cells: list[Any] = [
            *name,
            run.operation,
            styled(one.state),
            *(f"{count:,}" if count else "·" for count in counts),
        ]
        table.add_row(*cells, findings_moved(run))
    return table


def findings_moved(run: Run) -> str:
    """`+3 −1`: findings opened and resolved."""
    moved = [f"+{run.findings_opened:,}"] if run.findings_opened else []
    moved += [f"−{run.findings_resolved:,}"] if run.findings_resolved else []
    return " ".join(moved) or "·"


def _name(run: Run, names: Mapping[str, str]) -> str:
    """The operation, and of several connections which."""
    return f"{names.get(run.connection_id, run.connection_id)}, {run.operation}" if len(names) > 1 else run.operation


def describe(one: Watched, names: Mapping[str, str]) -> str:
    """A run's state as a sentence."""
    run = one.run
    head = f"{_name(run, names)}: {one.state}"
    if one.waits_until:
        return f"{head} until {one.waits_until:%Y-%m-%d %H:%M:%S} UTC"
    if not one.ended:
        return head
    names_of_counts = ("records", "created", "changed", "unchanged", "removed", "rejected")
    told = [f"{getattr(run, name):,} {name}" for name in names_of_counts if getattr(run, name)]
    told += [f"findings {findings_moved(run)}"] if run.findings_opened or run.findings_resolved else []
    return f"{head}; " + (", ".join(told) or "nothing read")


def explain(one: Watched, names: Mapping[str, str]) -> str | None:
    """What a person should know of a run that did not simply succeed."""
    run, head = one.run, _name(one.run, names)
    if one.state == "succeeded":
        return (
            f"{head}: {run.rejected:,} records were rejected: tieline runs rejections {run.id}"
            if run.rejected
            else None
        )
    if one.state == "waiting":
        if run.resume_at is None:
            return f"{head}: it broke off, and is tried again at {one.waits_until:%Y-%m-%d %H:%M:%S} UTC; the log of its worker says why"
        return f"{head}: the provider makes it wait until {one.waits_until:%Y-%m-%d %H:%M:%S} UTC; it goes on then"
    if one.state == "held":
        return f"{head}: {run.error_message}. If they are really gone: tieline runs release {run.id}"
    why = one.stopped or run.error_message or run.error_slug
    return f"{head}: {one.state}" + (f" ({why})" if why else "")
