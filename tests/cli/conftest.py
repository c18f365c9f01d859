"""What the tests of the command share: a quick way to run it for real, a database of its own, and the sandbox to connect."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener
from uuid import uuid4

import asyncpg
import pytest

PATIENCE = 60


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it wrote, which must be one JSON document."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The problem that it told, as the last line of standard error."""
        told: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return told


@dataclass
class Started:
    """A command under way."""

    folder: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._await("pid"))

    def wait(self) -> Ended:
        """Wait for its end."""
        code = int(self._await("code"))
        return Ended(code, (self.folder / "stdout").read_text(), (self.folder / "stderr").read_text())

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def until(self, ready: Callable[[str], bool], stream: str = "stdout") -> str:
        """Wait until what it wrote is as asked."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not (self.folder / "code").exists():
            path = self.folder / stream
            if path.exists() and ready(path.read_text()):
                return path.read_text()
            time.sleep(0.02)
        raise AssertionError([self.folder.joinpath(one).read_text() for one in ("stdout", "stderr")])

    def _await(self, name: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while not (self.folder / name).exists():
            if time.monotonic() > deadline:
                raise AssertionError(f"the command has not come to its {name}")
            time.sleep(0.01)
        return (self.folder / name).read_text()


@dataclass(frozen=True)
class Tieline:
    """The command, in a place of its own: a data directory, a database and settings."""

    forks: subprocess.Popen[str]
    folder: Path
    environment: dict[str, str]
    org: str | None = None

    def __call__(self, *arguments: str, stdin: str | bytes = "", **settings: str) -> Ended:
        """Run it to its end; `settings` are environment variables, an empty one unset."""
        return self.start(*arguments, stdin=stdin, **settings).wait()

    def start(self, *arguments: str, stdin: str | bytes = "", **settings: str) -> Started:
        """Run it beside the test."""
        folder = self.folder / f"command-{uuid4().hex[:12]}"
        folder.mkdir()
        (folder / "stdin").write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        environment = {name: value for name, value in (self.environment | settings).items() if value}
        chosen = ["--org", self.org, *arguments] if self.org else list(arguments)
        request = {"folder": str(folder), "arguments": chosen, "environment": environment}
        assert self.forks.stdin
        self.forks.stdin.write(json.dumps(request) + "\n")
        self.forks.stdin.flush()
        return Started(folder)

    def within(self, org: str) -> Tieline:
        """The same, in another organization."""
        return Tieline(self.forks, self.folder, self.environment, org)


@dataclass
class Company:
    """A sandbox that answers."""

    process: subprocess.Popen[bytes]
    url: str
    token: str = field(repr=False)

    def connect(self, tieline: Tieline, *arguments: str) -> Ended:
        """Connect it."""
        options = ("--option", f"base_url={self.url}", "--credential", "token=-")
        return tieline("connect", "sandbox", *options, *arguments, stdin=self.token + "\n")

    def fault(self, **rule: Any) -> None:
        """Put one rule in force."""
        self.control("faults", {"rules": [rule]})

    def control(self, name: str, body: dict[str, Any] | None = None) -> Any:
        """Move or spoil it."""
        headers = {"X-Sandbox-Control": self.token}
        request = Request(f"{self.url}/_sandbox/{name}", json.dumps(body or {}).encode(), headers, method="POST")
        with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def forks(place: Path) -> Iterator[subprocess.Popen[str]]:
    """The process that commands are forked from."""
    command = [sys.executable, str(Path(__file__).with_name("forks.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=place) as process:
        yield process
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=60)


@pytest.fixture(scope="session")
def environment(place: Path, server: str, template: str) -> dict[str, str]:
    """Settings over a database and a data directory that the tests of the command have for themselves."""
    name = f"cli_{uuid4().hex[:12]}"
    head, _, query = server.partition("?")
    asyncio.run(_create(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ}
    return kept | {
        "PYTHONUTF8": "1",
        "TIELINE_DATABASE_URL": f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else ""),
        "TIELINE_DATA_DIR": str(place / "cli"),
        "TIELINE_STATE_DIR": str(place / "state"),
        "TIELINE_ALLOW_PRIVATE_ADDRESSES": "127.0.0.1",
        "TIELINE_HEARTBEAT_SECONDS": "1",
    }


@pytest.fixture(scope="session")
def commands(forks: subprocess.Popen[str], place: Path, environment: dict[str, str]) -> Tieline:
    """The command, in the default organization."""
    folder = place / "commands"
    folder.mkdir()
    return Tieline(forks, folder, environment)


@pytest.fixture
def tieline(commands: Tieline) -> Tieline:
    """The command, in an organization that only this test has."""
    slug = f"org-{uuid4().hex[:12]}"
    made = commands("orgs", "create", slug)
    assert made.code == 0, made.err
    return commands.within(slug)


@pytest.fixture(scope="session")
def company() -> Iterator[Company]:
    """A small sandbox that nothing is wrong with."""
    yield from _run_sandbox()


@pytest.fixture
def faulty() -> Iterator[Company]:
    """A small sandbox that this test may spoil."""
    yield from _run_sandbox()


@pytest.fixture(scope="session")
def synced(commands: Tieline, company: Company) -> Tieline:
    """The command in an organization whose one connection has been read; tests only look at it."""
    assert commands("orgs", "create", "synced").code == 0
    within = commands.within("synced")
    connected = company.connect(within, "--json")
    assert connected.code == 0, connected.err
    ended = within("sync", connected.json["id"], "--wait")
    assert ended.code == 0, ended.err + ended.out
    return within


def _run_sandbox() -> Iterator[Company]:
    command = [sys.executable, "-m", "tieline.providers.sandbox", "--until-stdin-closes", "--people", "60"]
    with subprocess.Popen(
        [*command, "--rate-limit", "100000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdin
        said = json.loads(process.stdout.readline())
        yield Company(process, said["url"], said["token"])
        process.stdin.close()
        process.wait(timeout=30)


async def _create(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
