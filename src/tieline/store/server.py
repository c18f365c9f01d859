"""The database server as `tieline doctor` looks at it: its release, its clock, the room that is left, and whether it keeps organizations apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text

from tieline.store.attempts import KEPT_FOR, attempts
from tieline.store.db import SystemWork
from tieline.store.sign_in_links import sign_in_links


@dataclass(frozen=True)
class Server:
    """Release and clock of the server, and how many more connections it would take of how many."""

    version: str
    at: datetime
    connections_left: int
    connections: int


async def look_at_server(work: SystemWork) -> Server:
    """How the server stands."""
    return Server(*(await work.connection.execute(text(_SERVER))).one())


async def list_unguarded(work: SystemWork) -> list[str]:
    """The tables with rows of organizations on which row-level security is not forced; there should be none."""
    return list((await work.connection.execute(text(_UNGUARDED))).scalars())


async def count_overdue(work: SystemWork, *, now: datetime, grace: timedelta) -> int:
    """How many rows are still there that upkeep takes away once they have expired, although that was long ago."""
    late = now - grace
    counts = [
        select(func.count()).select_from(attempts).where(attempts.c.expires_at < late - KEPT_FOR),
        select(func.count()).select_from(sign_in_links).where(sign_in_links.c.expires_at < late),
    ]
    return sum([(await work.connection.execute(query)).scalar_one() for query in counts])


_SERVER = """
    SELECT current_setting('server_version'), clock_timestamp(), room.most - taken.connections, room.most
      FROM (SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                   - coalesce(current_setting('reserved_connections', true), '0')::int AS most) AS room,
           (SELECT count(*) AS connections FROM pg_stat_activity WHERE backend_type = 'client backend') AS taken
"""

_UNGUARDED = """
    SELECT pg_class.relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attname = 'org_id' AND NOT attisdropped
       AND NOT (relrowsecurity AND relforcerowsecurity)
     ORDER BY 1
"""
