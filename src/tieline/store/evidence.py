"""Evidence: dated, hashed statements for or against controls. The application's role may insert and read it, nothing else.

Content is kept as text, not `jsonb`: what was hashed comes back as it was written, large numbers too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    any_,
    exists,
    func,
    insert,
    select,
    text,
)

from tieline.errors import NotFound
from tieline.ids import from_uuid, to_uuid
from tieline.store.bulk import insert_many
from tieline.store.db import Work, metadata
from tieline.store.listing import Listing, Paging, list_page
from tieline.store.types import Id, RawJson, UtcTime

provenances = Table(
    "provenances",
    metadata,
    Column("id", Id("prov"), primary_key=True),
    Column("org_id", Id("org"), ForeignKey("organizations.id"), nullable=False),
    Column("run_id", Id("run"), ForeignKey("runs.id"), nullable=False, unique=True),
    Column("content", RawJson, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", Id("evid"), primary_key=True),
    Column("org_id", Id("org"), nullable=False),
    Column("connection_id", Id("conn"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("run_id", Id("run"), nullable=False),
    Column("entity_id", Id("ent"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("check_id", Text, nullable=False),
    Column("stance", Text, nullable=False),
    Column("controls", ARRAY(Text), nullable=False),
    Column("observed_at", UtcTime, nullable=False),
    Column("content", RawJson, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("evidence_org_id_idx", "org_id", "id"),
    Index("evidence_check_id_idx", "org_id", "check_id", "id"),
    Index(
        "evidence_entity_id_idx",
        "org_id",
        "entity_id",
        "check_id",
        "id",
        postgresql_include=["connection_id", "observed_at", "stance"],
    ),
)


# Which checks have spoken of a control. Under row-level security PostgreSQL uses no index for what an array contains (its operators
# are not leakproof), so the statements about a control are found by the checks that name it.
mentions = Table(
    "mentions",
    metadata,
    Column("org_id", Id("org"), nullable=False),
    Column("control", Text, nullable=False),
    Column("check_id", Text, nullable=False),
    PrimaryKeyConstraint("org_id", "control", "check_id"),
)


@dataclass(frozen=True)
class Evidence:
    """One statement: `stance` is supports or contradicts; `hash` is SHA-256 over the canonical form of `content`."""

    id: str
    org_id: str
    connection_id: str
    provider: str
    run_id: str
    entity_id: str
    kind: str
    external_id: str
    check_id: str
    stance: str
    controls: list[str]
    observed_at: datetime
    content: dict[str, Any]
    hash: bytes


@dataclass(frozen=True)
class Provenance:
    """Where a run's evidence comes from: the account, the operation, the query, the scope, the options."""

    id: str
    org_id: str
    run_id: str
    content: dict[str, Any]
    hash: bytes


@dataclass(frozen=True)
class Place:
    """The place of a statement among those of its check about its entity: its number, of how many, and the ids beside it."""

    number: int
    of: int
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Stood:
    """How many entities' newest statements of a check said the same on a day, and the controls that the check spoke to then."""

    check_id: str
    stance: str
    controls: tuple[str, ...]
    entities: int
    last_at: datetime


_COLUMNS = ("id", "entity_id", "kind", "external_id", "check_id", "stance", "controls", "content", "hash")


async def get_provenance(work: Work, run_id: str) -> Provenance | None:
    """What the evidence of a run comes from, once the run has given any."""
    query = select(provenances).where(provenances.c.run_id == run_id, provenances.c.org_id == work.org_id)
    row = (await work.connection.execute(query)).one_or_none()
    return Provenance(**row._mapping) if row else None


async def save_provenance(work: Work, provenance: Provenance) -> None:
    """Add the provenance of a run."""
    await work.connection.execute(insert(provenances).values(**vars(provenance)))


async def add_evidence(work: Work, rows: Sequence[tuple[Any, ...]], *, same: Mapping[str, Any]) -> None:
    """Add statements; the columns are those of `_COLUMNS`, in driver values, and `same` has all others."""
    await insert_many(work, evidence, _COLUMNS, rows, same=same)
    check, controls = _COLUMNS.index("check_id"), _COLUMNS.index("controls")
    pairs = sorted({(control, row[check]) for row in rows for control in row[controls]})
    if pairs:
        driver = await work.driver()
        await driver.execute(
            """INSERT INTO mentions (control, check_id, org_id) SELECT *, $3 FROM unnest($1::text[], $2::text[])
                   ON CONFLICT DO NOTHING""",
            *zip(*pairs, strict=True),
            to_uuid(work.org_id, "org"),
        )


async def get_evidence(work: Work, evidence_id: str) -> Evidence:
    """One statement; raises `NotFound`."""
    query = select(evidence).where(evidence.c.id == evidence_id, evidence.c.org_id == work.org_id)
    row = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no evidence {evidence_id[:60]!r}")
    return Evidence(**row._mapping)


async def list_evidence(
    work: Work,
    paging: Paging,
    *,
    control: str | None = None,
    framework: str | None = None,
    check_id: str | None = None,
    connection_id: str | None = None,
    provider: str | None = None,
    entity_id: str | None = None,
    stance: str | None = None,
    before: datetime | None = None,
) -> Listing[Evidence]:
    """Statements, newest first; with `before` only those that had been observed by then."""
    query: Select[Any] = select(evidence).where(evidence.c.org_id == work.org_id)
    if control:
        checks = await _checks_about(work, control)
        query = query.where(evidence.c.check_id.in_(checks), any_(evidence.c.controls) == control)
    if framework:
        named = func.unnest(evidence.c.controls).column_valued("named")
        query = query.where(exists(select(1).where(func.starts_with(named, f"{framework}:"))))
    if before:
        query = query.where(evidence.c.observed_at < before)
    wanted = {"check_id": check_id, "connection_id": connection_id, "entity_id": entity_id, "stance": stance}
    for column, value in (wanted | {"provider": provider}).items():
        if value:
            query = query.where(evidence.c[column] == value)
    return await list_page(
        work, query, evidence.c.id, paging, read=lambda row: Evidence(**row._mapping), newest_first=True
    )


