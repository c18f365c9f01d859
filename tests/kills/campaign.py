"""Campaigns: where processes are killed, at every point in one life, or at one point again and again."""

from __future__ import annotations

from collections.abc import Sequence

from tests.kills.story import SYNCS, Plan, Step, comings_and_goings

from tieline import faults

ACCOUNTS = "abcde"
LEAST = 5
"""Kills at each point in a whole campaign."""

MOST = 6
"""Faults in one life."""

MOMENTS = ((2, 1), (1, 3), (3, 2), (1, 2), (4, 1))
"""At which of its passings a point of a page kills, by step: the first process that does the step's work, and the second."""

OUTSIDE = ("page.fetched", "page.committed", "run.begun", "run.collected", "run.swept", "run.judged", "worker.begun")
"""Points in no transaction, at which a worker that freezes holds no lock: it wakes when another has done its work."""

POINTS = [point for point in faults.POINTS if not point.startswith(("backup.", "restore."))]
"""Those of backups, for which other servers are needed, are in `tests/flows/test_backup.py`."""

ONCE: dict[tuple[int, str], list[str]] = {
    (0, "connect"): ["audit.recorded:1"],
    (1, "work"): ["refresh.begun:1", "refresh.answered:1", "run.begun:1", "page.fetched:2", "page.entities:2"],
    (2, "ask"): ["trigger.made:1", "trigger.committed:1"],
    (2, "work"): ["admission.held:1", "page.findings:1", "page.evidence:1", "run.collected:1", "run.swept:1"],
    (3, "work"): ["admission.enqueued:1", "worker.begun:1", "page.outbox:1", "page.checkpoint:2", "run.judged:1"],
    (4, "work"): ["worker.returned:1", "run.waiting:1"],
    (6, "work"): ["reconcile.released:1"],
    (5, "work"): ["page.fetched:2:freeze"],
    (7, "work"): ["admission.committed:1", "page.committed:1", "run.ending:1", "run.finished:1"],
}
"""Each point of a sync once, in one life, and one worker that wakes late: by step and act."""

ONCE_BESIDES: dict[tuple[int, str], list[str]] = {
    (0, "connect"): ["connect.verified:1", "connect.saved:1", "connect.committed:1"],
    (1, "rewrap"): ["rewrap.batch:1"],
    (2, "disconnect"): ["disconnect.committed:1"],
    (3, "revoke"): ["disconnect.revoked:1"],
}
"""The same for what happens to a connection besides."""


def once(plan: dict[tuple[int, str], list[str]]) -> Plan:
    """Each fault of a plan, at the first act for which it is planned."""
    left = {key: list(faults) for key, faults in plan.items()}

    def faults_of(place: int, act: str, _: int) -> Sequence[str]:
        return left.pop((place, act), [])

    return faults_of


def again_and_again(point: str) -> Plan:
    """A point in every act, until it was hit often enough. What revokes at last, what others left, is let be."""

    def faults_of(place: int, act: str, deaths: int) -> Sequence[str]:
        if act == "revoke" or deaths >= MOST:
            return ()
        often = MOMENTS[place % len(MOMENTS)] if point.startswith("page.") else (1,) * LEAST
        return [f"{point}:{nth}" for nth in often][: MOST - deaths]

    return faults_of


def freezing(point: str) -> Plan:
    """A worker that freezes in one act after the other."""
    return lambda _, __, deaths: [f"{point}:1:freeze"] if deaths < LEAST else ()


def story_of(point: str) -> Sequence[Step]:
    """The story in which a point is passed."""
    besides = point.startswith(("connect.", "disconnect.", "rewrap."))
    return comings_and_goings(ACCOUNTS) if besides else SYNCS


def planned(plan: dict[tuple[int, str], list[str]]) -> list[str]:
    """Every fault of a plan."""
    return [fault for faults in plan.values() for fault in faults]
