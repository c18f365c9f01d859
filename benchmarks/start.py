"""How long it takes to begin: `tieline --help`, and `tieline serve` on a data directory that is there.

python benchmarks/start.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import httpx2
from rig import machine
from rig.report import Report, at_most, spread

TIELINE = (sys.executable, "-m", "tieline")
PATIENCE = 120


def main() -> None:
    """Run the benchmark and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="tieline-start-"))
    place.chmod(0o711)  # run as root, PostgreSQL works as another account, which must get through
    try:
        _serve(place)  # the first time makes the database
        help_, ready = [], []
        for _ in range(asked.rounds):
            help_.append(_help())
            ready.append(_serve(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    goals = [
        at_most("`tieline --help`: CPU", spread(help_), 0.3, "under 0.3 s", unit=" s"),
        at_most("`tieline serve`: ready on an existing data directory", spread(ready), 3, "under 3 s", unit=" s"),
    ]
    Report("How long it takes to begin.", machine.describe(), goals).tell(asked.json)


def _help() -> float:
    """Seconds of the processor."""
    before = _children()
    subprocess.run([*TIELINE, "--help"], check=True, stdout=subprocess.DEVNULL, env=_environment())
    return _children() - before


def _serve(place: Path) -> float:
    """Seconds until the server answers that it is ready."""
    began = time.perf_counter()
    command = [*TIELINE, "serve", "--port", "0"]
    environment = _environment() | {
        "TIELINE_DATA_DIR": str(place / "data"),
        "TIELINE_STATE_DIR": str(place / "state"),
    }
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            httpx2.get(f"{_address(process)}/readyz", trust_env=False).raise_for_status()
            return time.perf_counter() - began
        finally:
            process.terminate()


def _address(process: subprocess.Popen[str]) -> str:
    """Where the server says that it listens."""
    told = ""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if select.select([process.stdout], [], [], 1)[0]:
            told += process.stdout.readline()
            if found := re.search(r"http://127\.0\.0\.1:\d+", told):
                return found[0]
    raise SystemExit(f"The server does not say where it listens:\n{told}")


def _environment() -> dict[str, str]:
    compiled = "PYTHONDONTWRITEBYTECODE"  # what is installed is compiled, and once only
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIELINE_") and name != compiled}
    return kept | {
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
        "PYTHONUNBUFFERED": "1",
    }


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
