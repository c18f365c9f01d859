"""Apart: chores over many organizations, in which the trouble of one is none of the others'."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

_log = logging.getLogger(__name__)


async def do_apart(chore: Awaitable[int]) -> int:
    """Do one organization's share of a chore; if it fails, that is told, counts as nothing, and is tried again next time."""
    try:
        return await chore
    except Exception as error:  # noqa: BLE001  whatever it was, it concerns this organization alone
        _log.warning("A chore failed for one organization", extra={"error": type(error).__name__})
        return 0
