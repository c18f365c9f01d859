"""Mute: silence a finding for a reason, until a time or for good, and let it speak again."""

from __future__ import annotations

from datetime import datetime

from tieline.errors import Invalid
from tieline.flows.audit import record
from tieline.flows.parts import Parts
from tieline.stages.announce import announce_findings
from tieline.store import findings
from tieline.store.findings import Finding


async def mute(
    parts: Parts, org_id: str, finding_id: str, *, reason: str, until: datetime | None, actor: str
) -> Finding:
    """Silence an open finding; raises `Conflict` for a resolved one, `Invalid` for a time that has passed."""
    now = parts.clock.now()
    if until and until <= now:
        raise Invalid("until is in the past", fields=[{"field": "until", "problem": "is in the past"}])
    async with parts.db.work(org_id) as work:
        muted = await findings.mute_finding(work, finding_id, reason=reason, until=until, actor=actor, now=now)
        await announce_findings(work, {"muted": [muted]}, now=now)
        await record(work, parts, "finding.muted", finding_id, check=muted.check_id, until=until)
        return muted


async def unmute(parts: Parts, org_id: str, finding_id: str, *, actor: str) -> Finding:
    """Open a muted finding again; raises `Conflict` if it is not muted."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        opened = await findings.unmute_finding(work, finding_id, actor=actor, now=now)
        await announce_findings(work, {"unmuted": [opened]}, now=now)
        await record(work, parts, "finding.unmuted", finding_id, check=opened.check_id)
        return opened
