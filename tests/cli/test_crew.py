"""Several worker processes under one parent: begun anew when they die, stopped together, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tieline.cli.crew import Patience, work_together
from tieline.errors import SetupError

WORKS = "import os, pathlib, signal, sys; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); "
UNTIL_TOLD = WORKS + "signal.sigwait([signal.SIGTERM])"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WORKS + "sys.stdin.read(); signal.pause()"
QUICK = Patience(most=3, first_pause=0.01, grace=0.2)


@asynccontextmanager
async def crew(folder: Path, program: str, patience: Patience = QUICK) -> AsyncIterator[asyncio.Event]:
    """Two children that carry out a program."""
    until = asyncio.Event()
    command = [
        sys.executable,
        "-S",
        "-c",
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); " + program,
        str(folder),
    ]
    task = asyncio.create_task(work_together([command] * 2, until=until, patience=patience))
    try:
        yield until
    finally:
        until.set()
        await task


async def started(folder: Path, count: int) -> list[int]:
    """The children that have started so far, when there were so many."""
    while len(found := [int(name) for name in os.listdir(folder)]) < count:  # noqa: PTH208
        await asyncio.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_that_dies_is_begun_anew_and_all_are_stopped_together(tmp_path: Path) -> None:
    async with crew(tmp_path, UNTIL_TOLD):
        first = await started(tmp_path, 2)
        os.kill(first[0], signal.SIGKILL)
        children = await started(tmp_path, 3)
        assert [is_alive(pid) for pid in children].count(True) == 2
    assert not any(is_alive(pid) for pid in children)


async def test_a_child_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    async with crew(tmp_path, STUBBORN):
        children = await started(tmp_path, 2)
    assert not any(is_alive(pid) for pid in children)


async def test_a_child_that_ends_at_once_again_and_again_ends_the_crew_and_is_told_about(tmp_path: Path) -> None:
    spoils = (
        "sys.exit(9) if list(pathlib.Path(sys.argv[1]).parent.glob('spoilt')) else signal.sigwait([signal.SIGTERM])"
    )
    folder = tmp_path / "children"
    folder.mkdir()
    with pytest.raises(SetupError, match="3 times in a row: exit code 9"):  # noqa: PT012
        async with crew(folder, WORKS + spoils):
            first = await started(folder, 2)
            (tmp_path / "spoilt").touch()
            os.kill(first[0], signal.SIGKILL)
            while is_alive(first[1]):
                await asyncio.sleep(0.02)


async def test_a_child_that_worked_for_a_while_is_begun_anew_however_often_it_dies(tmp_path: Path) -> None:
    async with crew(tmp_path, UNTIL_TOLD, Patience(early=0, most=1, first_pause=0.01)):
        for count in range(2, 6):
            children = await started(tmp_path, count)
            os.kill(next(pid for pid in children if is_alive(pid)), signal.SIGKILL)
        await started(tmp_path, 6)


def eventually(check: Callable[[], bool]) -> None:
    while not check():
        time.sleep(0.2)


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="it looks for children in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_several_worker_processes_carry_out_what_is_due_and_end_with_their_parent(
    tieline: Any, company: Any, number: int
) -> None:
    working = tieline.start("worker", "--processes", "2")
    working.until(lambda text: "2 worker processes" in text)
    company.connect(tieline)
    eventually(lambda: {run["status"] for run in tieline("runs", "--json").json["items"]} == {"succeeded"})
    children = children_of(working.pid)
    assert len(children) == 2
    working.kill(number)
    assert working.wait().code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    eventually(lambda: not any(is_alive(pid) for pid in children))
