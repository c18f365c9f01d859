"""Vulnerabilities: fixed within the time that their severity allows. One that was dismissed is someone's decision, not late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tieline.checks.unknowns import is_within
from tieline.sdk import Severity, Vulnerability, check

_CONTROLS = ("soc2:CC7.1", "iso27001:A.8.8")


def _stands(severity: Severity) -> Callable[[Vulnerability], bool]:
    return lambda vulnerability: vulnerability.severity == severity and vulnerability.status != "dismissed"


def _in_time(vulnerability: Vulnerability, now: datetime, *, days: int) -> bool | None:
    """Whether it is fixed or still has time; when its state is not told, only an old one is in doubt."""
    if vulnerability.status == "fixed":
        return True
    recent = is_within(vulnerability.found_at, now, days=days)
    return recent if vulnerability.status == "open" else recent or None


@check(Vulnerability, severity="critical", controls=_CONTROLS, when=_stands("critical"))
def critical_vulnerability_fixed_in_time(vulnerability: Vulnerability, now: datetime) -> bool | None:
    """The critical vulnerability is fixed, or known for 30 days at most.

    Move to the fixed version now. If there is none, take the affected part out of reach or switch it off; if it cannot be
    exploited here, dismiss it at its source with the reason.
    """
    return _in_time(vulnerability, now, days=30)


@check(Vulnerability, severity="high", controls=_CONTROLS, when=_stands("high"))
def high_vulnerability_fixed_in_time(vulnerability: Vulnerability, now: datetime) -> bool | None:
    """The high vulnerability is fixed, or known for 60 days at most.

    Move to the fixed version. If there is none, or it cannot be exploited here, record what protects you meanwhile and
    dismiss it at its source with that reason.
    """
    return _in_time(vulnerability, now, days=60)


@check(Vulnerability, severity="medium", controls=_CONTROLS, when=_stands("medium"))
def medium_vulnerability_fixed_in_time(vulnerability: Vulnerability, now: datetime) -> bool | None:
    """The medium vulnerability is fixed, or known for 90 days at most.

    Move to the fixed version with the next round of updates. If that cannot be, accept the risk and dismiss it at its
    source with the reason.
    """
    return _in_time(vulnerability, now, days=90)
