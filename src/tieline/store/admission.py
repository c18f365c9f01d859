"""Admission: what the platform does with the schedules of all organizations: give holds to due rows, keep them alive, free stale ones.

Whoever admits takes organizations in turn, so that one with a long queue holds up nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Text, Uuid, func, literal, select, text, tuple_, union_all, update

from tieline.store.db import SystemWork
from tieline.store.schedules import CLOCK, FREE, Hold, backoff, schedules
from tieline.store.types import Id, UtcTime

_TICK_LOCK = 0x7469_6C6E  # any number that nothing else in this database locks


@dataclass(frozen=True)
class EngineCounts:
    """How the engine stands: rows that are due and wait, rows that are held, and since when the oldest waits."""

    waiting: int
    held: int
    oldest: datetime | None


@dataclass(frozen=True)
class Load:
    """What an organization has, or what is read of a provider: how much runs, how much waits, and since when the oldest does."""

    key: str
    held: int
    waiting: int
    oldest: datetime | None


async def admit(
    work: SystemWork, *, now: datetime, kinds: Sequence[str], free_slots: int, org_cap: int, provider_cap: int
) -> list[Hold]:
    """Give holds to due rows, as many as there are free slots, to organizations in turn.

    No organization gets to hold more than `org_cap` rows, and no provider more than `provider_cap`, what they hold already
    included. Nothing is given while another process is at it.
    """
    lock = select(func.pg_try_advisory_xact_lock(_TICK_LOCK))
    if free_slots < 1 or not (await work.connection.execute(lock)).scalar_one():
        return []
    values = {"now": now, "kinds": list(kinds), "slots": free_slots, "org_cap": org_cap, "provider_cap": provider_cap}
    rows = await work.connection.execute(_ADMIT, values)
    return [Hold(row.held_by, row.id, row.org_id, row.kind) for row in rows]


async def beat(work: SystemWork, holds: Sequence[Hold]) -> None:
    """Say that these holds are alive; rows that a page locks just now are skipped, for the page says so itself.

    It is one statement: a process that froze between two would keep the rows locked from whoever takes over.
    """
    given = tuple_(schedules.c.held_by, schedules.c.fence).in_([(hold.id, hold.fence) for hold in holds])
    own = select(schedules.c.id).where(given).with_for_update(skip_locked=True).cte("own")
    await work.connection.execute(update(schedules).where(schedules.c.id.in_(select(own.c.id))).values(beat_at=CLOCK))


async def release_stale(work: SystemWork, *, now: datetime, older_than: timedelta) -> int:
    """Free the rows whose holder has been silent for so long, keeping their runs; returns how many.

    Who was last heard of in the future is silent too: the clock has been turned back since, and whoever lives speaks by the new one.
    One that somebody had begun is due after a while, for the run may be what ended its worker; one whose job was still waiting
    is due at once.
    """
    heard = schedules.c.beat_at.between(CLOCK - older_than, CLOCK + older_than)
    silent = schedules.c.held_by.is_not(None) & ~heard
    begun = (schedules.c.beat_at != schedules.c.held_at).label("begun")
    stale = select(schedules.c.id, schedules.c.attempt, begun).where(silent).with_for_update(skip_locked=True)
    rows = (await work.connection.execute(stale)).all()
    for row in rows:
        values = FREE | {"next_run_at": now}
        if row.begun:
            failed = {"attempt": row.attempt + 1, "last_error": "stale"}
            values = FREE | failed | {"next_run_at": now + backoff(row.attempt)}
        await work.connection.execute(update(schedules).where(schedules.c.id == row.id).values(values))
    return len(rows)


async def release_all(work: SystemWork, *, now: datetime) -> int:
    """Free every row, due at once, its run kept: for when it is known that no holder lives any more; returns how many."""
    held = update(schedules).where(schedules.c.held_by.is_not(None))
    return (await work.connection.execute(held.values(FREE | {"next_run_at": now}))).rowcount


async def cut_off_silent(work: SystemWork, *, older_than: timedelta) -> int:
    """End transactions whose process has said nothing for so long, and with them their locks; returns how many.

    A frozen process, or one beyond a broken network, would keep others out for ever. PostgreSQL's own time-out for idle
    transactions does not see it between the messages of one statement. To end them takes the role that they all logged in with.
    """
    await work.connection.execute(text("SET LOCAL ROLE NONE"))
    ended = await work.connection.execute(_CUT_OFF, {"older_than": older_than})
    return len(ended.all())


async def engine_counts(work: SystemWork, *, now: datetime) -> EngineCounts:
    """How many rows wait and are held, and since when the oldest waits."""
    due = schedules.c.held_by.is_(None) & schedules.c.enabled & (_utc(schedules.c.next_run_at) <= _utc(now))
    waiting = select(func.count().label("rows"), func.min(schedules.c.next_run_at).label("oldest")).where(due)
    row = (await work.connection.execute(waiting)).one()
    holds = select(func.count()).where(schedules.c.held_by.is_not(None))
    return EngineCounts(row.rows, (await work.connection.execute(holds)).scalar_one(), row.oldest)


async def engine_load(work: SystemWork, by: Literal["org_id", "provider"], *, now: datetime, limit: int) -> list[Load]:
    """What runs and what waits, by organization or by provider, the busiest first."""
    key = schedules.c[by].label("key")
    due = schedules.c.held_by.is_(None) & schedules.c.enabled & (_utc(schedules.c.next_run_at) <= _utc(now))
    parts = [
        select(key, func.count().label("held"), literal(0).label("waiting"), literal(None, UtcTime).label("oldest"))
        .where(schedules.c.held_by.is_not(None))
        .group_by(key),
        select(key, literal(0), func.count(), func.min(schedules.c.next_run_at)).where(due).group_by(key),
    ]
    both = union_all(*parts).subquery()
    held, waiting = func.sum(both.c.held), func.sum(both.c.waiting)
    query = select(both.c.key, held, waiting, func.min(both.c.oldest)).group_by(both.c.key)
    rows = await work.connection.execute(query.order_by((held + waiting).desc(), both.c.key).limit(limit))
    return [Load(key, int(held), int(waiting), oldest) for key, held, waiting, oldest in rows]


async def count_silent(work: SystemWork, *, before: datetime) -> tuple[int, datetime | None]:
    """How many rows are held by somebody not heard of since a time, and since when the most silent of all holders is not."""
    silent = func.count().filter(schedules.c.beat_at < before)
    query = select(silent, func.min(schedules.c.beat_at)).where(schedules.c.held_by.is_not(None))
    count, oldest = (await work.connection.execute(query)).one()
    return count, oldest


async def next_due(work: SystemWork) -> datetime | None:
    """When the next row becomes due, or became."""
    waiting = select(schedules.c.next_run_at).where(schedules.c.held_by.is_(None), schedules.c.enabled)
    first = waiting.order_by(_utc(schedules.c.next_run_at)).limit(1)
    due: datetime | None = (await work.connection.execute(first)).scalar_one_or_none()
    return due


_CUT_OFF = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'tieline' AND usename = session_user
       AND xact_start IS NOT NULL AND wait_event = 'ClientRead'
       AND state_change < clock_timestamp() - CAST(:older_than AS interval)
""")

