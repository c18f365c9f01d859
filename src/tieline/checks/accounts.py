"""Accounts: they are used, accepted in time, and keep nothing once they are closed."""

from __future__ import annotations

from datetime import datetime

from tieline.checks.access_keys import has_expired
from tieline.checks.unknowns import is_within
from tieline.sdk import AccessKey, Account, Device, Membership, Related, check


def is_in_use(account: Account) -> bool:
    """Whether the account is open. One whose state is not told counts as open: the provider lists it."""
    return account.active is not False


def _is_closed(account: Account) -> bool:
    return account.status in ("suspended", "inactive", "deleted")


@check(
    Account,
    severity="medium",
    controls=["soc2:CC6.2", "soc2:CC6.3", "iso27001:A.5.18"],
    when=lambda account: account.type != "service" and is_in_use(account),
)
def account_used_recently(account: Account, now: datetime) -> bool | None:
    """The account was used within the last 90 days.

    Ask whether its holder still needs it. Suspend it if not; an account that nobody watches is a way in that nobody notices.
    """
    if account.last_login_at is None:  # never, or not told; either way a new account is not a stale one
        return is_within(account.created_at, now, days=90) or None
    return is_within(account.last_login_at, now, days=90)


@check(
    Account,
    severity="low",
    controls=["soc2:CC6.2", "iso27001:A.5.16", "iso27001:A.5.18"],
    when=lambda account: account.status == "invited",
)
def invitation_is_recent(account: Account, now: datetime) -> bool | None:
    """The invitation was sent within the last 30 days.

    Withdraw the invitation, or send a new one if the person is still to join: an old link in a mailbox opens the door to
    whoever finds it.
    """
    return is_within(account.created_at, now, days=30)


@check(Account, severity="medium", controls=["soc2:CC6.2", "soc2:CC6.3", "iso27001:A.5.18"], when=_is_closed)
def closed_account_is_in_no_group(account: Account, memberships: Related[Membership]) -> bool | None:  # noqa: ARG001
    """The closed account is in no group.

    Take the account out of every group and role, so that opening it again gives back nothing unasked. Make this a step of
    the leaver procedure.
    """
    return memberships.none(lambda membership: not membership.automatic)


@check(
    Account,
    severity="high",
    controls=["soc2:CC6.1", "soc2:CC6.2", "iso27001:A.5.17", "iso27001:A.5.18"],
    when=_is_closed,
)
def closed_account_has_no_access_key(account: Account, access_keys: Related[AccessKey], now: datetime) -> bool | None:  # noqa: ARG001
    """The closed account has no access key that works.

    Revoke the account's keys and tokens: many go on working after the account is closed. Give what still depends on them
    a service account of its own.
    """
    works = access_keys.any(lambda key: key.active if not has_expired(key, now) else False)
    return None if works is None else not works


@check(
    Account,
    severity="medium",
    controls=["soc2:CC6.4", "iso27001:A.5.11"],
    when=lambda account: account.status in ("inactive", "deleted"),
)
def leaver_returned_devices(account: Account, devices: Related[Device]) -> bool | None:  # noqa: ARG001
    """The leaver has handed back every device.

    Get the device back and wipe it, then assign it to someone else or retire it in the inventory. If it is lost, record
    that and wipe it from afar.
    """
    return devices.none(lambda device: device.status not in ("lost", "retired"))
