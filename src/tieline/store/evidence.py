"""Evidence: dated, hashed statements for or against controls. The application's role may insert and read it, nothing else.

Content is kept as `json`, not `jsonb`: what was hashed comes back as it was written, large numbers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, Column, ForeignKey, Index, LargeBinary, Table, Text, any_, func, insert, select

from tieline.errors import NotFound
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
    Index("evidence_org_id_idx", "org_id", "check_id", "id"),
    Index("evidence_entity_id_idx", "entity_id", "check_id", "id"),
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


_COLUMNS = tuple(Evidence.__dataclass_fields__)


async def get_provenance(work: Work, run_id: str) -> Provenance | None:
    """What the evidence of a run comes from, once the run has given any."""
    query = select(provenances).where(provenances.c.run_id == run_id, provenances.c.org_id == work.org_id)
    row = (await work.connection.execute(query)).one_or_none()
    return Provenance(**row._mapping) if row else None


async def save_provenance(work: Work, provenance: Provenance) -> None:
    """Add the provenance of a run."""
    await work.connection.execute(insert(provenances).values(**vars(provenance)))


async def add_evidence(work: Work, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add statements; the columns are those of `Evidence` in order, in driver values."""
    await insert_many(work, evidence, _COLUMNS, rows)


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
    check_id: str | None = None,
    connection_id: str | None = None,
    provider: str | None = None,
    entity_id: str | None = None,
    stance: str | None = None,
    before: datetime | None = None,
) -> Listing[Evidence]:
    """Statements, newest first; with `before` only those that had been observed by then."""
    query = select(evidence).where(evidence.c.org_id == work.org_id)
    if control:
        query = query.where(any_(evidence.c.controls) == control)
    if before:
        query = query.where(evidence.c.observed_at < before)
    wanted = {"check_id": check_id, "connection_id": connection_id, "entity_id": entity_id, "stance": stance}
    for column, value in (wanted | {"provider": provider}).items():
        if value:
            query = query.where(evidence.c[column] == value)
    return await list_page(
        work, query, evidence.c.id, paging, read=lambda row: Evidence(**row._mapping), newest_first=True
    )


async def latest_by_check(work: Work) -> dict[str, datetime]:
    """When each check last gave evidence."""
    query = select(evidence.c.check_id, func.max(evidence.c.observed_at)).where(evidence.c.org_id == work.org_id)
    rows = await work.connection.execute(query.group_by(evidence.c.check_id))
    return {key: value for key, value in rows}  # noqa: C416  dict() would take the result for a mapping
