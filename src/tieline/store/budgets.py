"""Rate budgets: what is left of a provider's limit, shared by every worker that serves a connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, ForeignKey, Integer, Table, case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from tieline.store.db import Work, metadata
from tieline.store.types import Id, UtcTime

rate_budgets = Table(
    "rate_budgets",
    metadata,
    Column("connection_id", Id("conn"), ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("remaining", Integer),
    Column("reset_at", UtcTime),
    Column("blocked_until", UtcTime),
)


@dataclass(frozen=True)
class Allowance:
    """What a worker may do now: so many requests, or none until `blocked_until`."""

    permits: int
    blocked_until: datetime | None = None


async def take_permits(work: Work, connection_id: str, *, wanted: int, now: datetime) -> Allowance:
    """Take up to `wanted` permits; all of them while no limit is known."""
    mine = (rate_budgets.c.connection_id == connection_id) & (rate_budgets.c.org_id == work.org_id)
    row = (await work.connection.execute(select(rate_budgets).where(mine).with_for_update())).one_or_none()
    if row is None:
        return Allowance(wanted)
    if row.blocked_until and row.blocked_until > now:
        return Allowance(0, row.blocked_until)
    if row.remaining is None or row.reset_at is None or row.reset_at <= now:
        return Allowance(wanted)
    if row.remaining <= 0:
        return Allowance(0, row.reset_at)
    given = min(wanted, row.remaining)
    await work.connection.execute(update(rate_budgets).where(mine).values(remaining=row.remaining - given))
    return Allowance(given)


async def note_limit(
    work: Work,
    connection_id: str,
    *,
    remaining: int | None,
    reset_at: datetime | None,
    blocked_until: datetime | None,
) -> None:
    """Keep what an answer told: within one window the count only falls, since answers come out of order."""
    given = {"remaining": remaining, "reset_at": reset_at, "blocked_until": blocked_until}
    new = insert(rate_budgets).values(connection_id=connection_id, org_id=work.org_id, **given)
    same_window = rate_budgets.c.reset_at >= new.excluded.reset_at
    fewer = func.least(rate_budgets.c.remaining, new.excluded.remaining)
    kept = {
        "remaining": case((same_window, fewer), else_=func.coalesce(new.excluded.remaining, rate_budgets.c.remaining)),
        "reset_at": func.greatest(rate_budgets.c.reset_at, new.excluded.reset_at),
        "blocked_until": func.greatest(rate_budgets.c.blocked_until, new.excluded.blocked_until),
    }
    await work.connection.execute(new.on_conflict_do_update(index_elements=["connection_id"], set_=kept))