async def find_place(work: Work, one: Evidence) -> Place:
    """Where a statement stands among those of its check about its entity."""
    same = (
        (evidence.c.org_id == work.org_id)
        & (evidence.c.entity_id == one.entity_id)
        & (evidence.c.check_id == one.check_id)
    )
    earlier, later = evidence.c.id < one.id, evidence.c.id > one.id
    query = select(
        func.count().filter(evidence.c.id <= one.id).label("number"),
        func.count().label("of"),
        select(evidence.c.id)
        .where(same, earlier)
        .order_by(evidence.c.id.desc())
        .limit(1)
        .scalar_subquery()
        .label("before"),
        select(evidence.c.id).where(same, later).order_by(evidence.c.id).limit(1).scalar_subquery().label("after"),
    )
    return Place(**(await work.connection.execute(query.where(same))).one()._mapping)


async def latest_by_check(work: Work) -> dict[str, datetime]:
    """When each check last gave evidence: from one check to the next along the index, whatever each has said."""
    rows = await work.connection.execute(
        text(
            """WITH RECURSIVE spoken AS (
                   (SELECT check_id FROM evidence WHERE org_id = :org ORDER BY check_id LIMIT 1)
                   UNION ALL
                   SELECT (SELECT check_id FROM evidence WHERE org_id = :org AND check_id > spoken.check_id
                            ORDER BY check_id LIMIT 1)
                     FROM spoken WHERE spoken.check_id IS NOT NULL)
               SELECT check_id, (SELECT observed_at FROM evidence AS said
                                  WHERE org_id = :org AND said.check_id = spoken.check_id ORDER BY id DESC LIMIT 1) AS at
                 FROM spoken WHERE check_id IS NOT NULL"""
        ),
        {"org": to_uuid(work.org_id, "org")},
    )
    return {row.check_id: row.at for row in rows}


async def first_observed(work: Work) -> datetime | None:
    """When the first statement was observed, if there is one."""
    query = select(evidence.c.observed_at).where(evidence.c.org_id == work.org_id).order_by(evidence.c.id).limit(1)
    return (await work.connection.execute(query)).scalar_one_or_none()


async def stood_before(work: Work, *, before: datetime, since: datetime, control: str | None = None) -> list[Stood]:
    """What the newest statement of each check about each entity said just before a time, if it was not older than `since`.

    Entities that were gone then do not count (one that came back as long as its history is kept), nor do those of connections
    that had been disconnected. It is one pass
    over `evidence_entity_id_idx` alone, which holds all that it reads; a control narrows it to the checks that ever named it.
    """
    checks = await _checks_about(work, control) if control else None
    if checks == []:
        return []
    values = {"org": to_uuid(work.org_id, "org"), "before": before, "since": since, "checks": checks}
    rows = (
        await work.connection.execute(text(_STOOD.format("AND check_id = ANY(:checks)" if checks else "")), values)
    ).all()
    named = await _controls_of(work, [from_uuid("evid", row.newest) for row in rows])
    newest: dict[str, Any] = {}
    for row in sorted(rows, key=lambda row: str(row.newest)):
        newest[row.check_id] = named[from_uuid("evid", row.newest)]
    return [Stood(row.check_id, row.stance, newest[row.check_id], row.entities, row.last_at) for row in rows]


# Those that were gone are few, and listed first: to ask the table for each statement whether its entity was gone cost five times
# as much before there were statistics. They are taken away by a join, which costs half of what NOT IN does.
_STOOD = """
    WITH gone AS MATERIALIZED (
        SELECT id FROM entities WHERE org_id = :org AND removed_at < :before
        UNION ALL
        SELECT entity_id FROM entity_versions
         WHERE org_id = :org AND removed AND since < :before AND until >= :before),
    newest AS (
        SELECT DISTINCT ON (entity_id, check_id) id, entity_id, connection_id, check_id, stance, observed_at
          FROM evidence WHERE org_id = :org AND observed_at < :before AND observed_at >= :since {}
         ORDER BY entity_id DESC, check_id DESC, id DESC)
    SELECT check_id, stance, count(*) AS entities, max(observed_at) AS last_at, max(id::text COLLATE "C")::uuid AS newest
      FROM newest
     WHERE NOT EXISTS (SELECT FROM connections
                        WHERE org_id = :org AND disconnected_at < :before AND connections.id = newest.connection_id)
       AND NOT EXISTS (SELECT FROM gone WHERE gone.id = newest.entity_id)
     GROUP BY check_id, stance ORDER BY check_id, stance
"""


async def _controls_of(work: Work, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    query = select(evidence.c.id, evidence.c.controls).where(evidence.c.id.in_(ids), evidence.c.org_id == work.org_id)
    return {row.id: tuple(row.controls) for row in await work.connection.execute(query)}


async def _checks_about(work: Work, control: str) -> list[str]:
    """The checks of which at least one statement names a control."""
    query = select(mentions.c.check_id).where(mentions.c.org_id == work.org_id, mentions.c.control == control)
    return list((await work.connection.execute(query.order_by(mentions.c.check_id))).scalars())
