"""The machine: its words, and what a process has used of it, as Linux tells in /proc."""

from __future__ import annotations

import os
import platform
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def describe(postgres: str | None = None) -> str:
    """The machine in words, with the load that it bore when this was asked."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in (_PROC / "cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    cores = os.cpu_count() or 1
    state = (
        "otherwise idle" if load < 0.3 * cores else "with some other work" if load < cores else "busy with other work"
    )
    beside = f", PostgreSQL {postgres} on the same machine" if postgres else ""
    return (
        f"a virtual machine with {cores} cores ({model}) and {memory:.0f} GB, Python {platform.python_version()}{beside}; "
        f"{state} (load {load:.1f})"
    )


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and all that came from it, those included that have ended and were waited for."""
    children = _children()
    waiting, spent = [pid], 0.0
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, [])
        fields = _stat(one)
        spent += sum(int(fields[place]) for place in (11, 12, 13, 14)) / TICK if fields else 0.0
    return spent


def parent_of(pid: int) -> int:
    """The process that started this one."""
    return int(_stat(pid)[1])


def peak_memory(pid: int) -> int:
    """The most that a process has held in memory, in bytes."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for place in _PROC.glob("[0-9]*"):
        if fields := _stat(int(place.name)):
            found.setdefault(int(fields[1]), []).append(int(place.name))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold anything; none once the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
