"""What telemetry costs a sync: taken out, as it is by default, and with an OpenTelemetry SDK that keeps every span.

    python benchmarks/telemetry.py [--people 4000] [--rounds 24]

The same operation, unchanged and so at its fastest, is read again and again, in the three ways in turn and in another order each round. What is
compared is the processor time of this process, so that the ratio holds on a busy machine. Then a scrape of `/metrics` is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))

from opentelemetry.trace import INVALID_SPAN
from tests.flows.bench import Bench, connected, start_sandbox
from tests.tracing import tracing

from tieline.flows.readings import Readings
from tieline.store.embedded import running
from tieline.store.migrate import migrate
from tieline.telemetry import expose
from tieline.vault import LocalKeyRing

OPERATION = "people"


def main() -> None:
    """Run the benchmark and print its table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--people", type=int, default=4_000)
    arguments.add_argument("--rounds", type=int, default=24)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="tieline-benchmark-") as folder, start_sandbox(given.people) as sandbox:
        Path(folder).chmod(0o711)
        with running(Path(folder) / "data", state_dir=Path(folder) / "state") as server:
            asyncio.run(_measure(server.url, sandbox, given.rounds))


async def _measure(url: str, sandbox: Any, rounds: int) -> None:
    await migrate(url)
    async with connected(url, LocalKeyRing.generate(), sandbox) as bench:
        await bench.drain()
        ways = {"taken out": _taken_out, "as it is": nullcontext, "with an SDK": tracing}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name in random.sample(sorted(ways), len(ways)):
                spent[name].append(await _sync(bench, ways[name]))
        _print(spent)
        await _scrape(bench)


async def _sync(bench: Bench, way: Any) -> float:
    with way():
        begun = time.process_time()
        run = (await bench.sync(OPERATION))[OPERATION]
        took = time.process_time() - begun
    assert run.status == "succeeded", run
    assert run.changed == run.created == 0
    return took


@contextmanager
def _taken_out() -> Iterator[None]:
    """Nothing is counted, timed or traced."""
    with ExitStack() as stack:
        for name in (
            "tieline.flows.sync.span",
            "tieline.flows.sync._watched",
            "tieline.vault.seal.measured",
        ):
            stack.enter_context(patch(name, _nothing))
        stack.enter_context(patch("tieline.sdk.watched.Watched.asking", lambda *_: nullcontext(lambda _status: None)))
        stack.enter_context(patch("tieline.sdk.watched.Watched.stood", lambda *_: None))
        yield


def _nothing(*_: Any, **__: Any) -> AbstractContextManager[Any]:
    return nullcontext(INVALID_SPAN)


async def _scrape(bench: Bench) -> None:
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        text = expose(await Readings(bench.parts, role="worker").look())
        took.append(time.perf_counter() - begun)
    print(
        f"a scrape: {statistics.median(took) * 1000:.1f} ms, {len(text.splitlines())} lines, {len(text) / 1000:.0f} kB"
    )


def _print(spent: dict[str, list[float]]) -> None:
    without = spent["taken out"]
    for name, took in spent.items():
        ratios = sorted(one / other for one, other in zip(took, without, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4]
        print(
            f"{name:<12} {statistics.median(took) * 1000:7.1f} ms CPU   "
            f"× {statistics.median(ratios):.3f} (half of the rounds within {low:.3f} to {high:.3f})"
        )


if __name__ == "__main__":
    main()
