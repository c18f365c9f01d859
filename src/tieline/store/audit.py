"""The audit log: for each organization a chain of entries, its head, and signed checkpoints along it.

Entries and checkpoints are only ever added. The head is the one place where writers of an organization queue: they lock it, so the
chain cannot fork. What the links, the seal and the signatures are is for `stages/chain.py` to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Row,
    Select,
    Table,
    Text,
    case,
    cast,
    func,
    select,
    text,
    update,
)

from tieline.errors import AuditError
from tieline.ids import to_uuid
from tieline.store.db import SystemWork, Work, metadata
from tieline.store.listing import Listing, Paging
from tieline.store.types import Id, Json, UtcTime

NOT_ROUTINE = text("action NOT IN ('credential.opened', 'token.refreshed', 'identity_token.issued')")
"""Leaves out what every run does, of which there is far more than of all that tells the story of a connection."""

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text),
    Column("details", Json, nullable=False),
    Column("request_id", Text),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("org_id", "seq"),
    Index("audit_entries_target_idx", "org_id", "target", "seq"),
    Index("audit_entries_story_idx", "org_id", "target", "seq", postgresql_where=NOT_ROUTINE),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("org_id", Id("org"), ForeignKey("organizations.id"), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("checkpoint_seq", BigInteger, nullable=False),
    Column("pruned_to", BigInteger, nullable=False),
    Column("seal", LargeBinary, nullable=False),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("prev_seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("signed_at", UtcTime, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    PrimaryKeyConstraint("org_id", "seq"),
)

_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One thing that somebody did; `seq` counts from 1, `prev_hash` is the hash of the entry before."""

    org_id: str
    seq: int
    at: datetime
    actor: str
    action: str
    target: str | None
    details: Any
    request_id: str | None
    prev_hash: bytes
    hash: bytes = b""


@dataclass(frozen=True)
class Head:
    """Where a chain ends: its last entry, its last checkpoint, and up to where retention has taken entries away."""

    org_id: str
    seq: int
    hash: bytes
    checkpoint_seq: int = 0
    pruned_to: int = 0
    seal: bytes = b""


@dataclass(frozen=True)
class Checkpoint:
    """A signed statement that entry `seq` has this hash; `prev_seq` is the checkpoint before, 0 for none."""

    org_id: str
    seq: int
    prev_seq: int
    hash: bytes
    signed_at: datetime
    signature: bytes = b""


@dataclass(frozen=True)
class Standing:
    """A chain's ends, read together: `beyond` is the first entry after the head, where there should be none."""

    head: Head | None
    checkpoints: list[Checkpoint]
    beyond: int | None


# Writing


async def lock_head(work: Work) -> Head | None:
    """The head, locked until the transaction ends."""
    with _needed():
        row = await (await work.driver()).fetchrow(_LOCK, to_uuid(work.org_id, "org"))
    return Head(**{**row, "org_id": work.org_id}) if row else None


async def start_chain(work: Work, head: Head) -> None:
    """Write the head of a chain without entries, unless somebody was quicker."""
    with _needed():
        await (await work.driver()).execute(_START, *_values(head))


async def append_entry(work: Work, entry: Entry, head: Head) -> None:
    """Add an entry and move the head, in one statement; raises `AuditError` if it cannot be written."""
    with _needed():
        await (await work.driver()).execute(_APPEND, *_values(entry), *_values(head)[1:])


async def save_checkpoint(work: Work, checkpoint: Checkpoint, head: Head) -> None:
    """Add a checkpoint and move the head, in one statement; raises `AuditError` if it cannot be written."""
    with _needed():
        await (await work.driver()).execute(_SIGN, *_values(checkpoint), *_values(head)[1:])


async def prune_entries(work: Work, head: Head) -> int:
    """Take away the entries up to the head's `pruned_to`, which must be a checkpoint's; how many there were."""
    pruned = await work.connection.execute(select(func.prune_audit_entries(head.pruned_to)))
    await work.connection.execute(update(audit_heads).where(_mine(audit_heads, work)).values(**vars(head)))
    count: int = pruned.scalar_one()
    return count


# Reading


async def read_standing(work: Work) -> Standing:
    """The ends of the chain; the head is held still meanwhile, so that they belong together."""
    row = (await work.connection.execute(_head_of(work).with_for_update(read=True))).one_or_none()
    head = Head(**row._mapping) if row else None
    beyond = select(func.min(audit_entries.c.seq)).where(_mine(audit_entries, work))
    beyond = beyond.where(audit_entries.c.seq > head.seq) if head else beyond
    return Standing(head, await _all_checkpoints(work), (await work.connection.execute(beyond)).scalar())


async def read_entries(
    work: Work, *, after: int | None = None, upto: int | None = None, limit: int = 2_000
) -> list[Entry]:
    """Entries in order. Whatever somebody has put into the columns, reading fails for none: it gives what was never written."""
    entries = audit_entries.c
    columns = [column for column in entries if column.name not in {"at", "details"}]
    query = select(*columns, _readable(entries.at), cast(entries.details, Text).label("details"))
    query = query.where(_mine(audit_entries, work)).order_by(entries.seq).limit(limit)
    query = query if after is None else query.where(entries.seq > after)
    query = query if upto is None else query.where(entries.seq <= upto)
    rows = await work.connection.execute(query)
    return [Entry(**{**row._mapping, "details": _parse(row.details)}) for row in rows]


