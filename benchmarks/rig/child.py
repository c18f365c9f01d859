"""The contestant's end of a contest: it is told the name of a phase in a line and answers with a line of JSON.

Only the standard library, for contestants that run in an environment of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

Phase = Callable[[str], Awaitable[dict[str, Any]]]


def channel() -> TextIO:
    """Where answers go; whatever else is printed from here on goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


async def compete(run: Phase) -> None:
    """Run each phase that is asked for, until no more are."""
    answers = channel()
    print(json.dumps({"ready": True}), file=answers)
    while name := (await asyncio.to_thread(sys.stdin.readline)).strip():
        print(json.dumps(await run(name)), file=answers)
