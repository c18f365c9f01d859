"""Stopping cleanly: what runs is handed back, and servers that replace one another under load fail no request and lose nothing."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.faults.conftest import all_ended, eventually, working
from tests.faults.server import Serving, start
from tests.flows.bench import Bench, Sandbox, connected

from tieline.access.api_keys import create_key
from tieline.cli.serve import handed_over
from tieline.errors import SetupError
from tieline.vault import LocalKeyRing, load_or_create

RESTARTS = 3
PAUSING = 200
ASK = b"GET /healthz HTTP/1.1\r\nHost: tieline.example\r\n\r\n"


async def test_a_run_whose_provider_hangs_is_handed_back_when_the_engine_stops(synced: Bench) -> None:
    synced.sandbox.spoil("/v1/people", delay_ms=120_000)
    (run,) = await synced.request("people")
    async with working(synced, grace=timedelta(seconds=0.2)) as until:
        await eventually(lambda: is_running(synced, run.id))
        until.set()
    schedule = await synced.schedule("people")
    assert (schedule.held_by, schedule.run_id, schedule.attempt) == (None, run.id, 0)
    assert schedule.next_run_at
    assert schedule.next_run_at <= synced.clock.now()
    synced.sandbox.heal()
    async with working(synced):
        await eventually(lambda: all_ended(synced))
    ended = await synced.run(run.id)
    assert (ended.status, ended.unchanged) == ("succeeded", 240)


async def is_running(made: Bench, run_id: str) -> bool:
    return (await made.run(run_id)).status == "running"


@pytest.mark.parametrize(
    ("environment", "given"),
    [({}, False), ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, False), ({"LISTEN_FDS": "x", "LISTEN_PID": "me"}, False)],
)
def test_what_is_handed_over_to_others_is_left_alone(environment: dict[str, str], given: bool) -> None:
    mine = {name: str(os.getpid()) if value == "me" else value for name, value in environment.items()}
    assert bool(handed_over(mine)) is given


def test_two_sockets_are_refused() -> None:
    with pytest.raises(SetupError, match="2 sockets were handed over"):
        handed_over({"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())})


@pytest.mark.slow
async def test_servers_that_replace_one_another_under_load_fail_no_request_and_lose_nothing(
    database_of_its_own: str, sandbox: Sandbox, place: Path
) -> None:
    keys = place / "keys-of-the-restarted.json"
    ring = load_or_create(keys, may_create=True)
    async with connected(database_of_its_own, ring, sandbox) as bench:
        key = await make_key(bench, ring)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            started = 0

            def serve() -> Serving:
                nonlocal started
                started += 1
                return start(
                    listener, place / f"said-{started}", environment(database_of_its_own, keys, place), "serve"
                )

            serving = [serve(), serve()]
            for one in serving:
                await one.until("Ctrl-C ends it")
            async with load(url, key, bench.connection.id) as answered:
                for _ in range(RESTARTS):
                    begun = answered.total()
                    serving.append(serve())
                    await serving[-1].until("Ctrl-C ends it")
                    assert await serving.pop(0).stop() == 0
                    await eventually(lambda begun=begun: more(answered, begun + 40))
            assert set(answered) == {200, 202}
            await eventually(lambda: all_ended(bench))
            for one in serving:
                assert await one.stop() == 0
        runs = await bench.runs()
        assert {run.status for run in runs} == {"succeeded"}
        assert {one.ran_generation >= one.generation for one in await bench.schedules()} == {True}


async def more(answered: Counter[int], count: int) -> bool:
    return answered.total() > count


async def make_key(bench: Bench, ring: LocalKeyRing) -> str:
    async with bench.parts.db.work(bench.org) as work:
        made = await create_key(work, ring.api_key_pepper, name="load", role="admin", now=bench.clock.now())
    return made.plain


def environment(url: str, keys: Path, place: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "PYTHONUTF8": "1",
        "TIELINE_DATABASE_URL": url,
        "TIELINE_DATA_DIR": str(place / "restarted"),
        "TIELINE_KEY_RING": str(keys),
        "TIELINE_ALLOW_PRIVATE_ADDRESSES": "127.0.0.1",
        "TIELINE_HEARTBEAT_SECONDS": "1",
    }


@asynccontextmanager
async def load(url: str, key: str, connection: str) -> AsyncIterator[Counter[int]]:
    """Four who ask all the time, two on connections that they keep and two on a new one for each request; their answers' statuses.

    They try nothing twice, though proxies would: whoever asks again within the drain is told that the line closes, and need not.
    """
    answered: Counter[int] = Counter()
    over = asyncio.Event()

    async def ask(keeps: bool) -> None:
        headers = {"X-API-Key": key} | ({} if keeps else {"Connection": "close"})
        async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
            while not over.is_set():
                answered[(await client.get("/v1/runs?limit=1")).status_code] += 1
                wish: dict[str, Any] = {"operation": "policies"}
                answered[(await client.post(f"/v1/connections/{connection}/sync", json=wish)).status_code] += 1

    async with asyncio.TaskGroup() as group:
        for keeps in (True, True, False, False):
            group.create_task(ask(keeps))
        try:
            yield answered
        finally:
            over.set()


@pytest.mark.slow
async def test_clients_whose_next_request_comes_as_the_drain_ends_get_their_answers(
    database_of_its_own: str, place: Path
) -> None:
    keys = place / "keys-of-the-drained.json"
    load_or_create(keys, may_create=True)
    arguments = ("serve", "--role", "api", "--drain", "0.1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over, answered = asyncio.Event(), Counter[str]()

        async def serve(number: int) -> Serving:
            started = start(
                listener, place / f"said-{number}", environment(database_of_its_own, keys, place), *arguments
            )
            await started.until("Ctrl-C ends it")
            return started

        serving = [await serve(0)]
        async with asyncio.TaskGroup() as group:
            for number in range(PAUSING):
                group.create_task(ask_now_and_then(listener.getsockname(), over, answered, keeps=number % 5 > 0))
            for number in range(1, 1 + RESTARTS):
                begun = answered.total()
                serving.append(await serve(number))
                await eventually(lambda begun=begun: more(answered, begun + 2 * PAUSING))
                assert await serving.pop(0).stop() == 0
            over.set()
        assert await serving.pop().stop() == 0
        assert set(answered) == {"answered"}


async def ask_now_and_then(
    address: tuple[str, int], over: asyncio.Event, answered: Counter[str], *, keeps: bool
) -> None:
    """Ask, and pause for about as long as a drain takes; whoever does not keep its line connects all the time.

    As proxies do, it looks at an idle line before it asks again, and asks in the same moment: a client that waits in between may find the
    line closed, whatever the server does, and has to ask twice (RFC 9112 §9.3.1).
    """
    loop, line = asyncio.get_running_loop(), None
    while not over.is_set():
        if line and has_ended(line):
            line = line.close()
        if line is None:
            line = socket.socket()
            line.setblocking(False)
            await loop.sock_connect(line, address)
        answer = b""
        try:
            line.send(ASK)
            while b"alive" not in answer:
                answer += await loop.sock_recv(line, 65_536) or b"alive, but silent"
        except ConnectionError as error:
            answer = repr(error).encode()
        answered["answered" if answer.startswith(b"HTTP/1.1 200 ") else answer.decode()] += 1
        if not keeps or b"connection: close" in answer or not answer.startswith(b"HTTP"):
            line = line.close()
        await asyncio.sleep(random.uniform(0.05, 0.6) if keeps else 0.05)
    if line:
        line.close()


def has_ended(line: socket.socket) -> bool:
    try:
        return not line.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False


async def test_a_server_that_was_told_to_stop_says_so_and_serves_on_until_the_last(
    database_of_its_own: str, sandbox: Sandbox, place: Path
) -> None:
    keys = place / "keys-of-the-stopped.json"
    ring = load_or_create(keys, may_create=True)
    async with connected(database_of_its_own, ring, sandbox) as bench:
        key, said = await make_key(bench, ring), place / "said-by-the-stopped"
        arguments = ("serve", "--port", "0", "--role", "api", "--drain", "30")
        serving = start(None, said, environment(database_of_its_own, keys, place), *arguments)
        await serving.until("Ctrl-C ends it")
        url = next(word.rstrip(";") for word in said.read_text().split() if word.startswith("http://"))
        async with httpx2.AsyncClient(base_url=url, headers={"X-API-Key": key}, trust_env=False, timeout=60) as client:
            assert (await client.get("/readyz")).status_code == 200
            serving.process.terminate()
            refused = await eventually(lambda: unready(client))
            assert (refused.status_code, refused.json()["slug"]) == (503, "stopping")
            assert refused.headers["connection"] == "close"
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/v1/runs")).status_code == 200
        os.kill(serving.process.pid or 0, signal.SIGTERM)  # a second time: enough is enough
        await asyncio.to_thread(serving.process.join, 60)
        assert serving.process.exitcode == 0


async def unready(client: httpx2.AsyncClient) -> httpx2.Response | None:
    answer = await client.get("/readyz")
    return answer if answer.status_code == 503 else None
