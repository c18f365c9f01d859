"""Findings: the standing answer of a check that has failed for an entity, with its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

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
    insert,
    select,
    text,
    update,
)

from tieline.errors import Conflict, NotFound
from tieline.ids import from_uuid, new_id, to_uuid
from tieline.store.bulk import insert_many
from tieline.store.db import Work, metadata
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.types import Id, Json, UtcTime

findings = Table(
    "findings",
    metadata,
    Column("id", Id("find"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("connection_id", Id("conn"), ForeignKey("connections.id"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("entity_id", Id("ent"), ForeignKey("entities.id"), nullable=False),
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
    UniqueConstraint("entity_id", "check_id"),
    Index("findings_org_id_idx", "org_id", "status", "id"),
    Index("findings_connection_id_idx", "connection_id", "status"),
)

finding_events = Table(
    "finding_events",
    metadata,
    Column("id", Id("fev"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("finding_id", Id("find"), ForeignKey("findings.id"), nullable=False, index=True),
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


@dataclass(frozen=True)
class FindingEvent:
    """One thing that happened to a finding: opened, resolved, reopened, muted, unmuted."""

    id: str
    finding_id: str
    at: datetime
    event: str
    run_id: str | None
    actor: str | None
    note: str | None
    values: dict[str, Any]


@dataclass(frozen=True)
class CheckCount:
    """How many findings a check has by status; `oldest` is when the first of the open ones was opened."""

    check_id: str
    title: str
    severity: str
    open: int
    muted: int
    resolved: int
    oldest: datetime | None


_COLUMNS = (
    "id", "org_id", "connection_id", "provider", "entity_id", "kind", "external_id", "subject", "check_id", "title",
    "severity", "status", "values", "opened_at", "changed_at",
)  # fmt: skip


async def find_of_entities(work: Work, entity_ids: Sequence[UUID]) -> dict[tuple[UUID, str], Finding]:
    """The findings of some entities, by entity and check; locked, since whoever asks is about to change them."""
    ids = [from_uuid("ent", one) for one in entity_ids]
    query = select(findings).where(findings.c.entity_id.in_(ids), findings.c.org_id == work.org_id)
    rows = await work.connection.execute(query.with_for_update())
    found = [Finding(**row._mapping) for row in rows]
    return {(to_uuid(one.entity_id, "ent"), one.check_id): one for one in found}


async def add_findings(work: Work, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add open findings; the columns are those of `_COLUMNS`, in driver values."""
    await insert_many(work, findings, _COLUMNS, rows)


async def change_findings(work: Work, ids: Sequence[str], **values: Any) -> None:
    """Set some columns of some findings."""
    if ids:
        await work.connection.execute(
            update(findings).where(findings.c.id.in_(ids), findings.c.org_id == work.org_id).values(values)
        )


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
    if not events:
        return
    about = {"org_id": work.org_id, "at": at, "run_id": run_id, "actor": actor, "note": note}
    rows = [
        {"id": new_id("fev"), "finding_id": finding, "event": event, "values": values, **about}
        for finding, event, values in events
    ]
    await work.connection.execute(insert(finding_events), rows)


