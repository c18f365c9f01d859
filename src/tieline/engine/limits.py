"""How much an engine does at once, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class EngineLimits:
    """The limits of one process (`slots`, the periods) and of the whole platform (the caps, the same in all processes).

    A process that is silent for `heartbeat` is thought dead and its runs are given to others; a row that nobody speaks for
    during `stale_after` is released. A job that has run for `longest` is ended and tried again later, so that one that is stuck
    keeps no slot for ever. `grace` is how long running jobs may take to end when the engine is stopped; supervisors are patient for
    20 s and more, and handing back takes a moment.
    """

    slots: int = 8
    org_cap: int = 4
    provider_cap: int = 64
    heartbeat: timedelta = timedelta(seconds=30)
    tick: timedelta = timedelta(milliseconds=500)
    reconcile: timedelta = timedelta(minutes=1)
    stale_after: timedelta = timedelta(minutes=2)
    longest: timedelta = timedelta(hours=6)
    grace: timedelta = timedelta(seconds=15)

    def __post_init__(self) -> None:
        if self.slots < 2:
            raise ValueError("an engine needs two slots")
        if self.stale_after < 2 * self.heartbeat:
            raise ValueError("stale_after must leave time for a heartbeat to be missed and the run to be taken over")
