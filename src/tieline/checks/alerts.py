"""Alerts: the serious ones are dealt with before they grow old."""

from __future__ import annotations

from datetime import datetime

from tieline.checks.unknowns import is_within
from tieline.sdk import Alert, check


@check(
    Alert,
    severity="high",
    controls=["soc2:CC7.2", "soc2:CC7.3", "iso27001:A.5.25", "iso27001:A.8.16"],
    when=lambda alert: alert.severity in ("critical", "high") and alert.status != "dismissed",
)
def serious_alert_resolved_in_time(alert: Alert, now: datetime) -> bool | None:
    """The critical or high alert is resolved, or at most 7 days old.

    Look into the alert, deal with its cause and resolve it where it was raised. If it is a false one, dismiss it there with
    the reason.
    """
    if alert.status == "resolved":
        return True
    recent = is_within(alert.first_seen_at, now, days=7)
    return recent if alert.status == "open" else recent or None
