"""Findings: the standing answer of a check that has failed for an entity, with its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, cast
from uuid import UUID

import orjson
from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    Select,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    text,
    update,
)

from tieline.errors import NotFound
from tieline.ids import to_uuid, uuid7
from tieline.store.bulk import insert_many
from tieline.store.connections import NOBODY, lock_connections
from tieline.store.db import Work, metadata
from tieline.store.finding_counts import Wanted, count_findings_by, is_counted
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.types import Id, Json, UtcTime, among

# Without foreign keys on what pages write, as in entities; owners are people, who are set one by one.
findings = Table(
    "findings",
    metadata,
    Column("id", Id("find"), primary_key=True),
    Column("org_id", Id("org"), nullable=False),
    Column("connection_id", Id("conn"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("entity_id", Id("ent"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("check_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("values", Json, nullable=False),
    Column("opened_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    Column("resolved_at", UtcTime),
    Column("reopened", Integer, nullable=False, server_default=text("0")),
    Column("muted_reason", Text),
    Column("muted_until", UtcTime),
    Column("owner_id", Id("mem"), ForeignKey("members.id")),
    UniqueConstraint("entity_id", "check_id"),
    Index("findings_org_id_idx", "org_id", "status", "id"),
    Index("findings_check_id_idx", "org_id", "check_id", "id", postgresql_include=["status"]),
    Index("findings_connection_id_idx", "connection_id", "status"),
    Index("findings_owner_id_idx", "owner_id", "status"),
)

finding_events = Table(
    "finding_events",
    metadata,
    Column("id", Id("fev"), primary_key=True),
    Column("org_id", Id("org"), nullable=False),
    Column("finding_id", Id("find"), nullable=False, index=True),
    Column("at", UtcTime, nullable=False),
    Column("event", Text, nullable=False),
    Column("run_id", Id("run")),
    Column("actor", Text),
    Column("note", Text),
    Column("values", Json, nullable=False),
    Index("finding_events_org_id_idx", "org_id", "at"),
)


@dataclass(frozen=True)
class Finding:
    """A check's answer for one entity; `values` are the fields that decided."""

    id: str
    org_id: str
    connection_id: str
    provider: str
    entity_id: str
    kind: str
    external_id: str
    subject: str
    check_id: str
    title: str
    severity: str
    status: str
    values: dict[str, Any]
    opened_at: datetime
    changed_at: datetime
    resolved_at: datetime | None = None
    reopened: int = 0
    muted_reason: str | None = None
    muted_until: datetime | None = None
    owner_id: str | None = None


@dataclass(frozen=True)
class FindingEvent:
    """One thing that happened to a finding: opened, resolved, reopened, muted, unmuted, assigned, unassigned."""

    id: str
    finding_id: str
    at: datetime
    event: str
    run_id: str | None
    actor: str | None
    note: str | None
    values: dict[str, Any]


FILTERS = frozenset(
    {
        "status", "severity", "check_id", "checks", "connection_id", "provider", "entity_id", "kind", "subject", "owner",
        "opened_before",
    }
)  # fmt: skip
"""What findings can be listed by. A `subject` is what people know an entity by: it may be the same at several providers."""
_COLUMNS = (
    "id", "org_id", "connection_id", "provider", "entity_id", "kind", "external_id", "subject", "check_id", "title",
    "severity", "status", "values", "opened_at", "changed_at",
)  # fmt: skip

_EVENT_COLUMNS = ("id", "finding_id", "event", "values")


async def find_of_entities(work: Work, entity_ids: Sequence[UUID]) -> dict[tuple[UUID, str], Finding]:
    """The findings of some entities, by entity and check; locked, since whoever asks is about to change them."""
    if not entity_ids:
        return {}
    query = select(findings).where(findings.c.entity_id == among(entity_ids), findings.c.org_id == work.org_id)
    rows = await work.connection.execute(query.with_for_update())
    found = [Finding(**row._mapping) for row in rows]
    return {(to_uuid(one.entity_id, "ent"), one.check_id): one for one in found}


