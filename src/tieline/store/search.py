"""Search: the few rows of an organization that hold all the words of a question (in lower case), for whoever types the beginning of a name.

No index finds the middle of a word: so many are looked through, and whether these were all is told with what was found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import func, or_, select, union_all

from tieline.sdk.entities import KINDS
from tieline.store.connections import Connection, connections
from tieline.store.db import Work
from tieline.store.entities import SHOWN, StoredEntity, entities
from tieline.store.entity_counts import count_by_kind
from tieline.store.entity_lists import LOOKED_THROUGH, labelled
from tieline.store.finding_counts import count_findings_by
from tieline.store.findings import Finding, findings

T = TypeVar("T")

_PEOPLE = ("account",)
_OTHERS = tuple(sorted(KINDS.keys() - set(_PEOPLE)))
_OTHERS_LOOKED_THROUGH = 10_000  # of each kind
_RANKED = 500  # of each kind that are looked at for those to show, so that one letter does not sort them all
_SPEAKING = ("open", "muted")
_FINDINGS_LOOKED_THROUGH = 10_000  # the newest of each state


class Some(NamedTuple, Generic[T]):
    """What was found, and whether `all` there is was looked through as far as it matters: once enough are found, it does not."""

    found: list[T]
    all: bool


async def search_connections(work: Work, words: Sequence[str], *, limit: int) -> list[Connection]:
    """Live connections by their name, account or provider."""
    told = func.lower(connections.c.name + " " + connections.c.account_name + " " + connections.c.provider)
    query = select(connections).where(connections.c.org_id == work.org_id, connections.c.disconnected_at.is_(None))
    query = query.where(*(told.contains(word, autoescape=True) for word in words))
    rows = await work.connection.execute(query.order_by(connections.c.id).limit(limit))
    return [Connection(**row._mapping) for row in rows]


async def search_entities(work: Work, words: Sequence[str], *, limit: int) -> Some[StoredEntity]:
    """Present entities by e-mail address, name or external id: people first, and those of whose words the first asked for begins one."""
    found = await _find_entities(work, words, _PEOPLE, LOOKED_THROUGH, limit=limit)
    if len(found) < limit:
        found += await _find_entities(work, words, _OTHERS, _OTHERS_LOOKED_THROUGH, limit=limit - len(found))
    if len(found) == limit:
        return Some(found, all=True)
    counts = await count_by_kind(work)
    through = dict.fromkeys(_OTHERS, _OTHERS_LOOKED_THROUGH) | dict.fromkeys(_PEOPLE, LOOKED_THROUGH)
    return Some(found, all=all(count <= through.get(kind, 0) for kind, count in counts.items()))


async def _find_entities(
    work: Work, words: Sequence[str], kinds: Sequence[str], through: int, *, limit: int
) -> list[StoredEntity]:
    found = labelled(work, words, kinds=kinds, through=through, most=_RANKED)
    query = select(*SHOWN).where(entities.c.id.in_(select(found.c.id)), entities.c.org_id == work.org_id)
    begins = entities.c.label.op("~")(r"\m" + re.escape(words[0]))
    rows = await work.connection.execute(query.order_by(begins.desc(), entities.c.label).limit(limit))
    return [StoredEntity(**row._mapping) for row in rows]


async def search_findings(work: Work, words: Sequence[str], *, limit: int) -> Some[Finding]:
    """Open and muted findings by whom they are about, or by the beginnings of words that they say; newest first."""
    mine = select(findings).where(findings.c.org_id == work.org_id).order_by(findings.c.id.desc())
    newest = (mine.where(findings.c.status == one).limit(_FINDINGS_LOOKED_THROUGH).subquery() for one in _SPEAKING)
    of = union_all(*(select(one) for one in newest)).subquery("newest").c
    subject, title = func.lower(of.subject), " " + func.lower(of.title)
    told = [or_(subject.contains(word, autoescape=True), title.contains(f" {word}", autoescape=True)) for word in words]
    query = select(*of).where(*told).order_by(of.id.desc()).limit(limit)
    found = [Finding(**row._mapping) for row in await work.connection.execute(query)]
    if len(found) == limit:
        return Some(found, all=True)
    counts = await count_findings_by(work, "status")
    return Some(found, all=all(counts.get((one,), 0) <= _FINDINGS_LOOKED_THROUGH for one in _SPEAKING))
