"""The queue between admission and workers: PgQueuer's tables, what a job in them says, and their upkeep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from pgqueuer import AsyncpgDriver, Queries
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.domain.settings import DBSettings

from tieline.store.db import SYSTEM_ROLE, SystemWork
from tieline.store.schedules import Hold

ROLES = {"sync": "sync", "deliver": "deliver", "system": "system"}
"""The entry point of each kind; a kind that is not named is somebody waiting: `interactive`."""

# All names are given, since PgQueuer would otherwise take them from environment variables as general as CHANNEL.
SETTINGS = DBSettings(
    prefix="",
    db_schema=None,
    channel="ch_pgqueuer",
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
)
_TABLES = (SETTINGS.queue_table, SETTINGS.queue_table_log, SETTINGS.statistics_table, SETTINGS.schedules_table)
_PRUNED = (SETTINGS.queue_table_log, SETTINGS.statistics_table)
_BATCH = 10_000


def install_sql() -> str:
    """The tables of the queue and the system role's rights to them: several statements, for one `execute` of the driver."""
    tables = ", ".join(_TABLES)
    return f"""{QueryBuilderEnvironment(SETTINGS).build_install_query()}

GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {SYSTEM_ROLE};
GRANT USAGE ON SEQUENCE {", ".join(f"{table}_id_seq" for table in _TABLES)} TO {SYSTEM_ROLE};
"""


def open_queue(connection: Any) -> Queries:
    """The queue as seen through a connection, and in its transaction if there is one."""
    return Queries(
        AsyncpgDriver(connection),
        qbe=QueryBuilderEnvironment(SETTINGS),
        qbq=QueryQueueBuilder(SETTINGS),
        qbs=QuerySchedulerBuilder(SETTINGS),
    )


def role_of(kind: str) -> str:
    """The entry point that runs a kind of schedule."""
    return ROLES.get(kind, "interactive")


async def enqueue(work: SystemWork, holds: Sequence[Hold]) -> None:
    """Add a job for each hold, in this very transaction. A job holds ids only."""
    if holds:
        queue = open_queue(await work.driver())
        await queue.enqueue([role_of(hold.kind) for hold in holds], [_write(hold) for hold in holds], [0] * len(holds))


async def count_queued(work: SystemWork, kinds: Iterable[str]) -> int:
    """How many jobs of these kinds wait for a worker."""
    roles = {role_of(kind) for kind in kinds}
    sizes = await open_queue(await work.driver()).queue_size()
    return sum(size.count for size in sizes if size.status == "queued" and size.entrypoint in roles)


def read_hold(payload: bytes) -> Hold:
    """What a job is about."""
    said = orjson.loads(payload)
    return Hold(UUID(said["hold"]), said["schedule"], said["org"], said["kind"])


async def prune(work: SystemWork, *, before: datetime) -> int:
    """Delete a batch of what the queue keeps of ended jobs; returns how many rows, so call it until that is 0."""
    driver = await work.driver()
    deleted = 0
    for table in _PRUNED:
        old = f"SELECT id FROM {table} WHERE created < $1 LIMIT {_BATCH}"  # noqa: S608  our own names
        done = await driver.execute(f"DELETE FROM {table} WHERE id IN ({old})", before)  # noqa: S608
        deleted += int(done.rpartition(" ")[2])
    return deleted


def _write(hold: Hold) -> bytes:
    said = {"hold": str(hold.id), "schedule": hold.schedule_id, "org": hold.org_id, "kind": hold.kind}
    return orjson.dumps(said)
