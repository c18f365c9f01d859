"""Words: how states, times and numbers are said to people, and which tone a state has. A tone is never told by colour alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from markupsafe import Markup

TONES = {
    **dict.fromkeys(
        ("active", "succeeded", "resolved", "supports", "supported", "pass", "connected", "present", "alive"), "good"
    ),
    **dict.fromkeys(
        ("degraded", "partial", "held", "expired", "paused", "suspended", "mixed", "medium", "invited"), "warn"
    ),
    **dict.fromkeys(
        (
            "error",
            "failed",
            "needs_reconnect",
            "open",
            "contradicts",
            "contradicted",
            "fail",
            "critical",
            "high",
            "revoked",
            "silent",
        ),
        "bad",
    ),
    **dict.fromkeys(("queued", "pending", "validating", "running"), "wait"),
}
"""The tone of a state; one that is not here is `quiet`."""

_WORDS = {
    "ai": "AI",
    "no-evidence": "No evidence",
    "needs_reconnect": "Needs reconnect",
    "soc2": "SOC 2",
    "iso27001": "ISO 27001",
    "oidc": "Single sign-on",
    "link": "Sign-in link",
    "mfa": "MFA",
    "mfa_required": "MFA required",
    "url": "URL",
    "cve": "CVE",
}
_STEPS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


def word(state: str) -> str:
    """A state in words: `needs_reconnect` is "Needs reconnect"."""
    return _WORDS.get(state, state.replace("_", " ").replace("-", " ").capitalize())


def tone(state: str) -> str:
    """`good`, `warn`, `bad`, `wait` or `quiet`."""
    return TONES.get(state, "quiet")


def number(value: float) -> str:
    """A number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 run", "3 runs"."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def ago(at: datetime, now: datetime) -> str:
    """How long ago, or how long until, in its largest unit: "3 hours ago", "in 2 days"."""
    gap = abs(now - at)
    for step, name in _STEPS:
        if gap >= step:
            told = counted(gap // step, name)
            return f"in {told}" if at > now else f"{told} ago"
    return "in a moment" if at > now else "just now"


def every(period: timedelta) -> str:
    """How often, in words: "every 6 hours"."""
    for step, name in _STEPS:
        if period >= step and not period % step:
            count = period // step
            return f"every {name}" if count == 1 else f"every {counted(count, name)}"
    return f"every {counted(int(period.total_seconds()), 'second')}"


def lasting(seconds: float) -> str:
    """How long something took: "4.2 s", "3 min 20 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def when(value: datetime | str | None, now: datetime, missing: str = "never") -> Markup:
    """A time element: how long ago for the eye, the exact time on it."""
    if value is None:
        return Markup('<span class="quiet">{}</span>').format(missing)
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    exact = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(timespec="seconds"), f"{exact:%Y-%m-%d %H:%M:%S} UTC", ago(exact, now)
    )


def browser(user_agent: str) -> str:
    """A browser by name, from what it says of itself: "Firefox on Windows". Only for a person to know their own by."""
    names = ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari")
    systems = ("iPhone", "iPad", "Android", "Windows", "Macintosh", "CrOS", "Linux")
    name = next((name for sign, name in names if sign in user_agent), user_agent[:40] or "A browser")
    system = next((one for one in systems if one in user_agent), "")
    return f"{name} on {system.replace('Macintosh', 'macOS').replace('CrOS', 'ChromeOS')}" if system else name
