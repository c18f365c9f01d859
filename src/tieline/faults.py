"""Named points at which a test may kill this process, or freeze it, to prove that nothing is lost there.

`TIELINE_FAULT=page.checkpoint:3` kills at the third time that the point is passed; `page.fetched:1:freeze` stops the process there
instead, until somebody wakes it. `TIELINE_FAULT_LOG` names a file to which each of either is appended, so that a test knows that
its window was hit. Without the setting, passing a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

POINTS: Mapping[str, str] = {
    "page.fetched": "a batch of records is read; nothing of it is written",
    "page.entities": "entities, versions and links are written, not committed; no finding has moved",
    "page.findings": "findings have moved, not committed; no evidence is written",
    "page.evidence": "evidence is written, not committed; the outbox knows of nothing",
    "page.outbox": "the outbox knows of all, not committed; the run's place and counts are those of before",
    "page.checkpoint": "the run's place and counts are written, nothing is committed; the hold is not proven yet",
    "page.committed": "a batch and its place are committed; the next one is not begun",
    "run.begun": "the run is under way, committed; nothing is read",
    "run.collected": "all is read and marked so, committed; nothing is swept",
    "run.swept": "a batch of what the run did not see is closed, committed; the next one is not begun",
    "run.judged": "all is swept and judged, committed; the run has not ended",
    "run.waiting": "the run is put off and its hold released, not committed",
    "run.ending": "the run has ended and its schedule is released, not committed",
    "run.finished": "the run has ended, committed; the worker does not know yet",
    "admission.held": "due rows are given holds, not committed; they have no jobs",
    "admission.enqueued": "the holds have their jobs, not committed",
    "admission.committed": "holds and jobs are committed; nobody works on them",
    "worker.begun": "a job's hold has its fence, committed; its flow is not begun",
    "worker.returned": "a hold is handed back, not committed",
    "reconcile.released": "holds that nobody speaks for are released, not committed",
    "trigger.made": "a run is asked for, queued and audited, not committed",
    "trigger.committed": "a run is asked for, committed; the caller has no answer",
    "connect.verified": "the provider has accepted a credential; nothing is saved",
    "connect.saved": "connection, credential and first runs are written, not committed",
    "connect.committed": "the connection is committed; the caller has no answer",
    "refresh.begun": "that a refresh begins is committed; the provider is not asked",
    "refresh.answered": "the provider has given a new grant; nothing of it is written",
    "disconnect.committed": "the credential is destroyed here, committed; the provider is not told",
    "disconnect.revoked": "the provider has revoked the credential; nothing here says so",
    "rewrap.batch": "a batch of secrets is under the new key, committed; the next one is not begun",
    "audit.recorded": "what was done is in the audit log, not committed",
    "backup.table": "a table is in the backup's file, which has not its name yet",
    "backup.sealed": "the backup's file is whole and has its name; the audit log does not know of it",
    "restore.marked": "it is marked that a restore is under way, committed; nothing is restored",
    "restore.table": "a table's rows are restored, not committed",
    "restore.concluded": "all is restored, not committed; the mark is still there",
}
"""Every point, with what stands when it is passed and what does not."""

_name = ""
_left = 0
_freezes = False


def passing(point: str) -> None:
    """Mark a named point; die here by SIGKILL, or freeze, if a test asked for it."""
    if point == _name:
        _count_down(point)


def arm() -> None:
    """Read the setting, as is done once when a process starts; one that was forked reads it anew."""
    global _name, _left, _freezes  # noqa: PLW0603  one process, one countdown
    _name, _, rest = os.environ.get("TIELINE_FAULT", "").partition(":")
    nth, _, how = rest.partition(":")
    _left = int(nth or 1)
    _freezes = how == "freeze"


def _count_down(point: str) -> None:
    global _left  # noqa: PLW0603  one process, one countdown
    _left -= 1
    if _left == 0:
        if log := os.environ.get("TIELINE_FAULT_LOG"):
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{point}\n")
        os.kill(os.getpid(), signal.SIGSTOP if _freezes else signal.SIGKILL)


arm()