async def get_finding(work: Work, finding_id: str, *, lock: bool = False) -> Finding:
    """One finding; raises `NotFound`."""
    query = select(findings).where(findings.c.id == finding_id, findings.c.org_id == work.org_id)
    row = (await work.connection.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no finding {finding_id[:60]!r}")
    return Finding(**row._mapping)


async def list_findings(
    work: Work,
    paging: Paging,
    *,
    status: str | None = None,
    severity: str | None = None,
    check_id: str | None = None,
    connection_id: str | None = None,
    provider: str | None = None,
    entity_id: str | None = None,
) -> Listing[Finding]:
    """Findings, newest first, of any status unless one is named."""
    wanted = {"status": status, "severity": severity, "check_id": check_id, "connection_id": connection_id}
    query = _narrow(work, select(findings), wanted | {"provider": provider, "entity_id": entity_id})
    return await list_page(
        work, query, findings.c.id, paging, read=lambda row: Finding(**row._mapping), newest_first=True
    )


async def count_by_check(work: Work, **wanted: str | None) -> list[CheckCount]:
    """How many findings each check has, of those that `list_findings` would give for the same filters."""

    def count(status: str) -> Any:
        return func.count().filter(findings.c.status == status).label(status)

    query = select(
        findings.c.check_id,
        func.max(findings.c.title).label("title"),
        func.max(findings.c.severity).label("severity"),
        count("open"),
        count("muted"),
        count("resolved"),
        func.min(findings.c.opened_at).filter(findings.c.status == "open").label("oldest"),
    )
    rows = await work.connection.execute(_narrow(work, query, wanted).group_by(findings.c.check_id))
    return [CheckCount(**row._mapping) for row in rows]


async def list_events(work: Work, finding_id: str) -> list[FindingEvent]:
    """The history of one finding, oldest first."""
    await get_finding(work, finding_id)
    columns = [finding_events.c[name] for name in FindingEvent.__dataclass_fields__]
    query = select(*columns).where(finding_events.c.finding_id == finding_id, finding_events.c.org_id == work.org_id)
    rows = await work.connection.execute(query.order_by(finding_events.c.id))
    return [FindingEvent(**row._mapping) for row in rows]


async def count_findings(work: Work) -> dict[tuple[str, str], int]:
    """How many findings there are by status and severity."""
    query = select(findings.c.status, findings.c.severity, func.count()).where(findings.c.org_id == work.org_id)
    rows = await work.connection.execute(query.group_by(findings.c.status, findings.c.severity))
    return {(status, severity): count for status, severity, count in rows}


async def count_events_by_day(work: Work, *, since: datetime) -> dict[tuple[date, str], int]:
    """How many findings had what happen to them, by day in UTC and event, each counted once a day."""
    day = func.date(func.timezone("UTC", finding_events.c.at)).label("day")
    count = func.count(finding_events.c.finding_id.distinct())
    query = select(day, finding_events.c.event, count).where(
        finding_events.c.org_id == work.org_id, finding_events.c.at >= since
    )
    rows = await work.connection.execute(query.group_by(day, finding_events.c.event))
    return {(day_, event): total for day_, event, total in rows}


async def mute_finding(
    work: Work, finding_id: str, *, reason: str, until: datetime | None, actor: str, now: datetime
) -> Finding:
    """Silence an open finding, until a time or for good; raises `Conflict` for a resolved one."""
    finding = await get_finding(work, finding_id, lock=True)
    if finding.status == "resolved":
        raise Conflict("A resolved finding cannot be muted")
    await change_findings(work, [finding_id], status="muted", muted_reason=reason, muted_until=until, changed_at=now)
    await add_events(work, [(finding_id, "muted", finding.values)], at=now, actor=actor, note=reason)
    return await get_finding(work, finding_id)


async def unmute_finding(work: Work, finding_id: str, *, actor: str, now: datetime) -> Finding:
    """Open a muted finding again; raises `Conflict` if it is not muted."""
    finding = await get_finding(work, finding_id, lock=True)
    if finding.status != "muted":
        raise Conflict(f"The finding is {finding.status}, not muted")
    await _unmute(work, [finding], actor=actor, now=now)
    return await get_finding(work, finding_id)


async def unmute_expired(work: Work, *, now: datetime) -> list[Finding]:
    """Open the findings whose mute has run out; which."""
    query = (
        select(findings)
        .where(findings.c.org_id == work.org_id, findings.c.status == "muted", findings.c.muted_until <= now)
        .with_for_update(skip_locked=True)
    )
    due = [Finding(**row._mapping) for row in await work.connection.execute(query)]
    await _unmute(work, due, actor="tieline", now=now)
    return due


async def _unmute(work: Work, muted: Sequence[Finding], *, actor: str, now: datetime) -> None:
    ids = [one.id for one in muted]
    await change_findings(work, ids, status="open", muted_reason=None, muted_until=None, changed_at=now)
    await add_events(work, [(one.id, "unmuted", one.values) for one in muted], at=now, actor=actor)


def _narrow(work: Work, query: Select[Any], wanted: Mapping[str, str | None]) -> Select[Any]:
    query = query.where(findings.c.org_id == work.org_id)
    for column, value in wanted.items():
        if value:
            query = query.where(findings.c[column] == value)
    return query
