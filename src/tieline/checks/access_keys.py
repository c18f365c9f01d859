"""Access keys: they are renewed, and removed when nobody uses them."""

from __future__ import annotations

from datetime import datetime

from tieline.checks.unknowns import is_within
from tieline.sdk import AccessKey, check


def _may_work(key: AccessKey) -> bool:
    return key.active is not False


def has_expired(key: AccessKey, now: datetime) -> bool:
    """Whether the key has stopped working by itself."""
    return key.expires_at is not None and key.expires_at <= now


@check(AccessKey, severity="medium", controls=["soc2:CC6.1", "iso27001:A.5.17"], when=_may_work)
def access_key_rotated(key: AccessKey, now: datetime) -> bool | None:
    """The access key is at most 90 days old.

    Make a new key, put it where the old one is used, and delete the old one. Better still, let the workload sign in with
    short-lived credentials that need no rotation.
    """
    return has_expired(key, now) or is_within(key.created_at, now, days=90)


@check(AccessKey, severity="medium", controls=["soc2:CC6.1", "soc2:CC6.3", "iso27001:A.5.18"], when=_may_work)
def access_key_used_recently(key: AccessKey, now: datetime) -> bool | None:
    """The access key was used within the last 90 days.

    Delete the key. If you are not sure that nothing needs it, deactivate it first and delete it some weeks later.
    """
    if has_expired(key, now):
        return True
    if key.last_used_at is None:  # never, or not told; either way a new key is not a forgotten one
        return is_within(key.created_at, now, days=90) or None
    return is_within(key.last_used_at, now, days=90)
