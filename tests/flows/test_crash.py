"""Kill -9 at every named point of a run, restart, and the same stands as if nothing had happened."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from tests.flows.bench import Bench, Sandbox, connected, start_sandbox, take_snapshot

import tieline
from tieline.vault import LocalKeyRing

WORKER = Path(__file__).with_name("worker.py")
KILLS_EACH = 5

# Which of its passings a point kills at: different pages, different runs. Together they stay below what one phase passes.
NTH = (1, 2, 3, 1, 2)
"""For points that are passed at every batch."""
RARE = (1, 2, 1, 2, 1)
"""For points that are passed once in a run."""

PHASES = ("first", "story", "leavers")


@dataclass(frozen=True)
class Scenario:
    """Where to kill, phase by phase; the rest of each phase is worked through undisturbed."""

    name: str
    faults: dict[str, list[str]]


def at(point: str, nths: tuple[int, ...]) -> list[str]:
    return [f"{point}:{nth}" for nth in nths]


SCENARIOS = (
    Scenario(
        "reading",
        {
            "first": [*at("page.fetched", NTH), *at("page.entities", NTH)],
            "story": [*at("run.finished", RARE), *at("run.swept", (1, 1))],
            "leavers": at("run.swept", (1, 1)),
        },
    ),
    Scenario(
        "concluding",
        {
            "first": [*at("page.findings", NTH), *at("page.evidence", NTH)],
            "story": [*at("run.judged", RARE), *at("run.swept", (1, 1))],
            "leavers": at("run.swept", (1, 1)),
        },
    ),
    Scenario(
        "keeping",
        {
            "first": [*at("page.checkpoint", NTH), *at("page.committed", NTH)],
            "story": [*at("run.collected", RARE), *at("run.swept", (1, 1))],
            "leavers": at("run.swept", (1, 1)),
        },
    ),
)