# Organizations take turns: a row's turn is its place in its organization's queue, plus what that one holds already. The rows
# are locked with SKIP LOCKED because a caller's open transaction may just be triggering one of them.
_ADMIT = text("""
    WITH org_load AS MATERIALIZED (
        SELECT org_id, count(*) AS held FROM schedules WHERE held_by IS NOT NULL GROUP BY org_id
    ), provider_load AS MATERIALIZED (
        SELECT provider, count(*) AS held FROM schedules WHERE held_by IS NOT NULL GROUP BY provider
    ), waiting AS (
        SELECT DISTINCT org_id FROM schedules
         WHERE held_by IS NULL AND enabled AND kind = ANY(:kinds)
           AND timezone('UTC', next_run_at) <= timezone('UTC', CAST(:now AS timestamptz))
    ), candidates AS (
        SELECT due.*, coalesce(org_load.held, 0)
               + row_number() OVER (PARTITION BY waiting.org_id ORDER BY due.next_run_at, due.id) AS turn
          FROM waiting
          LEFT JOIN org_load USING (org_id)
         CROSS JOIN LATERAL (
               SELECT id, next_run_at, provider, coalesce(provider_load.held, 0) AS provider_held
                 FROM schedules LEFT JOIN provider_load USING (provider)
                WHERE org_id = waiting.org_id AND held_by IS NULL AND enabled
                  AND next_run_at <= CAST(:now AS timestamptz) AND kind = ANY(:kinds)
                  AND coalesce(provider_load.held, 0) < CAST(:provider_cap AS bigint)
                ORDER BY next_run_at, id
                LIMIT greatest(CAST(:org_cap AS bigint) - coalesce(org_load.held, 0), 0)
         ) AS due
    ), ranked AS (
        SELECT id, turn, next_run_at,
               provider_held + row_number() OVER (PARTITION BY provider ORDER BY turn, next_run_at, id) AS place
          FROM candidates
    ), chosen AS (
        SELECT id FROM ranked WHERE place <= CAST(:provider_cap AS bigint)
         ORDER BY turn, next_run_at, id LIMIT CAST(:slots AS bigint)
    ), locked AS (
        SELECT id FROM chosen JOIN schedules USING (id)
         WHERE held_by IS NULL AND enabled AND schedules.next_run_at <= CAST(:now AS timestamptz)
           FOR UPDATE OF schedules SKIP LOCKED
    )
    UPDATE schedules SET held_by = gen_random_uuid(), held_at = now(), beat_at = now()
      FROM locked WHERE schedules.id = locked.id
 RETURNING schedules.id, schedules.org_id, schedules.kind, schedules.held_by
""").columns(id=Id("sched"), org_id=Id("org"), kind=Text, held_by=Uuid)


def _utc(time: Any) -> ColumnElement[datetime]:
    """The expression that `schedules_due_idx` is on."""
    return func.timezone("UTC", time)
