"""Entity lists: entities in the order of their kinds and ids, by what they are, and by words of what they are called.

The whole of it is read in `entities_org_id_idx`, which holds all that is asked of; of the table only the rows that are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Select, Tuple, literal, select, tuple_, union_all

from tieline.errors import Invalid
from tieline.store.db import Work
from tieline.store.entities import SHOWN, StoredEntity, entities
from tieline.store.listing import Listing, Paging

LOOKED_THROUGH = 50_000
"""Labels that one page of a search looks through: no index finds the middle of a word, and each costs about a microsecond."""

_PLACE = tuple_(entities.c.kind, entities.c.id)


async def list_entities(
    work: Work,
    paging: Paging,
    *,
    kind: str | None = None,
    connection_id: str | None = None,
    provider: str | None = None,
    status: str | None = None,
    verdict: str | None = None,
    search: str | None = None,
    removed: bool = False,
) -> Listing[StoredEntity]:
    """Entities of the organization by kind and id; removed ones only when asked for. A `verdict` is the worst of an entity's answers.

    A `search` is for those whose e-mail address, names or external id hold all its words. One page looks through `LOOKED_THROUGH`
    of those that the other filters leave: it may hold fewer rows than asked for, or none, and have a next one all the same.
    Raises `Invalid` for a cursor that no page gave.
    """
    wanted = {"kind": kind, "connection_id": connection_id, "provider": provider, "status": status, "verdict": verdict}
    found = _in_order(work, removed=removed, **wanted)
    if paging.cursor:
        after = await _place_of(work, paging.cursor)
        found = found.where(after < _PLACE)
    first = _those_with(search.split(), found.limit(LOOKED_THROUGH)) if search else found
    ids = first.limit(paging.limit + 1).cte("first").prefix_with("MATERIALIZED")
    query = select(*SHOWN).where(entities.c.id.in_(select(ids.c.id)), entities.c.org_id == work.org_id)
    rows = (await work.connection.execute(query.order_by(*_PLACE.clauses))).all()
    items = [StoredEntity(**row._mapping) for row in rows[: paging.limit]]
    if len(rows) > paging.limit:
        return Listing(items, items[-1].id)
    return Listing(items, await _last_looked_at(work, found) if search else None)


def labelled(work: Work, words: Sequence[str], *, kinds: Sequence[str], through: int, most: int) -> CTE:
    """The ids of present entities with all these words: of each of these kinds at most so many, of the first so many looked `through`."""
    each = [_those_with(words, _in_order(work, kind=one).limit(through)).limit(most).subquery() for one in kinds]
    return union_all(*(select(one.c.id) for one in each)).cte("labelled").prefix_with("MATERIALIZED")


def _in_order(work: Work, *, removed: bool = False, **wanted: str | None) -> Select[Any]:
    """The places and labels of those that filters name, in the order in which they are listed and looked through."""
    query = select(entities.c.kind, entities.c.id, entities.c.label).where(entities.c.org_id == work.org_id)
    query = query.where(entities.c.removed_at.is_not(None) if removed else entities.c.removed_at.is_(None))
    query = query.where(*(entities.c[name] == value for name, value in wanted.items() if value))
    return query.order_by(*_PLACE.clauses)


def _those_with(words: Sequence[str], looked: Select[Any]) -> Select[Any]:
    """Those among them whose labels hold all these words, somewhere."""
    through = looked.subquery("looked")
    held = [through.c.label.contains(word.lower(), autoescape=True) for word in words]
    return select(through.c.id).where(*held).order_by(through.c.kind, through.c.id)


async def _place_of(work: Work, cursor: str) -> Tuple:
    """Where a page ended."""
    query = select(entities.c.kind).where(entities.c.id == cursor, entities.c.org_id == work.org_id)
    kind: str | None = (await work.connection.execute(query)).scalar_one_or_none()
    if kind is None:
        told = {"field": "query.cursor", "problem": "is not the `next` of a page"}
        raise Invalid("There is no such page", advice="Begin without a cursor.", fields=[told])
    return tuple_(literal(kind, entities.c.kind.type), literal(cursor, entities.c.id.type))


async def _last_looked_at(work: Work, found: Select[Any]) -> str | None:
    """Where a search that looked at so many has stopped; `None` if it came to the end."""
    query = found.with_only_columns(entities.c.id).offset(LOOKED_THROUGH - 1).limit(1)
    last: str | None = (await work.connection.execute(query)).scalar_one_or_none()
    return last
