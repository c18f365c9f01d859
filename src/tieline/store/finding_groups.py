"""Groups of findings: by the check that failed, by whom or what they are about, by connection, by owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import Select, case, distinct, func, select

from tieline.sdk.entities import Severity
from tieline.store.db import Work
from tieline.store.findings import Wanted, findings, narrow

By = Literal["check", "subject", "connection", "owner"]
MOST_GROUPS = 1_000
"""Groups that are ever counted at once."""
GROUPINGS: tuple[By, ...] = get_args(By)

_SEVERITIES = get_args(Severity)
_KEYS = {
    "check": ("check_id",),
    "subject": ("kind", "subject"),
    "connection": ("connection_id",),
    "owner": ("owner_id",),
}


@dataclass(frozen=True)
class Group:
    """Findings that have something in common: `key` by the names of the filters that lead to just these.

    `severity` is the worst among them, `oldest` when the first of the open ones was opened, and `title` what they
    say should hold, if it is the same for all.
    """

    key: Mapping[str, str | None]
    title: str | None
    severity: str
    open: int
    muted: int
    resolved: int
    entities: int
    connections: int
    oldest: datetime | None


async def group_findings(work: Work, by: By, *, most: int, **wanted: Wanted) -> tuple[list[Group], int]:
    """The groups of the findings that `list_findings` would give for the same filters, and how many groups there are.

    First those with something open, the worst and then the largest first; at most so many.
    """

    def count(status: str) -> Any:
        return func.count().filter(findings.c.status == status).label(status)

    keys = [findings.c[name] for name in _KEYS[by]]
    rank = case(
        {name: place for place, name in enumerate(_SEVERITIES)}, value=findings.c.severity, else_=len(_SEVERITIES)
    )
    opened = func.count().filter(findings.c.status == "open")
    query: Select[Any] = select(
        *keys,
        func.min(rank).label("rank"),
        func.min(findings.c.title).label("first_title"),
        func.max(findings.c.title).label("last_title"),
        count("open"),
        count("muted"),
        count("resolved"),
        func.count(distinct(findings.c.entity_id)).label("entities"),
        func.count(distinct(findings.c.connection_id)).label("connections"),
        func.min(findings.c.opened_at).filter(findings.c.status == "open").label("oldest"),
        func.count().over().label("groups"),
    )
    query = narrow(work, query, wanted).group_by(*keys)
    query = query.order_by((opened == 0).asc(), func.min(rank), opened.desc(), *keys).limit(most)
    rows = (await work.connection.execute(query)).all()
    return [_read(row, _KEYS[by]) for row in rows], rows[0].groups if rows else 0


async def titles_of_checks(work: Work) -> dict[str, str]:
    """The checks that have findings, by id, with what they said should hold."""
    query = select(findings.c.check_id, func.max(findings.c.title)).where(findings.c.org_id == work.org_id)
    rows = await work.connection.execute(query.group_by(findings.c.check_id))
    return {check_id: title for check_id, title in rows}  # noqa: C416  dict() would take the result for a mapping


def _read(row: Any, keys: Sequence[str]) -> Group:
    return Group(
        key={name: getattr(row, name) for name in keys},
        title=row.first_title if row.first_title == row.last_title else None,
        severity=_SEVERITIES[row.rank] if row.rank < len(_SEVERITIES) else "info",
        open=row.open,
        muted=row.muted,
        resolved=row.resolved,
        entities=row.entities,
        connections=row.connections,
        oldest=row.oldest,
    )
