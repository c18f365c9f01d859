"""What is read: findings of a vulnerability scanner, about 1.5 KB of JSON each, the same ones for everybody.

Every hundredth has another revision in another version of the list. When they were found follows from the day on which the list is
served, so that as many are late on every day.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any

import orjson

CHANGED_EVERY = 100
_SHAPES = 97
_ECOSYSTEMS = ("npm", "pypi", "maven", "deb", "golang", "rubygems")
_TEAMS = ("platform", "payments", "identity", "storefront", "data", "mobile")
_TEXT = (
    "an attacker who can reach the service may send a crafted request that the parser reads past its end so that memory of other "
    "requests is told in the answer or the process ends the affected versions do not check the length before they copy"
)
_WORDS = _TEXT.split()


def revision(number: int, version: int) -> int:
    """The revision of a finding in a version of the list."""
    return version if number % CHANGED_EVERY == 0 else 0


@lru_cache(maxsize=120_000)
def encoded(number: int, revised: int) -> bytes:
    """A finding as JSON."""
    return orjson.dumps(_finding(number, revised))


def _finding(number: int, revised: int) -> dict[str, Any]:
    shape = _shape(number % _SHAPES)
    found = _today() - timedelta(days=number * 7 % 120, seconds=number % 86_400)
    cve = f"CVE-{2021 + number % 5}-{10_000 + number % 45_000}"
    return {
        "id": f"fnd-{number:08x}-{number * 2_654_435_761 % 2**32:08x}",
        "kind": "vulnerability",
        "title": f"{cve}: {shape['title']} (revision {revised})",
        "description": shape["description"],
        "severity": shape["severity"],
        "state": "open" if number % 5 < 3 else "fixed" if number % 20 != 3 else "ignored",
        "cve": {
            "id": cve,
            "cvss": {"score": 1 + number % 90 / 10, "vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:L"},
        },
        "package": shape["package"] | {"version": f"{number % 9}.{number % 23}.{revised}"},
        "asset": {
            "id": f"ast-{number % 4_000:06}",
            "name": f"{shape['team']}-api-{number % 4_000:04}",
            "type": "container",
            "digest": f"sha256:{number * 11_400_714_819_323_198_485 % 2**64:016x}{number:048x}",
            "tags": [shape["team"], "production", f"eu-west-{number % 3 + 1}"],
        },
        "exploit": {"known": number % 17 == 0, "epss": number % 1_000 / 1_000, "source": None},
        "first_seen": found.isoformat(),
        "last_changed": (found + timedelta(days=revised)).isoformat(),
        "assigned_to": None,
        "remediation": shape["remediation"],
        "references": [f"https://advisories.example/{cve.lower()}", f"https://tracker.example/issues/{number}"],
        "links": {
            "self": f"https://scanner.example/findings/{number}",
            "html": f"https://scanner.example/ui/f/{number}",
        },
    }


@lru_cache(maxsize=_SHAPES)
def _shape(number: int) -> dict[str, Any]:
    random = Random(number)
    words = lambda count: " ".join(random.choices(_WORDS, k=count))  # noqa: E731
    severities, weights = ("critical", "high", "medium", "low"), (5, 20, 45, 30)
    return {
        "title": f"{random.choice(('Out-of-bounds read', 'Injection', 'Path traversal', 'Denial of service'))} in {words(2)}",
        "description": words(70).capitalize() + ".",
        "severity": random.choices(severities, weights)[0],
        "package": {
            "name": f"lib{words(1)}-{number}",
            "ecosystem": random.choice(_ECOSYSTEMS),
            "fixed_in": f"{number}.1.0",
        },
        "team": random.choice(_TEAMS),
        "remediation": f"Upgrade to the fixed version; {words(14)}.",
    }


@lru_cache(maxsize=1)
def _today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