async def list_entries(
    work: Work,
    paging: Paging,
    *,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since: datetime | None = None,
) -> Listing[Entry]:
    """Entries, newest first; the cursor is a `seq`."""
    query = select(audit_entries).where(_mine(audit_entries, work))
    for name, wanted in {"actor": actor, "action": action, "target": target}.items():
        query = query.where(audit_entries.c[name] == wanted) if wanted is not None else query
    query = query.where(audit_entries.c.at >= since) if since else query
    return await _page(work, query, audit_entries.c.seq, paging, lambda row: Entry(**row._mapping))


async def list_story(work: Work, target: str, *, limit: int) -> list[Entry]:
    """The newest entries about a target, newest first, without what every run does."""
    query = select(audit_entries).where(_mine(audit_entries, work), audit_entries.c.target == target, NOT_ROUTINE)
    rows = await work.connection.execute(query.order_by(audit_entries.c.seq.desc()).limit(limit))
    return [Entry(**row._mapping) for row in rows]


async def list_checkpoints(work: Work, paging: Paging) -> Listing[Checkpoint]:
    """Checkpoints, newest first; the cursor is a `seq`."""
    query = select(audit_checkpoints).where(_mine(audit_checkpoints, work))
    return await _page(work, query, audit_checkpoints.c.seq, paging, lambda row: Checkpoint(**row._mapping))


async def last_checkpoint(work: Work, *, before: datetime) -> Checkpoint | None:
    """The newest checkpoint that was signed before a time."""
    query = select(audit_checkpoints).where(_mine(audit_checkpoints, work), audit_checkpoints.c.signed_at < before)
    row = (await work.connection.execute(query.order_by(audit_checkpoints.c.seq.desc()).limit(1))).one_or_none()
    return Checkpoint(**row._mapping) if row else None


async def behind_checkpoint(work: SystemWork) -> list[str]:
    """The organizations that have entries after their last checkpoint."""
    query = select(audit_heads.c.org_id).where(audit_heads.c.seq > audit_heads.c.checkpoint_seq)
    return list((await work.connection.execute(query)).scalars())


async def _all_checkpoints(work: Work) -> list[Checkpoint]:
    columns = [column for column in audit_checkpoints.c if column.name != "signed_at"]
    query = select(*columns, _readable(audit_checkpoints.c.signed_at)).where(_mine(audit_checkpoints, work))
    rows = await work.connection.execute(query.order_by(audit_checkpoints.c.seq))
    return [Checkpoint(**row._mapping) for row in rows]


async def _page(work: Work, query: Select[Any], key: ColumnElement[int], paging: Paging, read: Any) -> Listing[Any]:
    if paging.cursor:
        query = query.where(key < int(paging.cursor))
    rows: Sequence[Row[Any]] = (await work.connection.execute(query.order_by(key.desc()).limit(paging.limit + 1))).all()
    shown = rows[: paging.limit]
    return Listing([read(row) for row in shown], str(shown[-1].seq) if len(rows) > paging.limit else None)


def _mine(table: Table, work: Work) -> ColumnElement[bool]:
    return table.c.org_id == work.org_id


def _head_of(work: Work) -> Select[Any]:
    return select(audit_heads).where(_mine(audit_heads, work))


def _readable(column: Column[Any]) -> ColumnElement[Any]:
    """A time that Python can hold; one that it cannot (infinity, before Christ) reads as one that nobody has written."""
    return case((column.between(_FIRST, _LAST), column), else_=_FIRST).label(column.name)


def _parse(details: str) -> Any:
    try:
        return orjson.loads(details)
    except ValueError:
        return None


# The writers' statements are given to the driver as they are: the head is locked meanwhile, and building them anew each time, as
# SQLAlchemy would, takes several times as long as the database needs.


def _inserting(table: Table, begin: int = 1) -> str:
    names = ", ".join(f'"{column.name}"' for column in table.c)
    places = ", ".join(f"${number}" for number in range(begin, begin + len(table.c)))
    return f"INSERT INTO {table.name} ({names}) VALUES ({places})"  # noqa: S608  names are ours


def _moving(table: Table) -> str:
    """Insert a row, which begins with the organization, and move its head."""
    moved = [column.name for column in audit_heads.c if column.name != "org_id"]
    places = ", ".join(f"{name} = ${number}" for number, name in enumerate(moved, start=len(table.c) + 1))
    return f"WITH added AS ({_inserting(table)}) UPDATE audit_heads SET {places} WHERE org_id = $1"  # noqa: S608  names are ours


def _values(row: Entry | Head | Checkpoint) -> list[Any]:
    """A row as the driver takes it, in the order of the columns."""
    changed: dict[str, Any] = {"org_id": to_uuid(row.org_id, "org")}
    if isinstance(row, Entry):
        changed["details"] = orjson.dumps(row.details).decode()
    return list((vars(row) | changed).values())


_LOCK = "SELECT * FROM audit_heads WHERE org_id = $1 FOR UPDATE"
_START = f"{_inserting(audit_heads)} ON CONFLICT DO NOTHING"
_APPEND, _SIGN = _moving(audit_entries), _moving(audit_checkpoints)


@contextmanager
def _needed() -> Iterator[None]:
    """Whatever the database refuses here, the action that was to be recorded must not happen: raises `AuditError`."""
    try:
        yield
    except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError) as error:
        raise ConnectionError(f"The database is away ({type(error).__name__})") from None
    except asyncpg.PostgresError:
        raise AuditError("The audit log cannot be written, so nothing was done") from None
