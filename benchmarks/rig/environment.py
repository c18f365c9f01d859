"""Environments of their own for contestants that Tieline does not depend on, kept in a cache directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tieline-benchmarks"


class CannotInstallError(Exception):
    """An environment could not be made; its message says why."""


def python_with(packages: Sequence[str]) -> str:
    """The Python of an environment that holds these pinned packages, made if it is not there yet; raises `CannotInstallError`."""
    place = CACHE / hashlib.sha256("\n".join(sorted(packages)).encode()).hexdigest()[:12]
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        print(f"Installing {', '.join(packages)} into {place} …", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        done = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *packages],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            raise CannotInstallError((done.stderr.strip().splitlines() or ["pip failed"])[-1])
        (place / "complete").touch()
    return str(python)