async def add_findings(work: Work, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add open findings; the columns are those of `_COLUMNS`, in driver values."""
    await insert_many(work, findings, _COLUMNS, rows)


async def change_findings(work: Work, ids: Sequence[str], **values: Any) -> None:
    """Set some columns of some findings."""
    if ids:
        these = findings.c.id == among([to_uuid(one, "find") for one in ids])
        await work.connection.execute(update(findings).where(these, findings.c.org_id == work.org_id).values(values))


async def rename_subjects(work: Work, names: Mapping[UUID, str]) -> None:
    """Let the findings that are not resolved call their entities as they are called now."""
    if names:
        driver = await work.driver()
        await driver.execute(
            """UPDATE findings SET subject = named.subject FROM unnest($1::uuid[], $2::text[]) AS named(id, subject)
                WHERE entity_id = named.id AND org_id = $3 AND status <> 'resolved' AND findings.subject <> named.subject""",
            list(names), list(names.values()), to_uuid(work.org_id, "org"),
        )  # fmt: skip


async def restate(work: Work, connection_id: str, checks: Sequence[tuple[str, str, str]]) -> None:
    """Let a connection's findings that are not resolved say what their checks say now: (id, title, severity)."""
    if not checks:
        return
    driver = await work.driver()
    await driver.execute(
        """UPDATE findings SET title = now.title, severity = now.severity
             FROM unnest($1::text[], $2::text[], $3::text[]) AS now(check_id, title, severity)
            WHERE findings.check_id = now.check_id AND connection_id = $4 AND org_id = $5 AND status <> 'resolved'
              AND (findings.title, findings.severity) <> (now.title, now.severity)""",
        *(list(column) for column in zip(*checks, strict=True)),
        to_uuid(connection_id, "conn"), to_uuid(work.org_id, "org"),
    )  # fmt: skip


async def add_events(
    work: Work,
    events: Sequence[tuple[str, str, dict[str, Any]]],
    *,
    at: datetime,
    run_id: str | None = None,
    actor: str | None = None,
    note: str | None = None,
) -> None:
    """Append to the history: (finding id, event, deciding values)."""
    org, run = to_uuid(work.org_id, "org"), to_uuid(run_id, "run") if run_id else None
    same = {"org_id": org, "at": at, "run_id": run, "actor": actor, "note": note}
    rows = [
        (uuid7(), to_uuid(finding, "find"), event, orjson.dumps(values).decode()) for finding, event, values in events
    ]
    await insert_many(work, finding_events, _EVENT_COLUMNS, rows, same=same)


async def get_finding(work: Work, finding_id: str, *, lock: bool = False) -> Finding:
    """One finding; raises `NotFound`."""
    query = select(findings).where(findings.c.id == finding_id, findings.c.org_id == work.org_id)
    row = (await work.connection.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no finding {finding_id[:60]!r}")
    return Finding(**row._mapping)


async def list_findings(work: Work, paging: Paging, **wanted: Wanted) -> Listing[Finding]:
    """Findings, newest first, of any status unless one is named; `wanted` names values of the columns in `FILTERS`."""
    query = narrow(work, select(findings), wanted)
    return await list_page(
        work, query, findings.c.id, paging, read=lambda row: Finding(**row._mapping), newest_first=True
    )


async def find_all(work: Work, *, most: int | None, **wanted: Wanted) -> list[Finding]:
    """The findings that `list_findings` would give for the same filters, at most so many of them; locked to be changed."""
    query = narrow(work, select(findings), wanted).order_by(findings.c.id.desc()).limit(most)
    await _take_turns(work, query)
    rows = await work.connection.execute(query.with_for_update())
    return [Finding(**row._mapping) for row in rows]


async def find_some(work: Work, ids: Sequence[str]) -> list[Finding]:
    """Some findings by id, locked, to change them; raises `NotFound` for the first that is not there."""
    query = select(findings).where(findings.c.id.in_(ids), findings.c.org_id == work.org_id)
    await _take_turns(work, query)
    rows = await work.connection.execute(query.order_by(findings.c.id).with_for_update())
    found = {row.id: Finding(**row._mapping) for row in rows}
    for one in ids:
        if one not in found:
            raise NotFound(f"There is no finding {one[:60]!r}")
    return list(found.values())


async def _take_turns(work: Work, query: Select[Any]) -> None:
    """Wait for a turn at each connection that some findings are of, before they are locked: the order of whoever writes a page."""
    concerned = select(query.subquery().c.connection_id).distinct()
    if ids := (await work.connection.execute(concerned)).scalars().all():
        await lock_connections(work, ids)


async def count_matching(work: Work, **wanted: Wanted) -> dict[str, int]:
    """How many findings there are in each state, of those that `list_findings` would give for the same filters.

    Unless a filter is about single ones, such as an entity or a time, no finding is read for it.
    """
    if is_counted(wanted):
        return {status: count for (status,), count in (await count_findings_by(work, "status", **wanted)).items()}
    query = narrow(work, select(findings.c.status, func.count().label("count")), wanted).group_by(findings.c.status)
    return {row.status: row.count for row in await work.connection.execute(query)}


async def list_events(work: Work, finding_id: str) -> list[FindingEvent]:
    """The history of one finding, oldest first."""
    await get_finding(work, finding_id)
    columns = [finding_events.c[name] for name in FindingEvent.__dataclass_fields__]
    query = select(*columns).where(finding_events.c.finding_id == finding_id, finding_events.c.org_id == work.org_id)
    rows = await work.connection.execute(query.order_by(finding_events.c.id))
    return [FindingEvent(**row._mapping) for row in rows]


async def count_findings(work: Work) -> dict[tuple[str, str], int]:
    """How many findings there are by status and severity."""
    counts = await count_findings_by(work, "status", "severity")
    return {(status, severity): count for (status, severity), count in counts.items()}


async def count_events_by_day(work: Work, *, since: datetime) -> dict[tuple[date, str], int]:
    """How many findings had what happen to them, by day in UTC and event, each counted once a day."""
    day = func.date(func.timezone("UTC", finding_events.c.at)).label("day")
    count = func.count(finding_events.c.finding_id.distinct())
    query = select(day, finding_events.c.event, count).where(
        finding_events.c.org_id == work.org_id, finding_events.c.at >= since
    )
    rows = await work.connection.execute(query.group_by(day, finding_events.c.event))
    return {(day_, event): total for day_, event, total in rows}


async def mute_findings(
    work: Work, found: Sequence[Finding], *, reason: str, until: datetime | None, actor: str, now: datetime
) -> None:
    """Silence findings that are not resolved, until a time or for good."""
    muted = {"status": "muted", "muted_reason": reason, "muted_until": until, "changed_at": now}
    await change_findings(work, [one.id for one in found], **muted)
    await add_events(work, [(one.id, "muted", one.values) for one in found], at=now, actor=actor, note=reason)


async def unmute_findings(work: Work, muted: Sequence[Finding], *, actor: str, now: datetime) -> None:
    """Open muted findings again."""
    ids = [one.id for one in muted]
    await change_findings(work, ids, status="open", muted_reason=None, muted_until=None, changed_at=now)
    await add_events(work, [(one.id, "unmuted", one.values) for one in muted], at=now, actor=actor)


async def assign_findings(
    work: Work, found: Sequence[Finding], *, owner_id: str | None, actor: str, now: datetime, note: str | None = None
) -> None:
    """Give findings to a member, or to nobody. It is no change of the finding itself: `changed_at` stays."""
    event, told = ("assigned", {"owner_id": owner_id}) if owner_id else ("unassigned", {})
    await change_findings(work, [one.id for one in found], owner_id=owner_id)
    await add_events(work, [(one.id, event, told) for one in found], at=now, actor=actor, note=note)


async def unmute_expired(work: Work, *, now: datetime) -> list[Finding]:
    """Open the findings whose mute has run out; which."""
    query = select(findings).where(
        findings.c.org_id == work.org_id, findings.c.status == "muted", findings.c.muted_until <= now
    )
    await _take_turns(work, query)
    rows = await work.connection.execute(query.with_for_update(skip_locked=True))
    due = [Finding(**row._mapping) for row in rows]
    await unmute_findings(work, due, actor="tieline", now=now)
    return due


def narrow(work: Work, query: Select[Any], wanted: Mapping[str, Wanted]) -> Select[Any]:
    """A query over findings, of those alone that filters name; an `owner` is a member's id or `NOBODY`."""
    query = query.where(findings.c.org_id == work.org_id)
    for name, value in wanted.items():
        if name not in FILTERS:
            raise TypeError(f"findings are not filtered by {name!r}")
        if not value:
            continue
        match name:
            case "owner":
                query = query.where(findings.c.owner_id.is_(None) if value == NOBODY else findings.c.owner_id == value)
            case "opened_before":
                query = query.where(findings.c.opened_at < value)
            case "checks":
                query = query.where(findings.c.check_id.in_(cast("Sequence[str]", value)))
            case _:
                query = query.where(findings.c[name] == value)
    return query
