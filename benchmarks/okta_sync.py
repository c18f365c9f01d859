"""How fast people are read from Okta's emulator: a first sync, then one in which nothing changed.

    python benchmarks/okta_sync.py [--users 20000]

Each is set beside a reading of the same pages that stores nothing, in the same run, so that the ratio holds on a noisy machine. The
stages are timed within the process; what PostgreSQL itself uses is read from the operating system.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.emulators.emulate import OKTA_TOKEN, Emulated, start_emulate

from tieline.app import Tieline, running
from tieline.flows import sync as flow
from tieline.flows.connect import Attempt, connect
from tieline.flows.credentials import Held
from tieline.flows.reach import parse_credential, parse_options, reach
from tieline.settings import Settings, read_settings
from tieline.store import runs, schedules

STAGES = ("transform", "compare", "assess", "load", "conclude")


async def main() -> None:
    """Run the benchmark and print its table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--users", type=int, default=20_000)
    users = arguments.parse_args().users
    settings = _settings()
    with start_emulate(users) as emulated:
        async with running(settings) as tieline:
            await _measure(tieline, emulated)


def _settings() -> Settings:
    """A data directory of its own, which run as root another account must be able to pass through."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o711)
    return read_settings(data_dir=place / "data", state_dir=place / "state", allow_private_addresses="127.0.0.1")


async def _measure(tieline: Tieline, emulated: Emulated) -> None:
    fetch = await _fetch_only(tieline, emulated)
    options, credential = {"org_url": emulated.okta_url}, {"api_token": OKTA_TOKEN}
    org = tieline.organization.id
    connection = await connect(tieline.parts, org, Attempt("okta", options, credential))
    async with tieline.parts.db.work(org) as work:
        for schedule in await schedules.list_schedules(work, connection.id):
            if schedule.operation != "users":
                await schedules.set_enabled(
                    work, connection.id, False, operation=schedule.operation, now=tieline.parts.clock.now()
                )
    first = await _timed_run(tieline, org, connection.id)
    await flow.request_sync(tieline.parts, org, connection.id, operation="users")
    again = await _timed_run(tieline, org, connection.id)
    _print(fetch, first, again)


async def _fetch_only(tieline: Tieline, emulated: Emulated) -> float:
    """Seconds to read every page and store nothing."""
    provider = tieline.parts.catalog.provider("okta")
    options = parse_options(provider, {"org_url": emulated.okta_url})
    auth = provider.mode("api_key")
    held = Held(auth, parse_credential(auth, {"api_token": OKTA_TOKEN}))
    operation = tieline.parts.catalog.operation("okta", "users")
    began = time.perf_counter()
    async with reach(tieline.parts, tieline.organization.id, provider, options, held) as opened:
        async for _ in operation.read(opened.context()):
            pass
    return time.perf_counter() - began


async def _timed_run(tieline: Tieline, org: str, connection: str) -> dict[str, Any]:
    """Carry out the newest run and say how long it and its stages took, in seconds."""
    spent: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    with _timing(spent):
        cpu, server = time.process_time(), _postgres_cpu()
        async with _worker(tieline):
            run = await _finished(tieline, org, connection)
        cpu, server = time.process_time() - cpu, _postgres_cpu() - server
    seconds = (run.finished_at - run.started_at).total_seconds()
    return {"run": run, "seconds": seconds, "stages": spent, "cpu": cpu, "server": server}


@asynccontextmanager
async def _worker(tieline: Tieline) -> AsyncIterator[None]:
    stop = asyncio.Event()
    worker = asyncio.create_task(tieline.engine().run(until=stop))
    yield
    stop.set()
    await worker


async def _finished(tieline: Tieline, org: str, connection: str) -> runs.Run:
    while True:
        await asyncio.sleep(0.1)
        async with tieline.parts.db.work(org) as work:
            schedule = await schedules.get_schedule(work, connection, "users")
            run = await runs.last_finished(work, connection, "users")
        if run and schedule and schedule.run_id is None:
            return run


class _timing:  # noqa: N801  reads as a statement
    """Adds up the time spent in each stage that the sync journey calls, by wrapping the names that it calls them by."""

    def __init__(self, spent: dict[str, float]) -> None:
        self.spent = spent
        self.before = {name: getattr(flow, name) for name in STAGES}

    def __enter__(self) -> None:
        for name, stage in self.before.items():
            setattr(flow, name, self._timed(name, stage))

    def __exit__(self, *_: object) -> None:
        for name, stage in self.before.items():
            setattr(flow, name, stage)

    def _timed(self, name: str, stage: Any) -> Any:
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return await stage(*args, **kwargs)
            finally:
                self.spent[name] += time.perf_counter() - began

        def called(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return stage(*args, **kwargs)
            finally:
                self.spent[name] += time.perf_counter() - began

        return awaited if asyncio.iscoroutinefunction(stage) else called


def _postgres_cpu() -> float:
    """CPU seconds of every PostgreSQL process on this machine, where /proc tells."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        name, _, rest = text.partition(") ")
        if "(postgres" in name:
            fields = rest.split()
            total += int(fields[11]) + int(fields[12])
    return total / 100


def _print(fetch: float, first: dict[str, Any], again: dict[str, Any]) -> None:
    count = first["run"].records
    print(f"{'':24}{'seconds':>10}{'records/s':>12}{'× fetching':>12}")
    for name, seconds in (
        ("fetch only", fetch),
        ("first sync", first["seconds"]),
        ("nothing changed", again["seconds"]),
    ):
        print(f"{name:24}{seconds:10.2f}{count / seconds:12,.0f}{seconds / fetch:12.2f}")
    print(f"\n{'µs a record':24}{'first':>10}{'again':>12}")
    for name in STAGES:
        print(f"{name:24}{first['stages'][name] / count * 1e6:10.1f}{again['stages'][name] / count * 1e6:12.1f}")
    for name in ("cpu", "server"):
        print(f"{name + ' (CPU)':24}{first[name] / count * 1e6:10.1f}{again[name] / count * 1e6:12.1f}")
    for name in ("created", "changed", "unchanged", "findings_opened", "evidence"):
        print(f"{name:24}{getattr(first['run'], name):10,}{getattr(again['run'], name):12,}")


if __name__ == "__main__":
    asyncio.run(main())
