"""What the leak scan shares: a watch over the log, the spans and the metrics, and the careless other side."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.canaries import Canary
from tests.leaks.careless import Careless
from tests.leaks.watching import Records, Watch
from tests.tracing import shown, tracing

from tieline import log
from tieline.telemetry import expose
from tieline.vault import LocalKeyRing


@pytest.fixture
def watch(ring: LocalKeyRing) -> Iterator[Watch]:
    """Watches the log at DEBUG, as it is written and, of our own loggers, as it is made, and every span; at the end nothing may have leaked."""
    made, stream, own = Watch(), io.StringIO(), logging.getLogger("tieline")
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level, own.level)
    kept = ring.reveal()
    material = [*kept["keys"].values(), *(one for name, one in kept.items() if name.endswith(("_key", "_pepper")))]
    made.canaries += [Canary("key ring", base64.b64decode(key)) for key in material]
    raw_records = Records(made)
    log.set_up("debug", stream)
    own.addHandler(raw_records)
    with tracing() as kept:
        yield made
    for span in kept.get_finished_spans():
        made.note(f"span {span.name}", shown(span))
    made.note("metrics", expose().decode())
    own.removeHandler(raw_records)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])
    made.note("log", stream.getvalue())
    leaks = made.leaks()
    assert not leaks, "\n".join(leaks)


@pytest.fixture
async def careless(watch: Watch) -> AsyncIterator[Careless]:
    """The careless other side."""
    serving = Careless(watch)
    server = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield serving
    server.close()
    for task in serving.tasks:
        task.cancel()
    await asyncio.gather(*serving.tasks)
    await serving.close()
