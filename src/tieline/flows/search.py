"""Search: what an organization has, and what Tieline knows, that holds the words of a question; or the one thing that it is the id of."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tieline.catalog import load_frameworks
from tieline.errors import NotFound
from tieline.flows.parts import Parts
from tieline.store.connections import Connection, get_connection
from tieline.store.db import Work
from tieline.store.entities import StoredEntity, get_entity
from tieline.store.evidence import Evidence, get_evidence
from tieline.store.findings import Finding, get_finding
from tieline.store.runs import Run, get_run
from tieline.store.search import search_connections, search_entities, search_findings

Kind = Literal["connection", "entity", "finding", "run", "evidence", "check", "control", "provider"]
LIMIT = 6
"""How many of each kind are shown."""
_LONGEST = 200
_MOST_WORDS = 8
_ID = re.compile(r"(conn|ent|evid|find|run)_[0-9a-z]{26}")
_NAMES = ("email", "display_name", "name", "title", "username")


@dataclass(frozen=True)
class Found:
    """One thing, by what a person calls it; `about` is a few words beside."""

    kind: Kind
    id: str
    name: str
    about: str = ""


@dataclass(frozen=True)
class Searched:
    """What was found. Of the kinds in `partly` there are too many to look through all of them: more may hold the words."""

    found: Sequence[Found]
    partly: Sequence[Kind] = ()


def words_of(asked: str) -> list[str]:
    """The words of a question, in lower case; none for what nobody can have meant."""
    return asked[:_LONGEST].lower().split()[:_MOST_WORDS] if asked.isprintable() else []


def holds(words: Sequence[str], *texts: str) -> bool:
    """Whether some texts together hold every word."""
    told = " ".join(texts).lower()
    return all(word in told for word in words)


def begins(words: Sequence[str], *texts: str) -> bool:
    """Whether each word is how one of these texts begins, from one of its words on."""
    told = " ".join(texts).lower()
    return all(re.search(rf"\b{re.escape(word)}", told) for word in words)


async def search(parts: Parts, org_id: str, words: Sequence[str]) -> Searched:
    """At most `LIMIT` of each kind; nothing for no words."""
    if not words:
        return Searched([])
    async with parts.db.work(org_id) as work:
        if len(words) == 1 and (prefix := _ID.fullmatch(words[0])):
            return Searched(await _by_id(work, prefix[1], words[0]))
        connections = await search_connections(work, words, limit=LIMIT)
        entities = await search_entities(work, words, limit=LIMIT)
        findings = await search_findings(work, words, limit=LIMIT)
    found = [*map(_connection, connections), *map(_entity, entities.found), *map(_finding, findings.found)]
    left: dict[Kind, bool] = {"entity": not entities.all, "finding": not findings.all}
    return Searched([*found, *_in_catalog(parts, words)], [kind for kind, some in left.items() if some])


def _in_catalog(parts: Parts, words: Sequence[str]) -> Iterable[Found]:
    checks = [
        Found("check", one.id, one.title, one.id) for one in parts.catalog.checks if begins(words, one.title, one.id)
    ]
    providers = [
        Found("provider", one.slug, one.name, one.category)
        for one in parts.catalog.providers.values()
        if holds(words, one.name, one.slug, one.category)
    ]
    controls = [
        Found("control", control.id, control.title, f"{framework.name} {control.id.partition(':')[2]}")
        for framework in load_frameworks().values()
        for control in framework.controls
        if begins(words, control.title, control.id, framework.name)
    ]
    return [*checks[:LIMIT], *controls[:LIMIT], *providers[:LIMIT]]


async def _by_id(work: Work, prefix: str, wanted: str) -> list[Found]:
    get, tell = _GETTERS[prefix]
    try:
        return [tell(await get(work, wanted))]
    except NotFound:
        return []


def _connection(one: Connection) -> Found:
    return Found("connection", one.id, one.name, f"{one.provider} · {one.account_name}")


def _entity(one: StoredEntity) -> Found:
    name = next((str(one.data[name]) for name in _NAMES if one.data.get(name)), one.external_id)
    return Found("entity", one.id, name, f"{one.kind.replace('_', ' ')} · {one.provider}")


def _finding(one: Finding) -> Found:
    return Found("finding", one.id, f"{one.subject}: {one.title}", f"{one.severity} · {one.status}")


def _run(one: Run) -> Found:
    return Found("run", one.id, f"{one.provider}: {one.operation}", one.status)


def _evidence(one: Evidence) -> Found:
    return Found("evidence", one.id, one.check_id, one.stance)


async def _get_entity(work: Work, entity_id: str) -> StoredEntity:
    return (await get_entity(work, entity_id))[0]


_GETTERS: dict[str, tuple[Callable[[Work, str], Awaitable[Any]], Callable[[Any], Found]]] = {
    "conn": (get_connection, _connection),
    "ent": (_get_entity, _entity),
    "evid": (get_evidence, _evidence),
    "find": (get_finding, _finding),
    "run": (get_run, _run),
}
