"""What people do about findings: mute them for a reason, let them speak again, give them to somebody; one, some, or all that match.

Of many, those that it does not concern are left as they are: a resolved finding is not muted, an open one not unmuted, and who
has one already is not given it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tieline.errors import Conflict, Invalid
from tieline.flows.audit import record
from tieline.flows.owners import find_owner
from tieline.flows.parts import Parts
from tieline.stages.announce import announce_findings
from tieline.store import findings as store
from tieline.store.connections import NOBODY
from tieline.store.db import Work
from tieline.store.findings import Finding

MOST_AT_ONCE = 1_000
"""Findings that one request changes at the most."""

Filters = Mapping[str, str | datetime | None]


@dataclass(frozen=True)
class Chosen:
    """Which findings are meant: those with these ids, or all that match filters as `list_findings` has them."""

    ids: Sequence[str] = ()
    filters: Filters | None = None


@dataclass(frozen=True)
class Done:
    """The findings that were changed, and how many were left as they are because it does not concern them."""

    changed: Sequence[Finding]
    left: int


async def mute(
    parts: Parts, org_id: str, finding_id: str, *, reason: str, until: datetime | None, actor: str
) -> Finding:
    """Silence one open finding; raises `Conflict` for a resolved one, `Invalid` for a time that has passed, `NotFound`."""
    done = await mute_many(parts, org_id, Chosen([finding_id]), reason=reason, until=until, actor=actor)
    if not done.changed:
        raise Conflict("A resolved finding cannot be muted")
    return done.changed[0]


async def unmute(parts: Parts, org_id: str, finding_id: str, *, actor: str) -> Finding:
    """Open one muted finding again; raises `Conflict` if it is not muted, `NotFound`."""
    done = await unmute_many(parts, org_id, Chosen([finding_id]), actor=actor)
    if not done.changed:
        raise Conflict("The finding is not muted")
    return done.changed[0]


async def assign(parts: Parts, org_id: str, finding_id: str, *, owner: str, actor: str) -> Finding:
    """Give one finding to a member or to `NOBODY`; raises `Invalid` for somebody who is no member, `NotFound`."""
    done = await assign_many(parts, org_id, Chosen([finding_id]), owner=owner, actor=actor)
    if done.changed:
        return done.changed[0]
    async with parts.db.work(org_id) as work:
        return await store.get_finding(work, finding_id)


async def mute_many(
    parts: Parts, org_id: str, chosen: Chosen, *, reason: str, until: datetime | None, actor: str
) -> Done:
    """Silence all that are not resolved; raises `Invalid` for a time that has passed or for too many, `NotFound` for an id."""
    now = parts.clock.now()
    if until and until <= now:
        raise Invalid("until is in the past", fields=[{"field": "until", "problem": "is in the past"}])
    async with parts.db.work(org_id) as work:
        found = await _find(work, chosen)
        concerned = [one for one in found if one.status != "resolved"]
        await store.mute_findings(work, concerned, reason=reason, until=until, actor=actor, now=now)
        return await _conclude(work, parts, "muted", chosen, found, concerned, until=until)


async def unmute_many(parts: Parts, org_id: str, chosen: Chosen, *, actor: str) -> Done:
    """Open all that are muted again; raises `Invalid` for too many, `NotFound` for an id."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        found = await _find(work, chosen)
        concerned = [one for one in found if one.status == "muted"]
        await store.unmute_findings(work, concerned, actor=actor, now=now)
        return await _conclude(work, parts, "unmuted", chosen, found, concerned)


async def assign_many(parts: Parts, org_id: str, chosen: Chosen, *, owner: str, actor: str) -> Done:
    """Give all to a member or to `NOBODY`; raises `Invalid` for somebody who is no member or for too many, `NotFound`."""
    now = parts.clock.now()
    async with parts.db.work(org_id) as work:
        member = await find_owner(work, "" if owner == NOBODY else owner)
        owner_id = member.id if member else None
        found = await _find(work, chosen)
        concerned = [one for one in found if one.owner_id != owner_id]
        await store.assign_findings(work, concerned, owner_id=owner_id, actor=actor, now=now)
        what = "assigned" if owner_id else "unassigned"
        return await _conclude(work, parts, what, chosen, found, concerned, owner=owner_id)


async def release_findings(work: Work, parts: Parts, member_id: str, *, actor: str) -> int:
    """Leave a member's findings to nobody, because they are a member no more; how many."""
    now, theirs = parts.clock.now(), await store.find_all(work, most=None, owner=member_id)
    await store.assign_findings(
        work, theirs, owner_id=None, actor=actor, now=now, note="whoever had it is a member no more"
    )
    await announce_findings(work, {"unassigned": theirs}, now=now)
    return len(theirs)


async def _find(work: Work, chosen: Chosen) -> list[Finding]:
    """The findings that are meant, locked."""
    if chosen.filters is None:
        _check_count(len(chosen.ids))
        return await store.find_some(work, list(dict.fromkeys(chosen.ids)))
    _check_count(sum((await store.count_matching(work, **chosen.filters)).values()))
    return await store.find_all(work, most=MOST_AT_ONCE, **chosen.filters)


def _check_count(count: int) -> None:
    if count > MOST_AT_ONCE:
        raise Invalid(
            f"That would be {count:,} findings; at most {MOST_AT_ONCE:,} are changed at once",
            advice="Narrow the filter, by check or by connection, and go through them in turn.",
        )


async def _conclude(
    work: Work,
    parts: Parts,
    what: str,
    chosen: Chosen,
    found: Sequence[Finding],
    concerned: Sequence[Finding],
    **about: Any,
) -> Done:
    """Tell the outbox and the audit log what was done; the findings as they are now."""
    ids = [one.id for one in concerned]
    changed = await store.find_some(work, ids)
    await announce_findings(work, {what: changed}, now=parts.clock.now())
    if chosen.filters is None and len(chosen.ids) == 1:
        if changed:
            await record(work, parts, f"finding.{what}", ids[0], check=changed[0].check_id, **about)
    else:
        asked = {name: value for name, value in (chosen.filters or {}).items() if value}
        named = {"filters": asked} if chosen.filters is not None else {"findings": ids}
        await record(work, parts, f"finding.{what}", None, count=len(ids), **named, **about)
    return Done(changed, len(found) - len(changed))
