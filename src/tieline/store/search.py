"""Search: the few rows of an organization that hold all the words of a question (in lower case), for whoever types the beginning of a name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import func, or_, select

from tieline.store.connections import Connection, connections
from tieline.store.db import Work
from tieline.store.entities import StoredEntity, entities, labelled
from tieline.store.findings import Finding, findings

_LABELS = 500  # of entities that are looked at for those to show, so that one letter does not sort them all


async def search_connections(work: Work, words: Sequence[str], *, limit: int) -> list[Connection]:
    """Live connections by their name, account or provider."""
    told = func.lower(connections.c.name + " " + connections.c.account_name + " " + connections.c.provider)
    query = select(connections).where(connections.c.org_id == work.org_id, connections.c.disconnected_at.is_(None))
    query = query.where(*(told.contains(word, autoescape=True) for word in words))
    rows = await work.connection.execute(query.order_by(connections.c.id).limit(limit))
    return [Connection(**row._mapping) for row in rows]


async def search_entities(work: Work, words: Sequence[str], *, limit: int) -> list[StoredEntity]:
    """Present entities by e-mail address, name or external id: people first, and those of whose words the first asked for begins one."""
    found = labelled(work, words, most=_LABELS)
    shown = [entities.c[name] for name in StoredEntity.__dataclass_fields__]
    query = select(*shown).where(entities.c.id.in_(select(found.c.id)), entities.c.org_id == work.org_id)
    begins = entities.c.label.op("~")(r"\m" + re.escape(words[0]))
    order = entities.c.kind != "account", begins.desc(), entities.c.label
    query = query.where(entities.c.removed_at.is_(None)).order_by(*order)
    return [StoredEntity(**row._mapping) for row in await work.connection.execute(query.limit(limit))]


async def search_findings(work: Work, words: Sequence[str], *, limit: int) -> list[Finding]:
    """Open and muted findings by whom they are about, or by the beginnings of words that they say; newest first."""
    subject, title = func.lower(findings.c.subject), " " + func.lower(findings.c.title)
    told = [or_(subject.contains(word, autoescape=True), title.contains(f" {word}", autoescape=True)) for word in words]
    query = select(findings).where(findings.c.org_id == work.org_id, findings.c.status.in_(("open", "muted")), *told)
    rows = await work.connection.execute(query.order_by(findings.c.id.desc()).limit(limit))
    return [Finding(**row._mapping) for row in rows]
