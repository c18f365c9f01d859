"""Devices: encrypted, locking, shielded, managed, and not out of sight.

A lost device is still judged, since that is when encryption matters most; a retired one is not.
"""

from __future__ import annotations

from datetime import datetime

from tieline.checks.unknowns import is_within
from tieline.sdk import Device, check


def _is_kept(device: Device) -> bool:
    return device.status != "retired"


def _is_computer(device: Device) -> bool:
    """Phones and tablets have no firewall to turn on."""
    return _is_kept(device) and (device.platform or "").lower() not in ("ios", "ipados", "android")


@check(
    Device,
    severity="high",
    controls=["soc2:CC6.1", "soc2:CC6.7", "iso27001:A.8.1", "iso27001:A.8.24"],
    when=_is_kept,
)
def disk_encrypted(device: Device) -> bool | None:
    """The device's disk is encrypted.

    Turn on the encryption that the system brings along (FileVault, BitLocker, LUKS) and keep the recovery key in your
    device management, which can also enforce this for all devices.
    """
    return device.encrypted


@check(Device, severity="medium", controls=["soc2:CC6.1", "iso27001:A.7.7", "iso27001:A.8.1"], when=_is_kept)
def screen_locks(device: Device) -> bool | None:
    """The device locks its screen when left alone.

    Set the screen to lock after 15 minutes or less and to ask for the password, for all devices through your device
    management.
    """
    return device.screen_lock


@check(Device, severity="medium", controls=["soc2:CC6.6", "iso27001:A.8.1", "iso27001:A.8.20"], when=_is_computer)
def firewall_on(device: Device) -> bool | None:
    """The device's firewall is on.

    Turn on the firewall that the system brings along, and keep it on through your device management.
    """
    return device.firewall


@check(Device, severity="medium", controls=["soc2:CC6.7", "soc2:CC6.8", "iso27001:A.8.1"], when=_is_kept)
def device_managed(device: Device) -> bool | None:
    """The device is under management.

    Enrol the device in your device management, so that its settings can be enforced and it can be wiped from afar. Do not
    let it reach company data until then.
    """
    return device.managed


@check(
    Device,
    severity="low",
    controls=["soc2:CC6.1", "iso27001:A.5.9", "iso27001:A.8.1"],
    when=lambda device: device.status in ("active", None),
)
def device_seen_recently(device: Device, now: datetime) -> bool | None:
    """The device reported within the last 90 days.

    Find out where the device is. Have it switched on and online if it is in use, retire it in the inventory if it is not,
    and report it as lost if nobody knows.
    """
    return is_within(device.last_seen_at, now, days=90)
