"""How long the server takes for each screen of the console, in an organization of some 100,000 entities.

    python benchmarks/console.py [--people 16000] [--rounds 30] [--data DIRECTORY]

It has `tieline demo` invent and read a company, starts `tieline serve` on what that left, signs in by a new member's link, and
opens every screen in turn, in another order each round. A page that does no more than answer (`/healthz`) is opened
between them: the ratio to it holds on a noisy machine. With `--data` an earlier company is used again.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx2

TIELINE = (sys.executable, "-m", "tieline")
PORT = 8791
FLOOR = "/healthz"
SCREENS = (
    "/",
    "/catalogue",
    "/catalogue/github",
    "/connect/sandbox",
    "/connections",
    "/connections/{conn}",
    "/runs",
    "/runs/{run}",
    "/entities",
    "/entities?kind=account",
    "/entities?kind=membership",
    "/entities?kind=account&search=ma",
    "/entities/{ent}",
    "/findings",
    "/findings?check=mfa-enabled",
    "/findings/{find}",
    "/controls",
    "/controls?as_of={today}",
    "/controls/{control}",
    "/evidence",
    "/evidence/{evid}",
    "/search?q=ma",
    "/access",
    "/audit",
    "/operator",
)
"""Every screen; what is in braces is the first one of its kind that a list links to."""

LISTS = {
    "conn": ("/connections", r"/connections/(conn_[a-z0-9]+)"),
    "run": ("/runs", r"/runs/(run_[a-z0-9]+)"),
    "ent": ("/entities?kind=account", r"/entities/(ent_[a-z0-9]+)"),
    "find": ("/findings?check=mfa-enabled", r"/findings/(find_[a-z0-9]+)"),
    "control": ("/controls", r"/controls/(soc2(?::|%3A)CC6\.1)"),
    "evid": ("/evidence", r"/evidence/(evid_[a-z0-9]+)"),
}


@dataclass
class Timed:
    """What the visits to one screen took, in milliseconds, and how large it is, in bytes."""

    path: str
    bytes: int = 0
    took: list[float] = field(default_factory=list)

    @property
    def p95(self) -> float:
        """The time within which 95 of 100 visits were answered."""
        return sorted(self.took)[max(0, round(len(self.took) * 0.95) - 1)]


def main() -> None:
    """Run the benchmark and print its table."""
    asked = _arguments()
    place = asked.data or _invent(asked.people)
    token = _invite(place)
    with _serving(place) as address, httpx2.Client(base_url=address, trust_env=False, timeout=60) as client:
        _sign_in(client, token)
        screens = [Timed(path) for path in _screens(client)]
        floor = Timed(FLOOR)
        for one in screens:  # once each without counting: what is compiled at the first visit is not what is asked
            one.bytes = len(_open(client, one.path).content)
        for _ in range(asked.rounds):
            for one in random.sample(screens, len(screens)):
                for visited in (floor, one):
                    began = time.perf_counter()
                    _open(client, visited.path)
                    visited.took.append((time.perf_counter() - began) * 1000)
        _print(screens, floor)
    print(f"\nThe company is kept in {place}: --data {place} uses it again.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--people", type=int, default=16_000, help="the company's size; there are about six entities to a person"
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--data", type=Path, help="the data directory of an earlier run")
    return parser.parse_args()


def _invent(people: int) -> Path:
    """Invent and read a company; the data directory that holds it."""
    place = Path(tempfile.mkdtemp(prefix="tieline-console-"))
    place.chmod(0o711)  # run as root, PostgreSQL works as another account, which must get through
    command = [*TIELINE, "demo", "--people", str(people), "--data-dir", str(place / "data")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return place / "data"


@contextmanager
def _serving(place: Path) -> Iterator[str]:
    """The address of a server over the company's data."""
    address = f"http://127.0.0.1:{PORT}"
    command = [*TIELINE, "serve", "--role", "api", "--port", str(PORT)]
    with subprocess.Popen(
        command, env=_settings(place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(address)
            yield address
        finally:
            process.terminate()


def _wait_for(address: str) -> None:
    for _ in range(300):
        try:
            httpx2.get(address + FLOOR, trust_env=False).raise_for_status()
        except httpx2.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("The server does not answer.")


def _invite(place: Path) -> str:
    """A link by which a new member signs in."""
    email = f"benchmark-{time.time_ns()}@example.com"
    command = [*TIELINE, "members", "invite", email, "--role", "operator", "--json"]
    answer = subprocess.run(command, env=_settings(place), check=True, capture_output=True, text=True).stdout
    found = re.search(r"http\S+/sign-in/link/([^\s\"]+)", answer)
    assert found, "the command shows a link"
    return found[1]


def _settings(place: Path) -> dict[str, str]:
    return os.environ | {"TIELINE_DATA_DIR": str(place), "TIELINE_PUBLIC_URL": f"http://127.0.0.1:{PORT}"}


def _sign_in(client: httpx2.Client, token: str) -> None:
    client.get(f"/sign-in/link/{token}").raise_for_status()
    entered = client.post("/sign-in/link", data={"token": token}, headers={"Sec-Fetch-Site": "same-origin"})
    assert entered.status_code == 303, entered.text


def _screens(client: httpx2.Client) -> list[str]:
    """The addresses of the screens, with ids of things that are there."""
    ids = {"today": datetime.now(UTC).date().isoformat()}
    for name, (path, pattern) in LISTS.items():
        found = re.search(pattern, _open(client, path).text)
        if found is None:
            raise SystemExit(f"{path} links to nothing like {pattern}")
        ids[name] = found[1]
    return [path.format(**ids) for path in SCREENS]


def _open(client: httpx2.Client, path: str) -> httpx2.Response:
    answer = client.get(path, headers={"Accept": "text/html"})
    if answer.status_code != 200:
        raise SystemExit(f"{path} answered {answer.status_code}")
    return answer


def _print(screens: list[Timed], floor: Timed) -> None:
    middle = statistics.median(floor.took)
    print(f"{'screen':58}{'KB':>7}{'median':>9}{'p95':>9}{'× floor':>9}")
    for one in [floor, *sorted(screens, key=lambda one: -one.p95)]:
        half = statistics.median(one.took)
        print(f"{one.path:58}{one.bytes / 1024:7.1f}{half:8.1f} {one.p95:8.1f} {half / middle:8.1f}")


if __name__ == "__main__":
    main()
