"""The sandbox as a process beside this one, for the demonstration; it ends when this process does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from tieline.errors import SetupError


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that answers."""

    url: str
    token: str = field(repr=False)

    def tell_story(self) -> list[str]:
        """Let the day's changes happen at the company; a sentence on each."""
        request = Request(  # noqa: S310  our own process's address
            f"{self.url}/_sandbox/story", data=b"{}", headers={"X-Sandbox-Control": self.token}, method="POST"
        )
        with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:  # loopback never goes by a proxy
            told: dict[str, Any] = json.load(answer)
        return list(told["sentences"])


@contextmanager
def sandbox(people: int) -> Iterator[Sandbox]:
    """Start a sandbox with so many people; it is ended with the block. Raises `SetupError`."""
    command = [sys.executable, "-m", "tieline.providers.sandbox", "--until-stdin-closes", "--people", str(people)]
    process = subprocess.Popen(  # noqa: S603  our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise SetupError(
                "The sandbox did not start", advice="Run `python -m tieline.providers.sandbox` to see why."
            )
        said = json.loads(line)
        yield Sandbox(said["url"], said["token"])
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
