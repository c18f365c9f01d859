"""Groups of findings: by the check that failed, by whom or what they are about, by connection, by owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Select, case, distinct, func, select

from tieline.sdk.entities import Severity
from tieline.store.db import Work
from tieline.store.finding_counts import Wanted, finding_counts, is_counted, narrow_counts
from tieline.store.findings import findings, narrow

By = Literal["check", "subject", "connection", "owner"]
MOST_GROUPS = 1_000
"""Groups that are ever counted at once."""
GROUPINGS: tuple[By, ...] = get_args(By)

_SEVERITIES = get_args(Severity)
_STATES = ("open", "muted", "resolved")
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
    say should hold, if it is the same for all; the newest of a check says it for that check.
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

    First those with something open, the worst and then the largest first; at most so many. By check, they come from the counts.
    """
    if by == "check" and is_counted(wanted):
        return await _group_counted(work, most, wanted)
    keys = [findings.c[name] for name in _KEYS[by]]
    opened = func.count().filter(findings.c.status == "open")
    query: Select[Any] = select(
        *keys,
        func.min(_rank(findings.c.severity)).label("rank"),
        func.min(findings.c.title).label("first_title"),
        func.max(findings.c.title).label("last_title"),
        *(func.count().filter(findings.c.status == one).label(one) for one in _STATES),
        func.count(distinct(findings.c.entity_id)).label("entities"),
        func.count(distinct(findings.c.connection_id)).label("connections"),
        func.min(findings.c.opened_at).filter(findings.c.status == "open").label("oldest"),
        func.count().over().label("groups"),
    )
    query = narrow(work, query, wanted).group_by(*keys)
    query = query.order_by((opened == 0).asc(), func.min(_rank(findings.c.severity)), opened.desc(), *keys)
    rows = (await work.connection.execute(query.limit(most))).all()
    return [_read(row, _KEYS[by]) for row in rows], rows[0].groups if rows else 0


async def _group_counted(work: Work, most: int, wanted: Mapping[str, Wanted]) -> tuple[list[Group], int]:
    """Groups by check: a check has one finding about an entity, so that counts say all but what it is called and the oldest."""
    of = finding_counts.c
    states = {one: func.coalesce(func.sum(of.findings).filter(of.status == one), 0) for one in _STATES}
    query: Select[Any] = select(
        of.check_id,
        func.min(_rank(of.severity)).label("rank"),
        *(count.label(one) for one, count in states.items()),
        func.sum(of.findings).label("entities"),
        func.count(distinct(of.connection_id)).label("connections"),
        func.count().over().label("groups"),
    )
    query = narrow_counts(work, query, wanted).group_by(of.check_id)
    order = (states["open"] == 0).asc(), func.min(_rank(of.severity)), states["open"].desc(), of.check_id
    counted = query.order_by(*order).limit(most).cte("counted")
    mine = narrow(work, select(findings.c.opened_at), wanted)
    oldest = mine.where(findings.c.check_id == counted.c.check_id, findings.c.status == "open").order_by(findings.c.id)
    title = _newest_title(work, counted.c.check_id)
    rows = await work.connection.execute(
        select(
            *counted.c,
            title.label("first_title"),
            title.label("last_title"),
            case((counted.c.open > 0, oldest.limit(1).scalar_subquery())).label("oldest"),
        )
    )
    found = rows.all()
    return [_read(row, _KEYS["check"]) for row in found], found[0].groups if found else 0


async def titles_of_checks(work: Work) -> dict[str, str]:
    """The checks that have findings, by id, with what the newest of these says should hold."""
    checks = narrow_counts(work, select(finding_counts.c.check_id).distinct(), {}).cte("checks")
    rows = await work.connection.execute(select(checks.c.check_id, _newest_title(work, checks.c.check_id)))
    return {check_id: title for check_id, title in rows}  # noqa: C416  dict() would take the result for a mapping


def _newest_title(work: Work, check_id: ColumnElement[str]) -> ColumnElement[str]:
    """What the newest finding of a check says should hold."""
    newest = select(findings.c.title).where(findings.c.org_id == work.org_id, findings.c.check_id == check_id)
    return newest.order_by(findings.c.id.desc()).limit(1).scalar_subquery()


def _rank(severity: ColumnElement[str]) -> ColumnElement[int]:
    """How bad it is: the less, the worse."""
    return case({name: place for place, name in enumerate(_SEVERITIES)}, value=severity, else_=len(_SEVERITIES))


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
