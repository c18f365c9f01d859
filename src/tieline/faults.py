"""Named points at which a test may kill this process, to prove that nothing is lost there.

`TIELINE_FAULT=page.loaded:3` kills at the third time that the point is passed; `TIELINE_FAULT_LOG` names a file to which
each kill is appended, so that a test knows that its window was hit. Without the setting, passing a point costs one
comparison.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

_name, _, _nth = os.environ.get("TIELINE_FAULT", "").partition(":")
_left = int(_nth or 1)


def passing(point: str) -> None:
    """Mark a named point; die here by SIGKILL if a test asked for it."""
    if point == _name:
        _count_down(point)


def _count_down(point: str) -> None:
    global _left  # noqa: PLW0603  one process, one countdown
    _left -= 1
    if _left == 0:
        if log := os.environ.get("TIELINE_FAULT_LOG"):
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{point}\n")
        os.kill(os.getpid(), signal.SIGKILL)
