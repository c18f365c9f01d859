"""Upkeep: what time alone brings about. Any number of processes may do it side by side: each chore takes what is due and no more."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from tieline.access.actor import acting_as
from tieline.flows.apart import do_apart
from tieline.flows.audit import record, sign_checkpoints
from tieline.flows.authorize import prune_attempts
from tieline.flows.connect_sessions import prune_sessions
from tieline.flows.credentials import KEPT_FOR
from tieline.flows.disconnect import retry_revocations
from tieline.flows.expiry import mind_expiry
from tieline.flows.history import prune_history
from tieline.flows.issuer import renew_issuer_keys
from tieline.flows.parts import Parts
from tieline.flows.rewrap import rewrap
from tieline.flows.sign_in import prune_sign_ins
from tieline.store import credentials
from tieline.telemetry import instruments, measured

_log = logging.getLogger(__name__)


async def upkeep(parts: Parts) -> None:
    """Do every chore; one that fails is told and keeps none of the others from being done."""
    with acting_as("engine"):
        for chore in CHORES:
            try:
                with measured("chore", instruments.CHORES, chore=chore.__name__):
                    await chore(parts)
            except Exception as error:  # noqa: BLE001  the next round tries it again
                _log.warning("A chore failed", extra={"chore": chore.__name__, "error": type(error).__name__})


async def destroy_former(parts: Parts) -> int:
    """Destroy the credentials that were replaced so long ago that nobody goes back to them; how many there were."""
    before = parts.clock.now() - KEPT_FOR
    async with parts.db.system() as work:
        organizations = await credentials.list_with_retired(work, before=before)
    return sum([await do_apart(_destroy_former(parts, org_id, before)) for org_id in organizations])


async def _destroy_former(parts: Parts, org_id: str, before: datetime) -> int:
    async with parts.db.work(org_id) as work:
        count = await credentials.destroy_retired(work, before=before)
        await record(work, parts, "credential.destroyed", None, count=count)
    return count


CHORES: tuple[Callable[[Parts], Awaitable[object]], ...] = (
    mind_expiry, retry_revocations, destroy_former, prune_attempts, prune_sessions, prune_sign_ins, renew_issuer_keys, sign_checkpoints, rewrap,
    prune_history,
)  # fmt: skip
